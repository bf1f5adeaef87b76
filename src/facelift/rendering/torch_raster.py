"""The rasteriser of `raster.py` in PyTorch, for many views at once on a GPU: same triangles, same pictures.

Every triangle is expanded into the pixels of its box; the nearest fragment of a pixel is found by one atomic maximum
over 64-bit keys of nearness and triangle. No loop over triangles or pixels, no kernels of our own.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facelift.rendering.raster import FAR, HALF, MOSTLY, OPAQUE
from facelift.rendering.torch_textures import Atlas

_LOW = 0xFFFFFFFF
"""The lower half of a key: its triangle, counted from above, so that the first of two equally near ones wins."""


@dataclass(frozen=True)
class Triangles:
    """The triangles of all views, one after the other."""

    corners: Float[Tensor, "t 3 3"]
    """x right, y down, depth; px."""
    view: Int[Tensor, "t"]
    number: Int[Tensor, "t"]
    """Of the triangle in its mesh."""
    uv: Float[Tensor, "t 3 2"]
    alpha: Int[Tensor, "t"]
    """Texture of its hashed alpha; below 0 as `alpha_of` in `raster.py`."""


@dataclass(frozen=True)
class FragmentBatch:
    """What each pixel of each view sees; `triangle` (of all views' list) is -1 where there is nothing."""

    triangle: Int[Tensor, "n h w"]
    barycentric: Float[Tensor, "n h w 2"]
    """Perspective-correct weights of the first two corners."""
    depth: Float[Tensor, "n h w"]


@torch.no_grad()
def rasterize(
    triangles: Triangles, views: int, size: int, *, alphas: Atlas | None = None, cull: bool = True, chunk: int = 2**23
) -> FragmentBatch:
    """As `raster.rasterize_alpha`, in the precision of the corners; `chunk`: fragments at a time (100 bytes each)."""
    corners = triangles.corners
    boxes = _Boxes(triangles, size, cull)
    key = torch.zeros(views * size * size, dtype=torch.int64, device=corners.device)
    for owner, column, row in boxes.fragments(chunk):
        first, second, near, inside = _weights(corners[owner], column, row)
        inside &= ~_gap(triangles.alpha[owner], column, row)
        if alphas is not None:
            inside &= _opaque(triangles, alphas, owner, column, row, first, second, inside)
        owner, near = owner[inside], near[inside]
        pixel = (triangles.view[owner] * size + row[inside]) * size + column[inside]
        bits = near.float().view(torch.int32).long()  # positive floats are ordered as their bits are
        key.scatter_reduce_(0, pixel, (bits << 32) | (_LOW - owner), "amax")
    return _resolve(key, corners, views, size)


def _resolve(key: Tensor, corners: Tensor, views: int, size: int) -> FragmentBatch:
    """Weights and depth of the winners, computed once more."""
    pixel = key.nonzero()[:, 0]
    owner = _LOW - (key[pixel] & _LOW)
    first, second, near, _ = _weights(corners[owner], pixel % size, pixel // size % size)
    triangle = torch.full_like(key, -1)
    triangle[pixel] = owner
    barycentric = corners.new_zeros((len(key), 2))
    barycentric[pixel] = torch.stack([first, second], dim=-1)
    depth = corners.new_full((len(key),), FAR)
    depth[pixel] = 1 / near
    shape = (views, size, size)
    return FragmentBatch(triangle.view(shape), barycentric.view(*shape, 2), depth.view(shape))


class _Boxes:
    """The pixels whose centres lie in the triangles' boxes."""

    def __init__(self, triangles: Triangles, size: int, cull: bool):
        x, y, depth = triangles.corners.unbind(-1)
        area = _area(x, y)
        seen = area < 0 if cull else area != 0  # y down: front faces have negative area
        seen |= (triangles.alpha != OPAQUE) & (area != 0)
        seen &= (depth > 0).all(-1)
        self.left, right = _range(x, size)
        self.top, bottom = _range(y, size)
        self.width = (right - self.left + 1).clamp_min(0)
        count = torch.where(seen, self.width * (bottom - self.top + 1).clamp_min(0), 0)
        self.chosen = count.nonzero()[:, 0]
        self.count = count[self.chosen]

    def fragments(self, chunk: int):
        """(triangle, column, row) of the fragments, some whole triangles at a time."""
        total, start = self.count.cumsum(0), 0
        while start < len(self.chosen):
            done = total[start - 1] if start else total.new_zeros(())
            stop = max(int(torch.searchsorted(total, done + chunk, right=True)), start + 1)
            count = self.count[start:stop]
            owner = torch.repeat_interleave(self.chosen[start:stop], count)
            before = torch.repeat_interleave(total[start:stop] - count - done, count)
            place = torch.arange(len(owner), device=owner.device) - before
            width = self.width[owner]
            yield owner, self.left[owner] + place % width, self.top[owner] + place // width
            start = stop


def _range(values: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First and last pixel whose centre lies between the corners."""
    low, high = torch.ceil(values.amin(-1) - 0.5), torch.floor(values.amax(-1) - 0.5)
    return low.clamp(0, size).long(), high.clamp(-1, size - 1).long()


def _area(x: Tensor, y: Tensor) -> Tensor:
    """Twice the signed area."""
    return (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])


def _weights(corners: Tensor, column: Tensor, row: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(weights of the first two corners, 1 / depth, whether inside) of pixel centres; perspective-correct."""
    x, y, depth = corners.unbind(-1)
    inverse = 1 / _area(x, y)[:, None]
    dx, dy = x - (column[:, None] + 0.5), (y - (row[:, None] + 0.5)) * inverse
    first = dx[:, 1] * dy[:, 2] - dx[:, 2] * dy[:, 1]
    second = dx[:, 2] * dy[:, 0] - dx[:, 0] * dy[:, 2]
    third = 1 - first - second
    near = first / depth[:, 0] + second / depth[:, 1] + third / depth[:, 2]
    inside = (first >= 0) & (second >= 0) & (third >= 0) & (near > 0)
    return first / depth[:, 0] / near, second / depth[:, 1] / near, near, inside


def _gap(alpha: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Whether a triangle that covers two or three of each four pixels leaves this one out."""
    return ((alpha == HALF) & ((column + row) % 2 == 1)) | ((alpha == MOSTLY) & (column & row & 1 == 1))


def _opaque(triangles: Triangles, alphas: Atlas, owner, column, row, first, second, inside) -> Tensor:
    """Whether a fragment stays: all without a picture of alpha, of the others a share that rises with it."""
    stays = torch.ones_like(inside)
    tested = ((triangles.alpha[owner] >= 0) & inside).nonzero()[:, 0]
    owner, first, second = owner[tested], first[tested, None], second[tested, None]
    uv = triangles.uv[owner]
    place = first * uv[:, 0] + second * uv[:, 1] + (1 - first - second) * uv[:, 2]
    alpha = alphas.nearest(triangles.alpha[owner], place)[:, 0]
    stays[tested] = alpha > 0.2 + 0.6 * _noise(column[tested], row[tested], triangles.number[owner])
    return stays


def _noise(x: Tensor, y: Tensor, number: Tensor) -> Tensor:
    """Integer hash of a pixel and a triangle to [0, 1): that of `raster.py`, in the low 32 bits."""
    h = (x * 0x8DA6B343 ^ y * 0xD8163841 ^ number * 0xCB1AB31F) & _LOW
    h = ((h ^ (h >> 15)) * 0x2C1B3C6D) & _LOW
    h = ((h ^ (h >> 12)) * 0x297A2D39) & _LOW
    return (h ^ (h >> 15)) * 2.3283064365386963e-10
