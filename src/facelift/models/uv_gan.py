"""UV-texture GAN (Wu et al. 2021, supplement G): a picture of a face and a template texture -> the face's texture.

Textures are laid out by `rendering.uv_textures`: RGB 0..1, row 0 at v = 1. The picture is not aligned with them, so it
meets the template at the coarsest grid alone; the template, which is, also at every finer one.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

WIDTHS = (16, 32, 64, 128, 128)
"""Channels of the generator's grids, of half the texture's side to a 32nd of it."""
CRITIC_WIDTHS = (32, 64, 128)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Without normalisation, which would take out what matters here: the face's colour, the same all over it."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, 1)
    nn.init.kaiming_normal_(layer.weight, 0.2)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, nn.LeakyReLU(0.2))


def _pyramid(widths: tuple[int, ...]) -> nn.ModuleList:
    """From RGB on, each layer to half the side."""
    return nn.ModuleList(_convolution(i, o, 4, 2) for i, o in pairwise((3, *widths)))


def _residual(width: int) -> nn.Conv2d:
    """A grid's colours, near 0 at first."""
    layer = nn.Conv2d(width, 3, 1)
    nn.init.normal_(layer.weight, std=1e-3)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class TextureGenerator(nn.Module):
    """Texture = template + residual, the sum of what each grid adds to it; fresh, it returns the template. 1.8 million
    parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.picture, self.template = _pyramid(WIDTHS), _pyramid(WIDTHS)
        deep = WIDTHS[-1]
        self.meet = nn.Sequential(_convolution(2 * deep, deep, 3, 1), _convolution(deep, deep, 3, 1))
        outputs, skips = (*WIDTHS[-2::-1], WIDTHS[0]), (*WIDTHS[-2::-1], 3)
        inputs = (deep, *outputs[:-1])
        self.up = nn.ModuleList(_convolution(i + s, o, 3, 1) for i, s, o in zip(inputs, skips, outputs, strict=True))
        self.residuals = nn.ModuleList(_residual(width) for width in (deep, *outputs))

    def forward(self, image: Float[Tensor, "b 3 h w"], template: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
        """`s` a multiple of 32; the image of any size from 32 px. Values may leave 0..1 by a little."""
        seen = 2 * image - 1
        for layer in self.picture:
            seen = layer(seen)
        grids = [2 * template - 1]
        for layer in self.template:
            grids.append(layer(grids[-1]))
        x = grids.pop()
        x = self.meet(torch.cat([x, adaptive_avg_pool2d(seen, (x.shape[-2], x.shape[-1]))], dim=1))
        residual = self.residuals[0](x)
        for layer, add in zip(self.up, self.residuals[1:], strict=True):
            x = layer(torch.cat([interpolate(x, scale_factor=2.0, mode="nearest"), grids.pop()], dim=1))
            residual = interpolate(residual, scale_factor=2.0, mode="bilinear", align_corners=False) + add(x)
        return template + residual


class TextureCritic(nn.Module):
    """Texture -> a score of each of its patches of 46 texels: near 1 for real ones, 0 for generated ones."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_pyramid(CRITIC_WIDTHS), nn.Conv2d(CRITIC_WIDTHS[-1], 1, 4, 1, 1))

    def forward(self, texture: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 1 p p"]:
        return self.layers(2 * texture - 1)
