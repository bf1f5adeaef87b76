"""Dense landmarks through ONNX Runtime: crops in, points and deviations out; no torch."""

import json
import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, UInt8

from facelift.onnx_models.lifter import FORMAT, SHIPPED, cpus, existing_weights
from facelift.onnx_models.session import open_session

OUTPUTS = ("points", "sigma")
MESH = ("vertices", "faces", "mean", "landmark_index", "landmark_weights")
"""What is the same for every picture, as outputs mesh_*."""
BATCH = 64


@dataclass(frozen=True)
class DenseAnswer:
    """What the network says of n crops; crop widths."""

    points: Float[np.ndarray, "n l 2"]
    sigma: Float[np.ndarray, "n l 2"]
    """Deviation of each coordinate."""


def is_dense(model: str | os.PathLike[str]) -> bool:
    """Whether a model, by name or path, is an exported network of dense landmarks. Raises as `open_session`."""
    if str(model) in SHIPPED:
        return str(model) == "dense"
    metadata = open_session(existing_weights(model)).get_modelmeta().custom_metadata_map
    return metadata.get("task") == "dense"


class OnnxDense:
    """A file by `facelift export` of dense landmarks, ready to run. `run` may be called from several threads."""

    def __init__(self, model: str | os.PathLike[str], *, threads: int | None = None):
        """`model` and `threads` as for `OnnxLifter`. Raises FileNotFoundError, or ValueError for another network."""
        self.path = existing_weights(model)
        self._session = open_session(self.path, threads=threads or min(4, cpus()))
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        found = {output.name for output in self._session.get_outputs()}
        missing = {*OUTPUTS, *(f"mesh_{name}" for name in MESH)} - found
        if missing or self.metadata.get("task") != "dense" or self.metadata.get("facelift_format") != FORMAT:
            task = self.metadata.get("task")
            raise ValueError(
                f"{self.path}: expected an exported network of dense landmarks, found "
                f"{f'task {task!r}' if task else 'another network'} with {', '.join(sorted(found))}"
            )
        self.input_size = int(self.metadata["input_size"])

    @property
    def card(self) -> str:
        """What the weights were trained on, their terms and metrics."""
        return json.loads(self.metadata.get("card", '""'))

    @property
    def head(self) -> str:
        """Name of the mesh that `mesh["vertices"]` count in."""
        return self.metadata["head"]

    @cached_property
    def mesh(self) -> dict[str, np.ndarray]:
        """vertices (l,): indices in the head's mesh; faces (f, 3) of the points; mean (l, 3), canonical; and
        landmark_index, landmark_weights (68, 3): the triangle that each iBUG-68 landmark lies in, and where."""
        blank = np.zeros((1, self.input_size, self.input_size, 3), np.uint8)
        return dict(zip(MESH, self._fetch([f"mesh_{name}" for name in MESH], blank), strict=True))

    def run(self, crops: UInt8[np.ndarray, "n s s 3"]) -> DenseAnswer:
        """The answers for RGB crops."""
        parts = [self._fetch([*OUTPUTS], crops[first : first + BATCH]) for first in range(0, max(len(crops), 1), BATCH)]
        return DenseAnswer(*(np.concatenate(values).astype(np.float64) for values in zip(*parts, strict=True)))

    def _fetch(self, names: list[str], crops: np.ndarray) -> list[np.ndarray]:
        image = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32) / 255
        return self._session.run(names, {"image": image})
