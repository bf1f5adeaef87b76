"""Meshes with more vertices: every triangle cut into four at the middles of its edges."""

import numpy as np
from jaxtyping import Float, Int


def midpoint_subdivision(
    faces: Int[np.ndarray, "f 3"], vertex_count: int
) -> tuple[Int[np.ndarray, "e 2"], Int[np.ndarray, "4*f 3"]]:
    """(edges, faces) of the finer mesh: vertex `vertex_count + i` is the middle of edge i, once for both its triangles.

    The three corner triangles of all faces come first, then the middle ones; orientation is kept.
    """
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, inverse = np.unique(sides, axis=0, return_inverse=True)
    ab, bc, ca = vertex_count + inverse.reshape(3, len(faces))
    a, b, c = faces.T
    corners = [[a, ab, ca], [b, bc, ab], [c, ca, bc], [ab, bc, ca]]
    return edges, np.concatenate([np.stack(corner, axis=1) for corner in corners])


def with_midpoints(
    vertices: Float[np.ndarray, "*b v d"], edges: Int[np.ndarray, "e 2"]
) -> Float[np.ndarray, "*b v_fine d"]:
    """The vertices, then the middle of each edge: one subdivision serves all meshes of a topology."""
    return np.concatenate([vertices, vertices[..., edges, :].mean(-2)], axis=-2)


def upsample(
    vertices: Float[np.ndarray, "*b v d"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "*b v_fine d"], Int[np.ndarray, "4*f 3"]]:
    """(vertices, faces) after one midpoint subdivision, the old vertices first.

    Ferman et al. 2024 upsample meshes before NMLC (supplement). Subdivide in 3D, then project: the middle of an edge
    in the picture is not the projection of its middle.
    """
    edges, finer = midpoint_subdivision(faces, vertices.shape[-2])
    return with_midpoints(vertices, edges), finer
