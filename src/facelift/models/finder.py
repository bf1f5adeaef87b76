"""Face finder: an anchor-free detector of boxes and five points (YuNet's class, Wu et al. 2023; heads after FCOS)."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.models.mobile import _conv

STRIDES = (8, 16, 32)
"""Of the three grids of cells, px of the input; its sides must be multiples of the last."""


class Found(NamedTuple):
    """What each cell of the three grids says of the face that it lies in, px of the input."""

    logits: Float[Tensor, "b n"]
    """Logit of the overlap (intersection over union) that the cell's box has with a face; low where there is none."""
    boxes: Float[Tensor, "b n 4"]
    """x0 y0 x1 y1, tight around the 68 landmarks; it may reach beyond the picture."""
    points: Float[Tensor, "b n 5 2"]
    """Image-left eye of an upright frontal face, the other eye, nose tip, and the mouth's corners likewise."""


def _light(inputs: int, outputs: int, *, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Depthwise convolution, then a pointwise one with ReLU."""
    return nn.Sequential(
        _conv(inputs, inputs, kernel, stride=stride, groups=inputs, act=False), _conv(inputs, outputs, 1)
    )


class _Residual(nn.Module):
    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.layers = _light(width, width, kernel=kernel)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _stage(inputs: int, outputs: int, blocks: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(_light(inputs, outputs, stride=2), *(_Residual(outputs, kernel) for _ in range(blocks)))


class FaceFinderNetwork(nn.Module):
    """Picture in [0, 1] of any size in multiples of 32 -> `Found` of all cells, finest grid first.

    A trunk of depthwise-separable convolutions, a top-down pyramid, and one head shared by the grids. Kernels of 5 on
    the coarse grids let a cell see a face that fills a picture of 256 px.
    """

    def __init__(self, *, widths: tuple[int, int, int] = (48, 80, 112), width: int = 48):
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 16, 3, stride=2), _light(16, 32, stride=2), _Residual(32, 3))
        fine, middle, coarse = widths
        self.stages = nn.ModuleList([_stage(32, fine, 2, 3), _stage(fine, middle, 3, 5), _stage(middle, coarse, 3, 5)])
        self.lateral = nn.ModuleList([_conv(channels, width, 1) for channels in widths])
        self.merge = nn.ModuleList([_light(width, width) for _ in widths])
        self.head = nn.Sequential(_light(width, width), _light(width, width))
        self.out = nn.Conv2d(width, 15, 1)
        self.scales = nn.Parameter(torch.ones(len(STRIDES), 2))
        """Factor of each grid's boxes and points."""
        nn.init.normal_(self.out.weight, std=0.01)
        bias = torch.zeros(15)
        bias[0] = -4.6  # a face in a hundredth of the cells: the loss starts low
        self.out.bias = nn.Parameter(bias)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Found:
        x = self.stem((image - 0.5) / 0.25)
        maps = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            maps.append(lateral(x))
        for level in (1, 0):
            maps[level] = maps[level] + nn.functional.interpolate(maps[level + 1], scale_factor=2.0, mode="nearest")
        parts = []
        for level, stride in enumerate(STRIDES):
            raw = self.out(self.head(self.merge[level](maps[level])))
            parts.append(_decode(raw, stride, self.scales[level]))
        return Found(*(torch.cat(values, dim=1) for values in zip(*parts, strict=True)))


def cells(height: Any, width: Any, stride: int, like: Tensor) -> Float[Tensor, "n 2"]:
    """Middles (x, y) of a grid of `height` rows of `width` cells, px of the input, row by row. In an export
    both are symbols.
    """
    y = torch.arange(height, dtype=like.dtype, device=like.device) + 0.5
    x = torch.arange(width, dtype=like.dtype, device=like.device) + 0.5
    grid = torch.stack([x[None, :].expand(height, width), y[:, None].expand(height, width)], dim=-1)
    return grid.reshape(-1, 2) * stride


def _decode(raw: Float[Tensor, "b 15 h w"], stride: int, scale: Float[Tensor, "2"]) -> Found:
    """Middle = cell + 2 s d, side = 4 s exp(e), point = cell + 4 s p, with the stride s."""
    height, width = raw.shape[-2:]
    middle = cells(height, width, stride, raw)
    flat = raw.flatten(2).transpose(1, 2)
    centre = middle + 2 * stride * flat[..., 1:3]
    half = 2 * stride * torch.exp((scale[0] * flat[..., 3:5]).clamp(-4, 4))
    offsets = (4 * stride * scale[1]) * flat[..., 5:].unflatten(-1, (5, 2))
    return Found(flat[..., 0], torch.cat([centre - half, centre + half], dim=-1), middle[:, None] + offsets)
