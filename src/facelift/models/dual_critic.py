"""The critic of a small 3D-aware GAN: sees the picture and its raw rendering at once, and knows the camera
(dual discrimination, Chan et al. 2022, section 4.3). Residual blocks as StyleGAN2's."""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from facelift.models.stylegan2 import FullyConnected, activated, normalized


class _Convolution(nn.Module):
    """Runtime-scaled convolution; `down`: of the picture at half the side. Paper: a wider filter against aliasing."""

    def __init__(self, inputs: int, outputs: int, size: int, *, down: bool = False, active: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if active else None
        self.gain, self.down = 1 / math.sqrt(inputs * size**2), down

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        x = avg_pool2d(x, 2) if self.down else x
        x = conv2d(x, self.weight * self.gain, padding=self.weight.shape[-1] // 2)
        return x if self.bias is None else activated(x + self.bias[:, None, None])


class _Block(nn.Module):
    """Two convolutions to half the side, beside a plain way there."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first = _Convolution(inputs, inputs, 3)
        self.second = _Convolution(inputs, outputs, 3, down=True)
        self.skip = _Convolution(inputs, outputs, 1, down=True, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.second(self.first(x)) + self.skip(x)) * math.sqrt(0.5)


class DualCritic(nn.Module):
    """(picture, raw picture, camera) -> a score, high for real ones."""

    def __init__(self, widths: tuple[int, ...], c_size: int = 25):
        """`widths`: channels of the grids from the picture's side to 4 px, each half the side before."""
        super().__init__()
        deep = widths[-1]
        self.entry = _Convolution(6, widths[0], 1)
        self.blocks = nn.Sequential(*(_Block(i, o) for i, o in pairwise(widths)))
        self.last = _Convolution(deep + 1, deep, 3)
        self.out = nn.Sequential(FullyConnected(16 * deep, deep, active=True), FullyConnected(deep, deep))
        self.camera = nn.Sequential(FullyConnected(c_size, deep, active=True), FullyConnected(deep, deep))

    def forward(
        self, image: Float[Tensor, "b 3 s s"], raw: Float[Tensor, "b 3 r r"], c: Float[Tensor, "b c"]
    ) -> Float[Tensor, "b"]:
        """Colours -1..1. A real picture's raw one is the picture itself, made small."""
        wide = interpolate(raw, size=image.shape[-2:], mode="bilinear", align_corners=False)
        x = self.blocks(self.entry(torch.cat([image, wide], 1)))
        x = self.last(torch.cat([x, _spread(x)], 1))
        return (self.out(x.flatten(1)) * normalized(self.camera(c))).sum(1) / math.sqrt(x.shape[1])


def _spread(x: Float[Tensor, "b c h w"], group: int = 4) -> Float[Tensor, "b 1 h w"]:
    """Mean standard deviation over groups of the batch: pictures that are all alike give themselves away."""
    size = math.gcd(len(x), group)
    y = x.reshape(size, -1, *x.shape[1:])
    spread = ((y - y.mean(0)).square().mean(0) + 1e-8).sqrt().mean((1, 2, 3))
    return spread.repeat(size)[:, None, None, None].expand(-1, 1, *x.shape[2:])


def made_small(image: Float[Tensor, "b 3 s s"], side: int) -> Float[Tensor, "b 3 r r"]:
    """The raw picture of a real one."""
    return avg_pool2d(image, image.shape[-1] // side)
