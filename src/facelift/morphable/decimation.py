"""Coarser meshes of a mesh's own vertices, by quadric decimation (Garland & Heckbert 1997), and points as weighted
means of their vertices."""

from itertools import product

import numpy as np
from jaxtyping import Float, Int

_NEAREST = 16
"""Vertices of the finer mesh that one of the coarser mesh may become."""
_CANDIDATES = 64
"""Triangles, by their middles, that may hold a point."""
_AGGRESSIVE = (4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
"""fast_simplification's growth of thresholds: lower keeps the shape better, but does not reach every count."""


def decimate(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], count: int
) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "g 3"]]:
    """(which vertices stay, ascending; the triangles of the coarser mesh, by their places among them), exactly `count`.

    The library moves the vertices that it keeps; each becomes the vertex of the mesh that is near it, so that coarser
    sets are parts of finer ones. Raises ValueError for a count that the mesh does not have or cannot be reduced to.
    """
    used = np.unique(faces)
    if not 3 <= count <= len(used):
        raise ValueError(f"decimation: expected 3 to {len(used)} vertices, found {count}")
    own = np.searchsorted(used, faces)
    if count == len(used):
        return used, own.astype(np.int32)
    moved, triangles = _reduced(np.asarray(vertices, np.float64)[used], own, count)
    chosen = _one_each(moved, np.asarray(vertices, np.float64)[used])
    order = np.argsort(chosen)
    return used[chosen[order]], np.argsort(order)[triangles].astype(np.int32)


def barycentric(
    points: Float[np.ndarray, "k n 3"], vertices: Float[np.ndarray, "k v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Int[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """(corners, weights that sum to 1) of the place on the mesh that stands for each point.

    Weights are those of the nearest place of a triangle in the first of k poses. The triangle is the one whose place
    then stays nearest to the point in all of them: in a closed mouth the nearest one alone may be the other lip's.
    """
    from scipy.spatial import cKDTree

    points, vertices = np.asarray(points, np.float64), np.asarray(vertices, np.float64)
    near = min(_CANDIDATES, len(faces))
    candidates = cKDTree(vertices[0][faces].mean(1)).query(points[0], k=near)[1].reshape(-1, near)
    corners = faces[candidates]
    weights = _weights(points[0][:, None], vertices[0][corners])
    error = np.zeros(candidates.shape)
    for moved, mesh in zip(points, vertices, strict=True):
        error += np.linalg.norm((mesh[corners] * weights[..., None]).sum(-2) - moved[:, None], axis=-1)
    row, best = np.arange(len(candidates)), error.argmin(1)
    return corners[row, best].astype(np.int32), weights[row, best].astype(np.float32)


def _weights(points: Float[np.ndarray, "n 1 3"], triangles: Float[np.ndarray, "n c 3 3"]) -> np.ndarray:
    """(n, c, 3) barycentric coordinates of the closest place of each triangle; of a flat one its first corner."""
    from facelift.evaluation.metrics.surface_distance import closest_on_triangles

    points = np.broadcast_to(points, (*triangles.shape[:2], 3))
    a, b, c = (triangles[..., k, :] for k in range(3))
    place = closest_on_triangles(points, triangles) - a
    area = np.cross(b - a, c - a)
    squared = np.maximum((area**2).sum(-1), 1e-300)
    second = (np.cross(place, c - a) * area).sum(-1) / squared
    third = (np.cross(b - a, place) * area).sum(-1) / squared
    weights = np.clip(np.stack([1 - second - third, second, third], -1), 0, 1)
    return weights / weights.sum(-1, keepdims=True)


def edges(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "e 2"]:
    """Each edge of the triangles once, the lower vertex first."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.sort(pairs, axis=1), axis=0)


def _reduced(vertices: np.ndarray, faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The library's mesh of exactly `count` vertices. It counts triangles; each collapse takes one vertex away."""
    import fast_simplification

    sides = vertices[faces] - vertices[np.roll(faces, 1, axis=1)]
    scale = 1 / np.linalg.norm(sides, axis=-1).mean()  # its thresholds are lengths
    targets = range(max(2, count // 2), min(2 * count + 60, len(faces)))
    likely = sorted(targets, key=lambda target: abs(target - 1.92 * count))
    for aggressive, target in product(_AGGRESSIVE, likely):
        moved, triangles = fast_simplification.simplify(scale * vertices, faces, target_count=target, agg=aggressive)
        kept = np.unique(triangles)
        if len(kept) == count:
            return moved[kept] / scale, np.searchsorted(kept, triangles)
    raise ValueError(f"decimation: expected a mesh that can be reduced to {count} vertices, found none")


def _one_each(moved: Float[np.ndarray, "k 3"], vertices: Float[np.ndarray, "v 3"]) -> Int[np.ndarray, "k"]:
    """A vertex of its own for each moved one, of the least sum of distances."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching
    from scipy.spatial import cKDTree

    near = min(_NEAREST, len(vertices))
    distance, index = cKDTree(vertices).query(moved, k=near)
    rows = np.repeat(np.arange(len(moved)), near)
    cost = 1e-6 + distance.ravel() / max(float(distance.max()), 1e-300)  # a zero would be no entry
    table = csr_matrix((cost, (rows, index.ravel())), (len(moved), len(vertices)))
    row, column = min_weight_full_bipartite_matching(table)
    chosen = np.empty(len(moved), np.int64)
    chosen[row] = column
    return chosen
