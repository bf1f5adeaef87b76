"""The exported lifter network in ONNX Runtime: knows tensors, not photos."""

import json
import os
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path

import numpy as np
import onnxruntime
from jaxtyping import Float, UInt8

from facelift.geometry.rotation import MIRROR
from facelift.landmarks import SCHEMES, WFLW98
from facelift.onnx_models.session import open_session

FORMAT = "2"
SHIPPED = {"small": "facelift-small.onnx", "m3lrn": "facelift-m3lrn.onnx", "dense": "facelift-dense.onnx"}
"""Models that come with the package, by name: a lifter, an M3-LRN, dense landmarks."""
DEFAULT = "small"
OUTPUTS = ("landmarks", "rotation", "translation", "points", "cholesky", "visibility", "marks", "marks_cholesky")
BATCH = 32
"""Crops in one run, so that a crowd does not need memory without bound."""


@dataclass(frozen=True, eq=False)
class OnnxOutput:
    """The network's answer for n crops."""

    landmarks: Float[np.ndarray, "n 98 3"]
    """Canonical head frame."""
    rotation: Float[np.ndarray, "n 3 3"]
    """Of the crop's camera."""
    translation: Float[np.ndarray, "n 3"]
    covariance: Float[np.ndarray, "n 98 2 2"]
    """Of the projected landmarks, squared crop widths."""
    visibility: Float[np.ndarray, "n 98"]
    marks: Float[np.ndarray, "n 98 2"]
    """Where people mark the landmarks, crop widths."""
    marks_covariance: Float[np.ndarray, "n 98 2 2"]

    def __getitem__(self, chosen: slice) -> "OnnxOutput":
        """Some of the crops."""
        return OnnxOutput(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def mirrored(self) -> "OnnxOutput":
        """The same heads as their mirror pictures show them."""
        partner, flip = WFLW98.mirror, np.diag([-1.0, 1.0])
        return OnnxOutput(
            landmarks=self.landmarks[:, partner] @ MIRROR,
            rotation=MIRROR @ self.rotation @ MIRROR,
            translation=self.translation @ MIRROR,
            covariance=flip @ self.covariance[:, partner] @ flip,
            visibility=self.visibility[:, partner],
            marks=self.marks[:, partner] @ flip + [1.0, 0.0],
            marks_covariance=flip @ self.marks_covariance[:, partner] @ flip,
        )


class OnnxLifter:
    """A weights file written by `facelift export`, ready to run. `run` may be called from several threads."""

    def __init__(self, model: str | os.PathLike[str] = DEFAULT, *, threads: int | None = None):
        """`model`: one of `SHIPPED`, or the path of an .onnx file. `threads`: None takes the CPUs of this process,
        at most 4.

        Raises FileNotFoundError, or ValueError for a file that is not such a network.
        """
        self.path = existing_weights(model)
        self._session = open_session(self.path, threads=threads or min(4, cpus()))
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self.input_size = _checked(self._session, self.metadata, self.path)

    @property
    def scheme(self) -> str:
        """Name of the landmark scheme."""
        return self.metadata["scheme"]

    @property
    def card(self) -> str:
        """What the weights were trained on, their terms and metrics."""
        return json.loads(self.metadata.get("card", '""'))

    def run(self, crops: UInt8[np.ndarray, "n s s 3"]) -> OnnxOutput:
        """Landmarks, camera, covariance and visibility of each RGB crop."""
        parts = [self._run(crops[first : first + BATCH]) for first in range(0, max(len(crops), 1), BATCH)]
        outputs = {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in OUTPUTS}
        return OnnxOutput(
            landmarks=outputs["landmarks"],
            rotation=outputs["rotation"],
            translation=outputs["translation"],
            covariance=_covariance(outputs["cholesky"]),
            visibility=np.clip(outputs["visibility"], 0, 1),
            marks=outputs["marks"],
            marks_covariance=_covariance(outputs["marks_cholesky"]),
        )

    def _run(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        image = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32) / 255
        return dict(zip(OUTPUTS, self._session.run(list(OUTPUTS), {"image": image}), strict=True))


def weights_path(model: str | os.PathLike[str] = DEFAULT) -> Path:
    """The file of a model by name, for one of `SHIPPED`, or the path that was given."""
    folder = Path(str(resources.files("facelift") / "weights"))
    return folder / SHIPPED[str(model)] if str(model) in SHIPPED else Path(model)


def existing_weights(model: str | os.PathLike[str]) -> Path:
    """`weights_path`. Raises FileNotFoundError, which lists the names, where no such file is."""
    path = weights_path(model)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected {', '.join(SHIPPED)} or weights in ONNX format, found no such file")
    return path


def _covariance(cholesky: Float[np.ndarray, "n 98 3"]) -> Float[np.ndarray, "n 98 2 2"]:
    """L L^T of the lower triangle (l00, l10, l11)."""
    l00, l10, l11 = np.moveaxis(cholesky, -1, 0)
    rows = [np.stack([l00 * l00, l00 * l10], -1), np.stack([l00 * l10, l10 * l10 + l11 * l11], -1)]
    return np.stack(rows, -2)


def _checked(session: onnxruntime.InferenceSession, metadata: dict[str, str], path: Path) -> int:
    """The input size, after everything that the Predictor relies on was found in the file."""
    inputs = {entry.name: entry.shape for entry in session.get_inputs()}
    outputs = sorted(entry.name for entry in session.get_outputs())
    missing = sorted(set(OUTPUTS) - set(outputs))
    if list(inputs) != ["image"] or missing:
        raise ValueError(
            f"{path}: expected a lifter with input image and outputs {', '.join(OUTPUTS)}; "
            f"found task {metadata.get('task')!r}, inputs {', '.join(inputs)} and outputs {', '.join(outputs)}"
        )
    for key, expected in {"facelift_format": FORMAT, "scheme": "wflw98"}.items():
        if metadata.get(key) != expected:
            raise ValueError(f"{path}: expected metadata {key} = {expected!r}, found {metadata.get(key)!r}")
    size = metadata.get("input_size", "")
    shape = list(inputs["image"])
    if not size.isdigit() or len(shape) != 4 or shape[1] != 3 or any(s not in (int(size), None) for s in _fixed(shape)):
        raise ValueError(f"{path}: expected input image (n, 3, {size}, {size}), found {shape}")
    points = next(entry.shape for entry in session.get_outputs() if entry.name == "points")
    landmarks = SCHEMES[metadata["scheme"]].size
    if len(points) != 3 or (isinstance(points[1], int) and points[1] != landmarks):
        raise ValueError(f"{path}: expected {landmarks} points, found an output of shape {points}")
    return int(size)


def _fixed(shape: list) -> list[int | None]:
    """The spatial sizes; None where they are symbolic."""
    return [side if isinstance(side, int) else None for side in shape[2:]]


def cpus() -> int:
    """CPUs of this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
