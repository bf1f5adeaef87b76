"""Meshes that things before a face are made of, and the head that they are fitted to.

Lengths in the code are cm of an average head; what comes out is canonical.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.spatial import cKDTree

from facelift.geometry import UNIT_CM
from facelift.morphable.head import Topology, vertex_normals
from facelift.rendering.raster import TWO_SIDED

CM = 1 / UNIT_CM
TILE = 64
"""Side of a thing's picture, px."""


@dataclass(frozen=True)
class Part:
    """A mesh of one material."""

    vertices: Float[np.ndarray, "v 3"]
    normals: Float[np.ndarray, "v 3"]
    topology: Topology
    alpha: int = TWO_SIDED
    """`alpha_of` of the rasteriser."""
    picture: Float[np.ndarray, "64 64 3"] | None = None
    """Linear colour; None for skin, whose `uv` lie in the head's own texture."""


class HeadShape:
    """A head as a distance from a point inside it, in every direction."""

    def __init__(self, points: Float[np.ndarray, "n 3"], centre: Float[np.ndarray, "3"]):
        self.centre = centre
        self._distance = np.linalg.norm(points - centre, axis=1)
        self._tree = cKDTree((points - centre) / self._distance[:, None])

    def radius(self, directions: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
        return self._distance[self._tree.query(directions, k=6)[1]].max(-1)

    def outside(self, points: Float[np.ndarray, "*n 3"], gap: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n 3"]:
        """The points, those nearer than `gap` to the surface pushed out to it."""
        towards = points - self.centre
        distance = np.linalg.norm(towards, axis=-1, keepdims=True)
        wanted = (self.radius(towards / distance) + gap)[..., None]
        return self.centre + towards * np.maximum(1, wanted / distance)

    def shell(self, directions: Float[np.ndarray, "r c 3"], gap: float, *, taut: int = 1) -> Float[np.ndarray, "r c 3"]:
        """A sheet over the surface that spans hollows of up to `taut` cells of the grid."""
        radius = self.radius(directions)
        for axis in (0, 1):
            radius = gaussian_filter1d(maximum_filter1d(radius, 2 * taut + 1, axis), max(taut / 1.5, 0.7), axis)
        radius = np.maximum(radius, self.radius(directions)) + gap
        return self.centre + directions * radius[..., None]


def grid(points: Float[np.ndarray, "r c 3"], material: int, picture=None, *, inside, alpha: int = TWO_SIDED) -> Part:
    """A sheet; its normals look away from `inside` (one point, or one a vertex)."""
    rows, columns = points.shape[:2]
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1, 1)
    faces = (corner[:, None] + np.array([[0, columns, 1], [1, columns, columns + 1]])).reshape(-1, 3).astype(np.int32)
    uv = np.stack(np.meshgrid(np.linspace(0, 1, columns), np.linspace(1, 0, rows)), -1).reshape(-1, 2)
    return mesh_part(points.reshape(-1, 3), faces, uv, material, picture, inside=inside, alpha=alpha)


def mesh_part(vertices, faces: Int[np.ndarray, "f 3"], uv, material: int, picture, *, inside, alpha: int) -> Part:
    normals = vertex_normals(vertices, faces)
    seam, first = np.unique(vertices.round(6), axis=0, return_inverse=True)  # vertices of one place share their normal
    total = np.zeros(seam.shape)
    np.add.at(total, first.ravel(), normals)
    normals = total[first.ravel()] / np.maximum(np.linalg.norm(total, axis=1)[first.ravel(), None], 1e-9)
    if (normals * (vertices - inside)).sum() < 0:
        normals = -normals
    topology = Topology(faces, uv[faces].astype(np.float32), np.full(len(faces), material, np.int32))
    return Part(vertices, normals.astype(np.float32), topology, alpha, picture)


def tube(path, radii, material: int, picture=None, *, up, sections: int = 12) -> Part:
    """A tube about a path with half axes (across `up`, along it) at each of its points; round ends where they are 0."""
    radii = np.broadcast_to(np.asarray(radii, float).reshape(-1, np.size(radii) // len(radii)), (len(path), 2))
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.cross(along, up)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    upright = np.cross(across, along)
    angle = np.linspace(0, 2 * np.pi, sections + 1)
    ring = radii[:, None, :1] * np.cos(angle)[:, None] * across[:, None]
    ring = ring + radii[:, None, 1:] * np.sin(angle)[:, None] * upright[:, None]
    return grid(path[:, None] + ring, material, picture, inside=np.repeat(path, sections + 1, axis=0), alpha=TWO_SIDED)


def cloth_picture(rng: np.random.Generator, colour=None) -> Float[np.ndarray, "64 64 3"]:
    """Plain, striped or chequered cloth of a random colour."""
    colour = rng.random(3) * rng.uniform(0.1, 0.9) if colour is None else np.asarray(colour)
    picture = np.tile(colour, (TILE, TILE, 1))
    if rng.random() < 0.3:
        other, wave = rng.random(3) * 0.8, rng.uniform(0.15, 1.5)
        stripes = np.sin(np.arange(TILE) * wave) > rng.uniform(-0.5, 0.8)
        chosen = stripes[:, None] | (stripes if rng.random() < 0.4 else np.zeros(TILE, bool))
        picture[chosen] = other
    return (picture * rng.uniform(0.85, 1.1, (TILE, TILE, 1))).clip(0.01, 0.95).astype(np.float32)


def plain_picture(colour) -> Float[np.ndarray, "64 64 3"]:
    return np.broadcast_to(np.asarray(colour, np.float32), (TILE, TILE, 3)).copy()


def direction_of(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    across = np.cos(elevation)
    return np.stack([across * np.sin(azimuth), np.sin(elevation), across * np.cos(azimuth)], -1)
