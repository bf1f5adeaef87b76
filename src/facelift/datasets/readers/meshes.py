"""Meshes of data sets, and samples that have one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from jaxtyping import Float, Int

from facelift.datasets.readers.cameras import Camera
from facelift.datasets.sample import FaceSample


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh or a cloud of points, in the frame that its reader documents.

    Raises ValueError for vertices that are not finite and for indices outside of the mesh.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"] | None = None
    landmarks: Int[np.ndarray, "l"] | None = None
    """Vertex indices."""
    unit: str = "mm"
    """"unknown" where the set does not say."""

    def __post_init__(self) -> None:
        if not np.isfinite(self.vertices).all():
            bad = int((~np.isfinite(self.vertices)).any(-1).sum())
            raise ValueError(f"mesh: expected finite vertices, found {bad} of {len(self.vertices)} that are not")
        for name, indices in (("faces", self.faces), ("landmarks", self.landmarks)):
            if indices is not None and indices.size and (indices.min() < 0 or indices.max() >= len(self.vertices)):
                raise ValueError(
                    f"mesh: expected indices of {name} in 0..{len(self.vertices) - 1}, "
                    f"found {indices.min()}..{indices.max()}"
                )


@dataclass(frozen=True, eq=False)
class MeshSample:
    """A face with a mesh, and the camera that took the picture where the set has it."""

    face: FaceSample
    read_mesh: Callable[[], Mesh] = field(repr=False)
    """Loads the mesh. Raises FileNotFoundError or ValueError that names the file."""
    camera: Camera | None = None
    """Of the mesh's frame."""

    @cached_property
    def mesh(self) -> Mesh:
        """The mesh, loaded when first asked for."""
        return self.read_mesh()

    def vertices_2d(self) -> Float[np.ndarray, "v 2"]:
        """The mesh's vertices in px. Raises ValueError where the set gives no camera."""
        if self.camera is None:
            raise ValueError(f"{self.face.name}: expected a camera to project the mesh with, found none in this set")
        return self.camera.project(self.mesh.vertices)


def loaded(mesh: Mesh) -> Callable[[], Mesh]:
    """What a sample calls for a mesh that is in memory; travels to other processes."""
    return partial(_same, mesh)


def _same(mesh: Mesh) -> Mesh:
    return mesh


def points_on(
    vertices: Float[np.ndarray, "v 3"], landmarks: Int[np.ndarray, "l"] | Float[np.ndarray, "l w"] | None
) -> Float[np.ndarray, "_ 3"]:
    """The chosen points of a mesh: vertices by index, means of vertices by weights (rows of an embedding, barycentric
    coordinates for instance), or all vertices. Raises ValueError for weights of another mesh."""
    if landmarks is None:
        return vertices
    if landmarks.ndim == 1:
        return vertices[landmarks]
    if landmarks.shape[1] != len(vertices) or not np.allclose(landmarks.sum(1), 1):
        raise ValueError(
            f"landmarks: expected weights of {len(vertices)} vertices with sums 1, found an array {landmarks.shape} "
            f"with sums {landmarks.sum(1).min():.4g}..{landmarks.sum(1).max():.4g}"
        )
    return landmarks @ vertices


def vertex_indices(landmarks: Int[np.ndarray, "l"] | Float[np.ndarray, "l w"] | None) -> Int[np.ndarray, "l"] | None:
    """`landmarks` of `points_on` where they are vertices; None otherwise."""
    return landmarks if landmarks is not None and landmarks.ndim == 1 else None
