"""Z-buffer rasteriser in Numba: projected triangles -> per pixel triangle, barycentrics and depth."""

import math
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from facelift.rendering.compiled import compiled
from facelift.rendering.fragments import FAR, Fragments

OPAQUE, TWO_SIDED, MOSTLY, HALF = -1, -2, -3, -4
"""`alpha_of` without a picture: seen from the front alone; from both sides; and from both sides, covering three or two
of each four pixels, which supersampling blends."""


class Rasterizer(Protocol):
    """The door for other rasterisers (a GPU's): same picture, other machine."""

    def __call__(
        self, pixels: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], size: int, *, cull: bool
    ) -> Fragments:
        """`pixels`: x right, y down, depth. Pixel centres at integer + 0.5; `cull` drops triangles seen from behind."""


def rasterize(
    pixels: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], size: int, *, cull: bool = True
) -> Fragments:
    """Opaque triangles, the nearest wins. Triangles that reach behind the camera (depth <= 0) are left out."""
    empty = np.zeros((len(faces), 3, 2), np.float32)
    return rasterize_alpha(pixels, faces, empty, np.full(len(faces), -1, np.int32), _NO_ALPHA, size, cull=cull)


def rasterize_parallel(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], hw: tuple[int, int]
) -> Fragments:
    """What `orthographic.rasterize_orthographic` returns, to single precision and ten times as fast.

    Linear over a triangle in the picture is 1 / depth: with c - z in its place, z is. Raises ValueError for a picture
    that is not square.
    """
    if hw[0] != hw[1]:
        raise ValueError(f"hw: expected a square picture, found {hw[0]} x {hw[1]}")
    end = vertices[:, 2].max(initial=-np.inf) + 1
    near = end - vertices[:, 2]
    found = rasterize(np.column_stack([vertices[:, :2], 1 / near]).astype(np.float32), faces, hw[0], cull=False)
    there = found.triangle >= 0
    depth, barycentric = found.depth, found.barycentric
    corners = near[faces[found.triangle[there], :2]]
    barycentric[there] /= corners * depth[there, None]
    depth[there] = end - 1 / depth[there]
    return Fragments(found.triangle, barycentric, depth)


def rasterize_alpha(
    pixels: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    uv: Float[np.ndarray, "f 3 2"],
    alpha_of: Int[np.ndarray, "f"],
    alphas: tuple[np.ndarray, np.ndarray],
    size: int,
    *,
    cull: bool = True,
) -> Fragments:
    """As `rasterize`, with hashed alpha (Wyman and McGuire 2017): a triangle whose `alpha_of` is k >= 0 keeps a
    fragment with a probability that rises from 0 to 1 where the k-th picture of `alphas` (v up, u and v repeat) rises
    from 0.2 to 0.8, the same for the same pixel and triangle. Such triangles are seen from both sides. Below 0 see
    `OPAQUE`."""
    triangle = np.full((size, size), -1, np.int32)
    barycentric = np.zeros((size, size, 2), np.float32)
    nearness = np.zeros((size, size), np.float32)
    points = np.ascontiguousarray(pixels, np.float32)
    _raster(points, faces, uv, alpha_of, alphas, cull, triangle, barycentric, nearness)
    _to_depth(nearness)
    return Fragments(triangle, barycentric, nearness)


_NO_ALPHA = (np.ones((1, 1), np.float32), np.ones((1, 1), np.float32))


@compiled
def _to_depth(nearness):
    """1 / depth -> depth, in place."""
    for y in range(nearness.shape[0]):
        for x in range(nearness.shape[1]):
            nearness[y, x] = 1.0 / nearness[y, x] if nearness[y, x] > 0 else FAR


@compiled
def _noise(x, y, f):
    """Integer hash of a pixel and a triangle to [0, 1)."""
    h = np.uint32(x) * np.uint32(0x8DA6B343) ^ np.uint32(y) * np.uint32(0xD8163841)
    h = np.uint32(h ^ np.uint32(f) * np.uint32(0xCB1AB31F))
    h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D))
    h = np.uint32((h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39))
    return (h ^ (h >> np.uint32(15))) * 2.3283064365386963e-10


@compiled
def _raster(p, faces, uv, alpha_of, alphas, cull, triangle, barycentric, nearness):
    height, width = triangle.shape
    for f in range(faces.shape[0]):
        i0, i1, i2 = faces[f, 0], faces[f, 1], faces[f, 2]
        x0, y0, x1, y1, x2, y2 = p[i0, 0], p[i0, 1], p[i1, 0], p[i1, 1], p[i2, 0], p[i2, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        k = alpha_of[f]
        if area == 0 or (cull and k == OPAQUE and area > 0):  # y down: front faces have negative area
            continue
        if p[i0, 2] <= 0 or p[i1, 2] <= 0 or p[i2, 2] <= 0:
            continue
        left = max(int(math.ceil(min(x0, x1, x2) - 0.5)), 0)
        right = min(int(math.floor(max(x0, x1, x2) - 0.5)), width - 1)
        top = max(int(math.ceil(min(y0, y1, y2) - 0.5)), 0)
        bottom = min(int(math.floor(max(y0, y1, y2) - 0.5)), height - 1)
        if left > right or top > bottom:
            continue
        inverse = 1.0 / area
        r0, r1, r2 = 1.0 / p[i0, 2], 1.0 / p[i1, 2], 1.0 / p[i2, 2]
        for y in range(top, bottom + 1):
            py = y + 0.5
            a1, a2, a0 = (y1 - py) * inverse, (y2 - py) * inverse, (y0 - py) * inverse
            for x in range(left, right + 1):
                if (k == HALF and (x + y) & 1) or (k == MOSTLY and x & y & 1):
                    continue
                px = x + 0.5
                w0 = (x1 - px) * a2 - (x2 - px) * a1
                w1 = (x2 - px) * a0 - (x0 - px) * a2
                w2 = 1.0 - w0 - w1
                if w0 < 0 or w1 < 0 or w2 < 0:
                    continue
                near = w0 * r0 + w1 * r1 + w2 * r2
                if near <= nearness[y, x]:
                    continue
                b0, b1 = w0 * r0 / near, w1 * r1 / near
                if k >= 0:
                    b2 = 1.0 - b0 - b1
                    u = b0 * uv[f, 0, 0] + b1 * uv[f, 1, 0] + b2 * uv[f, 2, 0]
                    v = b0 * uv[f, 0, 1] + b1 * uv[f, 1, 1] + b2 * uv[f, 2, 1]
                    u -= math.floor(u)
                    v -= math.floor(v)
                    picture = alphas[0] if k == 0 else alphas[1]
                    row = min(int((1.0 - v) * picture.shape[0]), picture.shape[0] - 1)
                    column = min(int(u * picture.shape[1]), picture.shape[1] - 1)
                    if picture[row, column] <= 0.2 + 0.6 * _noise(x, y, f):
                        continue
                nearness[y, x] = near
                triangle[y, x] = f
                barycentric[y, x, 0] = b0
                barycentric[y, x, 1] = b1
