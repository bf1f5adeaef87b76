"""What refinement and meshes cost M3-LRN: its first stage, the refined landmarks, and the dense mesh, of one file.

    python benchmarks/bench_m3lrn.py [--model m3lrn] [--threads 1 2] [--batches 1 64] [--repeats 100]

Each row is the part of the graph that leads to its outputs; the first stage is encoder, heads and 3DMM landmarks.
The rows take turns in one run; ms of a crop, median and quartiles, CPU ms beside it (what other processes take does
not count there), and the ratio of medians to the first stage. The paper says 1.05 on a GPU; 3DDFA_V2's network (mb05),
of the size class of the first stage, took 0.6 ms on two threads of another machine.
"""

import argparse
import itertools
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime

from facelift.onnx_models.lifter import weights_path
from facelift.onnx_models.session import open_session

ROWS = {
    "first stage": ["parameters", "coarse"],
    "with refinement": ["parameters", "coarse", "points"],
    "with refinement and mesh": ["parameters", "coarse", "points", "vertices"],
}


def parts(model: Path, folder: Path, threads: int) -> dict[str, onnxruntime.InferenceSession]:
    """A session for each row that the file can give."""
    there, sessions = {output.name for output in onnx.load(model).graph.output}, {}
    for name, outputs in ROWS.items():
        if set(outputs) <= there:
            path = folder / f"{name.replace(' ', '-')}.onnx"
            onnx.utils.extract_model(str(model), str(path), ["image"], outputs)
            sessions[name] = open_session(path, threads=threads)
    return sessions


def measure(sessions: dict[str, onnxruntime.InferenceSession], batch: int, repeats: int) -> dict[str, np.ndarray]:
    """(repeats, 2) wall and CPU ms of one crop."""
    image = np.random.default_rng(0).random((batch, 3, 120, 120), np.float32)
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in sessions}
    for turn in range(repeats + 5):
        for name, session in sessions.items():
            wall, cpu = time.perf_counter(), time.process_time()
            session.run(None, {"image": image})
            if turn >= 5:
                samples[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: 1e3 * np.array(values) / batch for name, values in samples.items()}


def table(model: Path, threads: list[int], batches: list[int], repeats: int) -> str:
    """Markdown."""
    lines = [
        "| threads | batch | | ms a crop, median [quartiles] | CPU ms | ratio | crops a second |",
        "|---|---|---|---|---|---|---|",
    ]
    for count, batch in itertools.product(threads, batches):
        with TemporaryDirectory() as folder:
            found = measure(parts(model, Path(folder), count), batch, max(5, repeats // batch))
        first = np.median(found["first stage"][:, 0])
        for name, values in found.items():
            low, middle, high = np.percentile(values[:, 0], (25, 50, 75))
            lines.append(
                f"| {count} | {batch} | {name} | {middle:.2f} [{low:.2f}, {high:.2f}] | "
                f"{np.median(values[:, 1]):.2f} | {middle / first:.2f} | {1e3 / middle:.0f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=weights_path, default="m3lrn", help="a shipped name, or an .onnx file")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--repeats", type=int, default=100)
    arguments = parser.parse_args()
    print(table(arguments.model, arguments.threads, arguments.batches, arguments.repeats))


if __name__ == "__main__":
    main()
