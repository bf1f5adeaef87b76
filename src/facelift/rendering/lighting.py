"""Light on a mesh: soft light from directions all around, with the shadows that the head throws on itself."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array, diags_array

from facelift.rendering.compiled import compiled
from facelift.rendering.raster import rasterize_alpha

_BIAS = 0.012
"""Depth tolerance of shadows, canonical units."""
_REACH = 0.55
"""Half the side of what a shadow map sees, canonical units."""
_MAP = 128
_SATURATION = 0.4
"""Share of a probe's colour that is kept: cameras balance white."""
_BLUR = 12.0
"""Concentration of the kernel that widens a probe's sun over neighbouring directions: a single one would cast edges
that the shadow maps cannot draw."""
_WRAP = 0.15
"""Light that skin lets through around the terminator."""


def directions(count: int = 64) -> Float[np.ndarray, "k 3"]:
    """Evenly spread unit vectors (Fibonacci's sphere)."""
    index = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * index / count), np.pi * (1 + 5**0.5) * index
    return np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], axis=-1)


@dataclass(frozen=True)
class Light:
    """Radiance from each of `directions()`, and the few strongest as points of shine."""

    radiance: Float[np.ndarray, "k 3"]

    @property
    def strongest(self) -> Int[np.ndarray, "3"]:
        """Indices of the three brightest directions."""
        return np.argsort(-self.radiance.mean(-1), kind="stable")[:3]


def lamps(rng: np.random.Generator) -> Light:
    """Sky, ground, and one to three soft lamps in front or above, mildly warm or cold."""
    around = directions()
    height = around[:, 1:2] * 0.5 + 0.5
    sky, ground = (
        np.array([0.9, 0.95, 1.1]) * rng.uniform(0.2, 0.7),
        np.array([1.0, 0.9, 0.8]) * rng.uniform(0.05, 0.35),
    )
    radiance = ground * (1 - height) + sky * height
    for _ in range(rng.integers(1, 4)):
        towards = rng.standard_normal(3)
        towards[1], towards[2] = 0.7 * towards[1] + 0.3, abs(towards[2]) + 0.3
        towards /= np.linalg.norm(towards)
        focus, warmth = rng.uniform(3, 30), rng.uniform(-1, 1)
        colour = np.array([1 + 0.15 * warmth, 1, 1 - 0.17 * warmth]) * rng.uniform(0.4, 1.6)
        radiance = radiance + 0.6 * focus * colour * np.exp(focus * (around @ towards - 1))[:, None]
    return Light(radiance)


def probe(image: Float[np.ndarray, "h w 3"], turn: float) -> Light:
    """An equirectangular light probe (row 0 up, linear), turned about the vertical; its mean radiance becomes 0.5."""
    height, width = image.shape[:2]
    polar = (np.arange(height) + 0.5) / height * np.pi
    azimuth = (np.arange(width) + 0.5) / width * 2 * np.pi + turn
    sky = np.stack(
        np.broadcast_arrays(
            np.sin(polar)[:, None] * np.sin(azimuth), np.cos(polar)[:, None], np.sin(polar)[:, None] * np.cos(azimuth)
        ),
        axis=-1,
    ).reshape(-1, 3)
    around = directions()
    nearest = np.argmax(sky @ around.T, axis=1)
    weight = np.repeat(np.sin(polar), width)
    total = np.bincount(nearest, weights=weight, minlength=len(around))
    flat = image.reshape(-1, 3).astype(float)
    sums = [np.bincount(nearest, weights=weight * flat[:, c], minlength=len(around)) for c in range(3)]
    radiance = np.stack(sums, axis=-1) / np.maximum(total, 1e-9)[:, None]
    grey = radiance.mean(-1, keepdims=True)
    return Light(0.5 * (grey + _SATURATION * (radiance - grey)) / radiance.mean())


def sky_visibility(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    uv: Float[np.ndarray, "f 3 2"],
    alpha_of: Int[np.ndarray, "f"],
    alphas: tuple[np.ndarray, np.ndarray],
) -> Float[np.ndarray, "v k"]:
    """Share of each direction's light that reaches each vertex past the rest of the mesh, by shadow maps."""
    around = directions()
    seen = np.zeros((len(vertices), len(around)), np.float32)
    for k, towards in enumerate(around):
        up = np.array([0.0, 1.0, 0.0]) if abs(towards[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
        right = np.cross(up, towards)
        right /= np.linalg.norm(right)
        plane = vertices @ np.stack([right, -np.cross(towards, right), -towards], axis=-1)
        pixels = np.column_stack([(plane[:, :2] / _REACH * 0.5 + 0.5) * _MAP, plane[:, 2] + 3.0]).astype(np.float32)
        depth = rasterize_alpha(pixels, faces, uv, alpha_of, alphas, _MAP, cull=False).depth
        _compare(depth, pixels, _BIAS, seen[:, k])
    return seen


@compiled
def _compare(depth, pixels, bias, seen):
    """Five taps about the vertex's place in the shadow map."""
    size = depth.shape[0]
    for v in range(pixels.shape[0]):
        x = min(max(int(pixels[v, 0]), 1), size - 2)
        y = min(max(int(pixels[v, 1]), 1), size - 2)
        limit = pixels[v, 2] - bias
        hits = 0
        hits += depth[y, x] > limit
        hits += depth[y - 1, x] > limit
        hits += depth[y + 1, x] > limit
        hits += depth[y, x - 1] > limit
        hits += depth[y, x + 1] > limit
        seen[v] = hits / 5.0


def irradiance(
    normals: Float[np.ndarray, "v 3"], seen: Float[np.ndarray, "v k"], light: Light
) -> Float[np.ndarray, "v 3"]:
    """Diffuse light on each vertex, by the shadowed cosine with some wrap."""
    around = directions().astype(np.float32)
    cosine = np.clip(normals.astype(np.float32) @ around.T, 0, None)
    share = seen * (cosine * (1 - _WRAP) + 0.5 * _WRAP)
    return share @ light.radiance.astype(np.float32) * (4 / len(around))


class Smoothing:
    """Averages of vertex values with their neighbours', against the grain of shadow maps."""

    def __init__(self, faces: Int[np.ndarray, "f 3"]):
        vertices = self.size = int(faces.max()) + 1
        pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        rows, columns = np.concatenate([pairs, pairs[:, ::-1]]).T
        near = csr_array((np.ones(len(rows), np.float32), (rows, columns)), (vertices, vertices))
        near.data[:] = 1
        degree = np.maximum(near.sum(1), 1).astype(np.float32)
        self._mean = (diags_array(1 / degree) @ near).astype(np.float32)
        self._linked = (near.sum(1) > 0)[:, None]

    def __call__(self, values: Float[np.ndarray, "v c"], rounds: int = 3) -> Float[np.ndarray, "v c"]:
        """Half own, half the neighbours' mean, several times. Vertices of no triangle keep their value."""
        for _ in range(rounds):
            values = np.where(self._linked, 0.5 * values + 0.5 * (self._mean @ values), values)
        return values
