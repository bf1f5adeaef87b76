"""Smaller networks: float16 and int8 variants of a lifter beside float32, in size, speed and accuracy.

    python benchmarks/bench_quantized.py --out DIR [--model FILE.onnx] [--faces 400] [--data FOLDER]

float16: weights and arithmetic, input and outputs stay float32. int8: static quantisation, QDQ, a scale per channel of
the weights, calibrated on crops of training faces; "int8" quantises convolutions and matrix products, "int8
convolutions" those of the encoder alone.
NME over visible points on the development faces through the Predictor, both looks and mirror, by sqrt(w h); the
difference is paired, with a bootstrap 95 % interval. A variant holds where NME rises by no more than 0.05 points.
Latency is the network alone, batch 1, one thread, in turns; CPU ms do not count what other processes take.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from dev_faces import calibration_faces, dev_faces, predicted, visible_nme
from facelift.crops import crop_transform, cut
from facelift.evaluation.metrics.bootstrap import bootstrap_difference
from facelift.onnx_models.lifter import OnnxLifter, weights_path
from facelift.predictors.predictor import Predictor

MOST_LOST = 0.05
"""Points of NME in percent that a variant may lose."""


class Crops(CalibrationDataReader):
    """The network's input for each of some crops, once."""

    def __init__(self, crops: list[np.ndarray]):
        self._crops = iter(crops)

    def get_next(self) -> dict[str, np.ndarray] | None:
        crop = next(self._crops, None)
        return None if crop is None else {"image": crop.transpose(2, 0, 1)[None].astype(np.float32) / 255}


def to_float16(model: Path, out: Path) -> Path:
    """Writes the network with float16 inside; its metadata stays."""
    graph = onnx.load(model)
    half = convert_float_to_float16(graph, keep_io_types=True)
    nodes = {node.output[0]: node for node in reversed(half.graph.node)}  # the same cast for two readers comes twice
    del half.graph.node[:]
    half.graph.node.extend(reversed(nodes.values()))
    onnx.save(half, out)
    return out


def to_int8(model: Path, out: Path, crops: list[np.ndarray], operators: list[str]) -> Path:
    """Writes the network with the weights and inputs of operators of these types in int8."""
    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(out),
        Crops(crops),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=operators,
    )
    prepared.unlink()
    graph = onnx.load(out)
    onnx.helper.set_model_props(graph, {entry.key: entry.value for entry in onnx.load(model).metadata_props})
    onnx.save(graph, out)
    return out


def latencies(networks: dict[str, OnnxLifter], repeats: int) -> dict[str, tuple[float, float]]:
    """Median (wall, CPU) ms of one crop, in turns."""
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in networks}
    for turn in range(repeats + 3):
        for name, network in networks.items():
            crop = np.zeros((1, network.input_size, network.input_size, 3), np.uint8)
            wall, cpu = time.perf_counter(), time.process_time()
            network.run(crop)
            if turn >= 3:
                samples[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: tuple(1e3 * np.median(values, axis=0)) for name, values in samples.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the variants and the table")
    parser.add_argument("--model", type=Path, default=weights_path())
    parser.add_argument("--data", type=Path)
    parser.add_argument("--faces", type=int, default=400)
    parser.add_argument("--calibration", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=60)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    size = OnnxLifter(arguments.model).input_size
    samples = dev_faces(arguments.data, arguments.faces)
    crops = [
        cut(sample.image, crop_transform(sample.box, size=size))
        for sample in calibration_faces(arguments.data, arguments.calibration)
    ]
    variants = {
        "float32": arguments.model,
        "float16": to_float16(arguments.model, arguments.out / "float16.onnx"),
        "int8": to_int8(arguments.model, arguments.out / "int8.onnx", crops, ["Conv", "MatMul", "Gemm"]),
        "int8 convolutions": to_int8(arguments.model, arguments.out / "int8-conv.onnx", crops, ["Conv"]),
    }
    speed = latencies({name: OnnxLifter(path, threads=1) for name, path in variants.items()}, arguments.repeats)
    lines = [
        "| variant | MB | ms, wall | ms, CPU | NME, % | against float32 | holds |",
        "|---|---|---|---|---|---|---|",
    ]
    reference = None
    for name, path in variants.items():
        nme = 100 * visible_nme(predicted(Predictor(path, threads=1), samples), samples)
        reference = nme if reference is None else reference
        change = bootstrap_difference(nme, reference)
        wall, cpu = speed[name]
        holds = "yes" if change.value <= MOST_LOST else "no"
        lines.append(
            f"| {name} | {path.stat().st_size / 1e6:.1f} | {wall:.2f} | {cpu:.2f} | {np.nanmean(nme):.3f} | "
            f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}] | {holds} |"
        )
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    (arguments.out / "quantized.md").write_text(text)
    print(f"\n{len(samples)} faces\n\n{text}")


if __name__ == "__main__":
    main()
