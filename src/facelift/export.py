"""A trained checkpoint as one ONNX file that runs without torch."""

import json
import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE_PX = 1e-4
"""Largest difference of projected points between torch and ONNX that an export may show, px of the input."""


@dataclass(frozen=True)
class ExportConfig:
    """Write a run's averaged weights as ONNX, and check that ONNX Runtime gives torch's points."""

    run: Path
    """Run folder of `facelift train lifter` or `facelift train detector`."""
    out: Path
    """The .onnx file."""
    name: str = "facelift-small"
    """Name written into the file."""
    card: Path | None = None
    """Markdown card (training data, terms, metrics) to carry inside the file."""


def export(config: ExportConfig) -> Path:
    """Writes the file under its name only after the check; returns its path.

    Raises FileNotFoundError for a folder without a run, ValueError if torch and ONNX differ by more than TOLERANCE_PX.
    """
    import onnx

    task, model = _load(config.run)
    wrapped, outputs = _wrap(task, model)
    size = model.encoder.image_size
    config.out.parent.mkdir(parents=True, exist_ok=True)
    partial = config.out.with_suffix(".partial")
    _write_onnx(wrapped, partial, size, outputs)
    difference = parity_px(wrapped, partial, probe(size))
    if difference > TOLERANCE_PX:
        partial.unlink()
        raise ValueError(f"{config.out}: expected torch and ONNX within {TOLERANCE_PX} px, found {difference:.2g} px")
    graph = onnx.load(partial)
    metadata = {
        "facelift_format": "1",
        "task": task,
        "scheme": "wflw98",
        "input_size": str(size),
        "name": config.name,
        "card": json.dumps(config.card.read_text() if config.card else ""),
    }
    onnx.helper.set_model_props(graph, metadata)
    onnx.save(graph, partial)
    os.replace(partial, config.out)
    return config.out


def probe(size: int) -> np.ndarray:
    """A fixed batch of two faces, the procedural head from two sides, (2, 3, size, size) in [0, 1].

    Faces, because they are what the network is for: on patterns it never saw float32 alone is 1e-4 px from float64.
    """
    from facelift.generators.morphable import MorphableGenerator
    from facelift.geometry import look_at_rotation, sphere_translation

    rotations = look_at_rotation(np.array([0.0, 40.0]), 0.0)
    views = MorphableGenerator(None).render(0, rotations, sphere_translation(rotations), size, background=0)
    return np.stack([view.image for view in views]).transpose(0, 3, 1, 2).astype(np.float32) / 255


def parity_px(wrapped: Any, onnx_file: Path, image: np.ndarray) -> float:
    """Largest difference of the points between torch and ONNX Runtime, px of the input."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = wrapped(torch.as_tensor(image))
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"image": image}), strict=True))
    points = [i for i, name in enumerate(names) if name.startswith("points")]
    return max(float(np.abs(found[names[i]] - expected[i].numpy()).max()) for i in points) * image.shape[-1]


def _load(run: Path) -> tuple[str, Any]:
    """Task name and model with the averaged weights of a run folder."""
    from facelift.checkpoints.safe_load import read_state
    from facelift.models.detector import LandmarkDetector
    from facelift.models.lifter import Lifter

    config_file = run / "config.json"
    if not config_file.is_file():
        raise FileNotFoundError(f"{run}: expected a run folder with config.json, found none")
    config = json.loads(config_file.read_text())
    networks = {"detector": LandmarkDetector, "lifter": Lifter}
    if config.get("task") not in networks:
        raise ValueError(f"{config_file}: expected task detector or lifter, found {config.get('task')!r}")
    model = networks[config["task"]](encoder=config["encoder"])
    model.load_state_dict(read_state(run / "checkpoint.pt", inside="averaged"))
    return config["task"], model.eval()


def _wrap(task: str, model: Any) -> tuple[Any, list[str]]:
    """The network with flat outputs, and their names: covariance as (l00, l10, l11), visibility as probability."""
    import torch

    def flat(cholesky: Any) -> Any:
        return torch.stack([cholesky[..., 0, 0], cholesky[..., 1, 0], cholesky[..., 1, 1]], dim=-1)

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Any) -> tuple[Any, ...]:
            found = self.model(image)
            if task == "lifter":
                return (*found[:4], flat(found.cholesky), found.visibility.sigmoid())
            parts = [(p.points, flat(p.cholesky), p.visibility.sigmoid()) for p in found.values()]
            return tuple(value for part in parts for value in part)

    if task == "lifter":
        return Flat().eval(), ["landmarks", "rotation", "translation", "points", "cholesky", "visibility"]
    names = [f"{kind}_{name}" for name in model.heads for kind in ("points", "cholesky", "visibility")]
    return Flat().eval(), names


def _write_onnx(wrapped: Any, path: Path, size: int, outputs: list[str]) -> None:
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # says what it optimised, a line a node
    for name in ("onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            wrapped,
            (torch.zeros(2, 3, size, size),),
            str(path),
            dynamo=True,
            external_data=False,
            input_names=["image"],
            output_names=outputs,
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            verbose=False,
        )
