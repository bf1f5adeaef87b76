"""M3-LRN through ONNX Runtime: crops in, 3DMM parameters, refined landmarks and meshes out."""

import json
import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int, UInt8

from facelift.onnx_models.lifter import FORMAT, SHIPPED, cpus, existing_weights
from facelift.onnx_models.session import open_session

OUTPUTS = ("points", "coarse", "parameters")
"""What every file gives: refined landmarks, those of the 3DMM, and the dewhitened parameters."""
MESH = ("mean", "faces", "uv")
"""What is the same for every picture, as outputs mesh_*; uv only where the model has it."""
BATCH = 64


@dataclass(frozen=True)
class M3LRNAnswer:
    """What the network says of n crops; px of the crop, z away from the camera."""

    landmarks: Float[np.ndarray, "n 68 3"]
    """Refined: the output of the system."""
    coarse: Float[np.ndarray, "n 68 3"]
    """Those of the 3DMM, before refinement."""
    parameters: Float[np.ndarray, "n p"]
    """Pose [sR | t] by rows, shape, expression."""
    vertices: Float[np.ndarray, "n v 3"] | None
    """The 3DMM's mesh, where it was asked for."""


def is_m3lrn(model: str | os.PathLike[str]) -> bool:
    """Whether a model, by name or path, is an exported M3-LRN. Raises as `open_session`."""
    if str(model) in SHIPPED:
        return str(model) == "m3lrn"
    metadata = open_session(existing_weights(model)).get_modelmeta().custom_metadata_map
    return metadata.get("task") == "m3lrn"


class OnnxM3LRN:
    """A file written by `facelift export` of an M3-LRN, ready to run. `run` may be called from several threads."""

    def __init__(self, model: str | os.PathLike[str] = "m3lrn", *, threads: int | None = None):
        """`model` and `threads` as for `OnnxLifter`. Raises FileNotFoundError, or ValueError for another network."""
        self.path = existing_weights(model)
        self._session = open_session(self.path, threads=threads or min(4, cpus()))
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self._outputs = {output.name for output in self._session.get_outputs()}
        missing = [name for name in OUTPUTS if name not in self._outputs]
        if missing or self.metadata.get("task") != "m3lrn" or self.metadata.get("facelift_format") != FORMAT:
            task = self.metadata.get("task")
            raise ValueError(
                f"{self.path}: expected an exported M3-LRN with outputs {', '.join(OUTPUTS)}, found "
                f"{f'task {task!r}' if task else 'another network'} with {', '.join(sorted(self._outputs))}"
            )
        self.input_size = int(self.metadata["input_size"])
        self.counts = int(self.metadata["shape"]), int(self.metadata["expression"])
        """Numbers of shape and expression coefficients."""
        self.crop_scale = float(self.metadata["crop_scale"])
        """Side of the crops, in longer sides of the face box."""

    @property
    def card(self) -> str:
        """What the weights were trained on, their terms and metrics."""
        return json.loads(self.metadata.get("card", '""'))

    @property
    def has_mesh(self) -> bool:
        """Whether the file knows the whole 3DMM, and not its 68 landmarks alone."""
        return "vertices" in self._outputs and "mesh_faces" in self._outputs

    @cached_property
    def mesh(self) -> dict[str, np.ndarray]:
        """mean (v, 3) in model units, faces (f, 3), and uv (v, 2) where the model has one.

        Raises ValueError for a file without a mesh.
        """
        if not self.has_mesh:
            raise ValueError(f"{self.path}: expected weights with a mesh (export --mesh), found landmarks alone")
        names = [name for name in MESH if f"mesh_{name}" in self._outputs]
        found = self._fetch(
            [f"mesh_{name}" for name in names], np.zeros((1, self.input_size, self.input_size, 3), np.uint8)
        )
        return dict(zip(names, found, strict=True))

    @property
    def faces(self) -> Int[np.ndarray, "f 3"]:
        """The triangles of `vertices`, anticlockwise as seen from outside."""
        return self.mesh["faces"]

    def run(self, crops: UInt8[np.ndarray, "n s s 3"], *, vertices: bool = False) -> M3LRNAnswer:
        """The answers for RGB crops. `vertices`: the whole mesh too, which a file that has it always makes."""
        if vertices:
            self.mesh  # noqa: B018 (says what is missing)
        names = [*OUTPUTS, *(["vertices"] if vertices else [])]
        parts = [self._fetch(names, crops[first : first + BATCH]) for first in range(0, max(len(crops), 1), BATCH)]
        points, coarse, parameters, *dense = (
            np.concatenate(values).astype(np.float64) for values in zip(*parts, strict=True)
        )
        return M3LRNAnswer(points, coarse, parameters, dense[0] if dense else None)

    def _fetch(self, names: list[str], crops: np.ndarray) -> list[np.ndarray]:
        image = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32) / 255
        return self._session.run(names, {"image": image})
