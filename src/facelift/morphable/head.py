"""What a morphable head offers to the generators."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Topology:
    """The triangles of a head, their texture coordinates and materials."""

    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "f 3 2"]
    """v up; u runs to 2 where the picture is twice as wide as high."""
    material: Int[np.ndarray, "f"]
    """Index into `rendering.materials`."""


@runtime_checkable
class Head(Protocol):
    """A mesh that moves with identity and expression; canonical frame and units."""

    topology: Topology
    landmark_weights: Float[np.ndarray, "98 k"]
    """Each WFLW-98 landmark is a weighted mean of k vertices."""
    landmark_vertices: Int[np.ndarray, "98 k"]

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A plausible identity and expression."""

    def vertices(self, identity: np.ndarray, expression: np.ndarray) -> Float[np.ndarray, "v 3"]:
        """The mesh, canonical."""


def landmarks(head: Head, vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "98 3"]:
    """The WFLW-98 points of a head's mesh."""
    return (vertices[head.landmark_vertices] * head.landmark_weights[..., None]).sum(1)


def vertex_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    """Unit normals, area-weighted; zero for vertices of no triangle."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.cross(b - a, c - a)
    total = np.zeros(vertices.shape)
    for axis in range(3):
        weights = np.repeat(area[:, axis], 3)
        total[:, axis] = np.bincount(faces.ravel(), weights=weights, minlength=len(vertices))
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    return total / np.maximum(length, 1e-12)
