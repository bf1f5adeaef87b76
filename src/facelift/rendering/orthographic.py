"""Z-buffer for parallel projection in NumPy: meshes in the image frame, without anything to compile or install."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from facelift.rendering.fragments import FAR, Fragments

_EDGE_PX = 1e-9
"""A pixel's centre this near to an edge belongs to both of its triangles: rounding opens no cracks."""
_LEAST_AREA = 1e-9
"""Twice the area, px^2, of triangles that are left out: those seen from their edge."""


def rasterize_orthographic(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], hw: tuple[int, int], *, chunk: int = 2**20
) -> Fragments:
    """What each pixel of a picture of height and width `hw` sees: the least z wins, of equal ones the first triangle.

    `vertices` in the image frame, z of any sign. Triangles are seen from both sides. Each becomes spans, the runs of
    pixels that it covers in a row, and each span its pixels, about `chunk` of them (60 bytes each) at a time. Raises
    ValueError for vertices that are not finite.
    """
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices)).any(-1).sum())
        raise ValueError(f"vertices: expected finite numbers, found {bad} of {len(vertices)} that are not")
    corners = vertices.T.astype(np.float64)[:, faces.T]
    depth, triangle = np.full(hw[0] * hw[1], FAR), np.full(hw[0] * hw[1], -1, np.int32)
    dx, dy = _depth_slopes(corners)
    for owner, row, column, count in _spans(corners, hw, chunk):
        x, y, z = corners[:, 0, owner]
        first = z + dx[owner] * (column + 0.5 - x) + dy[owner] * (row + 0.5 - y)
        step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        pixel = np.repeat(row * hw[1] + column, count) + step
        _keep_nearest(
            depth, triangle, pixel, np.repeat(first, count) + np.repeat(dx[owner], count) * step, owner, count
        )
    triangle = triangle.reshape(hw)
    return Fragments(triangle, _barycentric(corners, triangle), depth.reshape(hw).astype(np.float32))


def signed_areas(corners: Float[np.ndarray, "_ 3 f"]) -> Float[np.ndarray, "f"]:
    """Twice the area in the picture, px^2, by the coordinates of three corners; negative for what is seen in front."""
    (x0, x1, x2), (y0, y1, y2) = corners[:2]
    return (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)


def _keep_nearest(depth: np.ndarray, triangle: np.ndarray, pixel, z, owner, count) -> None:
    """Enters fragments into the z-buffer, in place."""
    nearer = np.flatnonzero(z < depth[pixel])
    pixel, z = pixel[nearer], z[nearer]
    np.minimum.at(depth, pixel, z)
    won = np.flatnonzero(z == depth[pixel])[::-1]  # backwards: of repeated pixels the last one stays
    triangle[pixel[won]] = np.repeat(owner, count)[nearer[won]]


def _depth_slopes(corners: Float[np.ndarray, "3 3 f"]) -> tuple[Float[np.ndarray, "f"], Float[np.ndarray, "f"]]:
    """dz/dx and dz/dy of each triangle's plane; 0 for those that are left out."""
    area = signed_areas(corners)
    (x1, x2), (y1, y2), (z1, z2) = corners[:, 1:] - corners[:, :1]
    inverse = np.divide(1, area, out=np.zeros_like(area), where=np.abs(area) > _LEAST_AREA)
    return (z1 * y2 - z2 * y1) * inverse, (x1 * z2 - x2 * z1) * inverse


def _spans(corners: Float[np.ndarray, "3 3 f"], hw: tuple[int, int], chunk: int) -> Iterator[tuple[np.ndarray, ...]]:
    """(triangle, row, first column, number of pixels) of the spans, some at a time."""
    top, bottom = _pixels_between(corners[1].min(0), corners[1].max(0), hw[0])
    left, right = _pixels_between(corners[0].min(0), corners[0].max(0), hw[1])
    seen = (right >= left) & (np.abs(signed_areas(corners)) > _LEAST_AREA)
    rows = np.where(seen, (bottom - top + 1).clip(0), 0)
    owner = np.repeat(np.arange(len(rows)), rows)
    row = np.arange(len(owner)) - np.repeat(np.cumsum(rows) - rows - top, rows)
    column, last = _pixels_between(*_crossings(corners[:2, :, owner], row + 0.5), hw[1])
    kept = np.flatnonzero(last >= column)
    count = last - column + 1
    total = np.cumsum(count[kept])
    for part in np.split(kept, np.searchsorted(total, np.arange(chunk, total[-1], chunk))) if len(kept) else ():
        yield owner[part], row[part], column[part], count[part]


def _pixels_between(low: Float[np.ndarray, "n"], high: Float[np.ndarray, "n"], size: int) -> tuple[np.ndarray, ...]:
    """First and last of `size` pixels whose centres lie between two places; the last before the first if none does."""
    first, last = np.ceil(low - (0.5 + _EDGE_PX)), np.floor(high - (0.5 - _EDGE_PX))
    return first.clip(0, size).astype(np.int64), last.clip(-1, size - 1).astype(np.int64)


def _crossings(corners: Float[np.ndarray, "2 3 n"], y: Float[np.ndarray, "n"]) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest x at which the line of height y crosses a triangle's edges."""
    low, high = np.full(len(y), np.inf), np.full(len(y), -np.inf)
    for k in range(3):
        (x0, y0), (x1, y1) = corners[:, k], corners[:, (k + 1) % 3]
        met = (y1 != y0) & (np.minimum(y0, y1) - _EDGE_PX <= y) & (y <= np.maximum(y0, y1) + _EDGE_PX)
        share = np.divide(y - y0, y1 - y0, out=np.zeros(len(y)), where=met).clip(0, 1)
        x = x0 + share * (x1 - x0)
        low, high = np.where(met, np.minimum(low, x), low), np.where(met, np.maximum(high, x), high)
    return low, high


def _barycentric(corners: Float[np.ndarray, "3 3 f"], triangle: Int[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 2"]:
    """Weights of the first two corners at each pixel's centre; 0 where there is no triangle."""
    weights = np.zeros((*triangle.shape, 2), np.float32)
    row, column = np.nonzero(triangle >= 0)
    own = corners[:2, :, triangle[row, column]]
    area = signed_areas(own)
    (x0, x1, x2), (y0, y1, y2) = own - np.stack([column + 0.5, row + 0.5])[:, None]
    weights[row, column, 0] = (x1 * y2 - x2 * y1) / area
    weights[row, column, 1] = (x2 * y0 - x0 * y2) / area
    return weights
