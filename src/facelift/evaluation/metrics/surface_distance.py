"""Exact closest points on a triangle mesh."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_CHUNK = 4096
_PAIRS = 200_000
"""Pairs of a point and a triangle that are measured at once."""


@dataclass(frozen=True)
class SurfacePoints:
    """The point of the mesh that is closest to each query."""

    points: Float[np.ndarray, "n 3"]
    triangles: Int[np.ndarray, "n"]
    """The triangle it lies in; one of them where it lies in several."""
    distances: Float[np.ndarray, "n"]


def closest_on_triangles(
    points: Float[np.ndarray, "*b 3"], triangles: Float[np.ndarray, "*b 3 3"]
) -> Float[np.ndarray, "*b 3"]:
    """The point of each triangle (three corners as rows) that is closest to its point, pair by pair.

    The foot on the plane where it falls inside (barycentric coordinates, Ericson 2005, section 3.4), else the closest
    point of the three edges. Triangles without area count as the segments or the point that they are.
    """
    a, b, c = triangles[..., 0, :], triangles[..., 1, :], triangles[..., 2, :]
    edges = np.stack([_closest_on_segment(points, *ends) for ends in ((a, b), (b, c), (c, a))], axis=-2)
    squared = ((edges - points[..., None, :]) ** 2).sum(-1)
    on_edge = np.take_along_axis(edges, squared.argmin(-1)[..., None, None], axis=-2)[..., 0, :]
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = _dot(ab, ab), _dot(ab, ac), _dot(ac, ac)
    d20, d21 = _dot(ap, ab), _dot(ap, ac)
    determinant = d00 * d11 - d01 * d01
    flat = determinant <= 1e-14 * d00 * d11
    safe = np.where(flat, 1.0, determinant)
    v, w = (d11 * d20 - d01 * d21) / safe, (d00 * d21 - d01 * d20) / safe
    inside = ~flat & (v >= 0) & (w >= 0) & (v + w <= 1)
    return np.where(inside[..., None], a + v[..., None] * ab + w[..., None] * ac, on_edge)


class Surface:
    """A triangle mesh that can be asked for its closest points many times."""

    def __init__(self, vertices: Float[np.ndarray, "v 3"], triangles: Int[np.ndarray, "f 3"]):
        """Raises ValueError for no triangles, vertices that are not finite, or indices that are out of range."""
        from scipy.spatial import cKDTree

        vertices = np.asarray(vertices, float)
        if not len(triangles):
            raise ValueError("surface: expected at least one triangle, found none")
        if triangles.min() < 0 or triangles.max() >= len(vertices):
            raise ValueError(f"surface: expected vertex indices below {len(vertices)}, found {triangles.max()}")
        self.corners = vertices[triangles]
        if not np.isfinite(self.corners).all():
            raise ValueError("surface: expected finite vertices, found NaN or infinity")
        middles = self.corners.mean(1)
        radii = np.linalg.norm(self.corners - middles[:, None], axis=-1).max(1)
        size = np.ceil(np.log2(np.maximum(radii / max(radii.max(), 1e-300), 2.0**-20)))
        self._groups = []  # by size: one large triangle must not widen the search among the small ones
        for step in np.unique(size):
            members = np.flatnonzero(size == step)
            self._groups.append((members, cKDTree(middles[members]), float(radii[members].max())))

    def closest(self, points: Float[np.ndarray, "n 3"]) -> SurfacePoints:
        """The closest point of the mesh to each of `points`, exact.

        The triangle whose middle is nearest bounds the distance; a closer one has its middle within that bound plus its
        own radius, and all of those are measured. Raises ValueError for points that are not finite.
        """
        points = np.asarray(points, float)
        if not np.isfinite(points).all():
            raise ValueError("surface: expected finite points, found NaN or infinity")
        parts = [self._closest(points[first : first + _CHUNK]) for first in range(0, len(points), _CHUNK)]
        if not parts:
            return SurfacePoints(np.zeros((0, 3)), np.zeros(0, int), np.zeros(0))
        feet, triangles = (np.concatenate(values) for values in zip(*parts, strict=True))
        return SurfacePoints(feet, triangles, np.linalg.norm(points - feet, axis=-1))

    def _closest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        best, triangle = np.full(len(points), np.inf), np.zeros(len(points), int)
        for members, tree, _ in self._groups:
            first = members[tree.query(points)[1]]
            distance = np.linalg.norm(points - closest_on_triangles(points, self.corners[first]), axis=-1)
            triangle, best = np.where(distance < best, first, triangle), np.minimum(distance, best)
        for members, tree, radius in self._groups:
            reach = (best + radius) * (1 + 1e-12)
            counts = np.cumsum(tree.query_ball_point(points, reach, return_length=True))
            for rows in np.split(np.arange(len(points)), np.flatnonzero(np.diff(counts // _PAIRS)) + 1):
                found = tree.query_ball_point(points[rows], reach[rows], return_sorted=False)
                pairs = np.repeat(rows, [len(indices) for indices in found])
                candidates = members[np.concatenate(found).astype(int)]
                self._improve(points, pairs, candidates, best, triangle)
        return closest_on_triangles(points, self.corners[triangle]), triangle

    def _improve(self, points, rows, candidates, best, triangle) -> None:
        """Writes to `best` and `triangle` the nearest candidate of each row that is nearer than what is there."""
        feet = closest_on_triangles(points[rows], self.corners[candidates])
        distance = np.linalg.norm(points[rows] - feet, axis=-1)
        closer = np.flatnonzero(distance < best[rows])
        order = closer[np.argsort(-distance[closer], kind="stable")]  # of equal rows the last one written stays
        best[rows[order]], triangle[rows[order]] = distance[order], candidates[order]


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray((a * b).sum(-1))


def _closest_on_segment(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    along = end - start
    squared = _dot(along, along)
    share = np.clip(_dot(points - start, along) / np.where(squared > 0, squared, 1.0), 0, 1)
    return start + share[..., None] * along
