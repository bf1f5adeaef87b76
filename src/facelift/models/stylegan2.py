"""StyleGAN2's mapping and synthesis networks (Karras et al. 2020), with the parameter names of its released weights.

Runtime-scaled weights ("equalized learning rate"): a layer's weight is stored at unit variance and multiplied by
gain / sqrt(inputs) when used, its bias by the layer's learning rate.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu

Noise = Literal["const", "random", "none"]
FIR = (1.0, 3.0, 3.0, 1.0)
_SLOPE, _GAIN = 0.2, math.sqrt(2.0)


@dataclass(frozen=True)
class SynthesisConfig:
    """Sizes of a StyleGAN2 backbone."""

    widths: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128)
    """Channels of the grids of side 4, 8, and so on."""
    channels: int = 96
    """Of the output."""
    w_size: int = 512
    clamp: float | None = None
    """Activations are cut off here."""

    @property
    def sides(self) -> tuple[int, ...]:
        """4, 8, ... up to the output's."""
        return tuple(2 ** (2 + index) for index in range(len(self.widths)))

    @property
    def w_count(self) -> int:
        """Styles that synthesis takes: one a convolution, and one for the last conversion to the output."""
        return 2 * len(self.sides)


def fir_kernel(taps: tuple[float, ...] = FIR) -> Float[Tensor, "k k"]:
    """The separable low-pass filter, of sum 1."""
    row = torch.tensor(taps)
    kernel = torch.outer(row, row)
    return kernel / kernel.sum()


def filtered(x: Float[Tensor, "b c h w"], kernel: Float[Tensor, "k k"], pad: tuple[int, int]) -> Tensor:
    """Convolution of each channel with the kernel, over zeros beyond the border: `pad` before and after."""
    channels = x.shape[1]
    weight = kernel.flip(0, 1).to(x.dtype).expand(channels, 1, -1, -1)
    return conv2d(nn.functional.pad(x, (*pad, *pad)), weight, groups=channels)


def upsampled(x: Float[Tensor, "b c h w"], kernel: Float[Tensor, "k k"]) -> Float[Tensor, "b c h2 w2"]:
    """Twice the side: zeros between the pixels, then the filter, four times as strong."""
    b, c, h, w = x.shape
    wide = x.new_zeros(b, c, h, 2, w, 2)
    wide[:, :, :, 0, :, 0] = x
    return filtered(wide.reshape(b, c, 2 * h, 2 * w), 4 * kernel, (2, 1))


def activated(x: Tensor, clamp: float | None = None) -> Tensor:
    """Leaky ReLU that keeps the variance, cut off at +-clamp."""
    x = leaky_relu(x, _SLOPE) * _GAIN
    return x if clamp is None else x.clamp(-clamp, clamp)


def normalized(x: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Over the root of the mean of squares."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def modulated_conv(
    x: Float[Tensor, "b i h w"],
    weight: Float[Tensor, "o i k k"],
    styles: Float[Tensor, "b i"],
    *,
    demodulate: bool = True,
    up: Float[Tensor, "f f"] | None = None,
) -> Float[Tensor, "b o h2 w2"]:
    """Convolution with a weight scaled per sample and input channel by its style (Karras et al. 2020, Eq. 1 and 3).

    `demodulate`: each output channel's weight is brought back to norm 1. `up`: twice the side, by zeros between the
    pixels in front of the convolution and this filter behind it.
    """
    x = x * styles[:, :, None, None]
    pad = weight.shape[-1] // 2
    if up is None:
        x = conv2d(x, weight, padding=pad)
    else:
        x = conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        x = filtered(x, 4 * up, (1, 1))
    if demodulate:
        squares = weight.square().sum((2, 3))
        x = x * (styles.square() @ squares.T + 1e-8).rsqrt()[:, :, None, None]  # Eq. 3, after instead of before
    return x


class FullyConnected(nn.Module):
    """Linear layer with a runtime-scaled weight; `rate` scales how fast it learns."""

    def __init__(self, inputs: int, outputs: int, *, rate: float = 1.0, bias: float = 0.0, active: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.gain, self.rate, self.active = rate / math.sqrt(inputs), rate, active

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        x = nn.functional.linear(x, self.weight * self.gain, self.bias * self.rate)
        return activated(x) if self.active else x


class Mapping(nn.Module):
    """(z, condition) -> styles w, the same for every layer."""

    w_avg: Tensor

    def __init__(self, z_size: int, c_size: int, w_size: int, w_count: int, *, layers: int = 2):
        super().__init__()
        self.z_size, self.c_size, self.w_count, self.layers = z_size, c_size, w_count, layers
        self.embed = FullyConnected(c_size, w_size) if c_size else None
        sizes = [z_size + (w_size if c_size else 0)] + [w_size] * layers
        for index in range(layers):
            self.add_module(f"fc{index}", FullyConnected(sizes[index], sizes[index + 1], rate=0.01, active=True))
        self.register_buffer("w_avg", torch.zeros(w_size))

    def forward(
        self, z: Float[Tensor, "b z"], c: Float[Tensor, "b c"] | None = None, *, truncation: float = 1.0
    ) -> Float[Tensor, "b n e"]:
        """`truncation` below 1 draws the styles to their mean; 1 leaves them."""
        x = normalized(z)
        if self.embed is not None:
            x = torch.cat([x, normalized(self.embed(c))], dim=1)
        for index in range(self.layers):
            x = self.get_submodule(f"fc{index}")(x)
        if truncation != 1:
            x = self.w_avg.lerp(x, truncation)
        return x[:, None].expand(-1, self.w_count, -1)


class SynthesisLayer(nn.Module):
    """Modulated convolution, noise, bias, activation."""

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, w_size: int, side: int, *, up: bool, clamp: float | None):
        super().__init__()
        self.up, self.clamp, self.side = up, clamp, side
        self.affine = FullyConnected(w_size, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(side, side))
        self.register_buffer("resample_filter", fir_kernel())

    def forward(self, x: Float[Tensor, "b i h w"], w: Float[Tensor, "b e"], noise: Noise) -> Tensor:
        x = modulated_conv(x, self.weight, self.affine(w), up=self.resample_filter if self.up else None)
        if noise == "const":
            x = x + self.noise_const * self.noise_strength
        elif noise == "random":
            x = x + torch.randn_like(x[:, :1]) * self.noise_strength
        return activated(x + self.bias[:, None, None], self.clamp)


class ToRGB(nn.Module):
    """Grid -> the output's channels, by a 1 x 1 convolution without demodulation."""

    def __init__(self, inputs: int, outputs: int, w_size: int, *, clamp: float | None = None):
        super().__init__()
        self.affine = FullyConnected(w_size, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain, self.clamp = 1 / math.sqrt(inputs), clamp

    def forward(self, x: Float[Tensor, "b i h w"], w: Float[Tensor, "b e"]) -> Float[Tensor, "b o h w"]:
        x = modulated_conv(x, self.weight, self.affine(w) * self.gain, demodulate=False) + self.bias[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class SynthesisBlock(nn.Module):
    """One grid: convolutions, and what it adds to the output. The first, without inputs, begins with a constant."""

    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, w_size: int, side: int, channels: int, *, clamp: float | None = None):
        super().__init__()
        self.first = not inputs
        if self.first:
            self.const = nn.Parameter(torch.randn(outputs, side, side))
        else:
            self.conv0 = SynthesisLayer(inputs, outputs, w_size, side, up=True, clamp=clamp)
        self.conv1 = SynthesisLayer(outputs, outputs, w_size, side, up=False, clamp=clamp)
        self.torgb = ToRGB(outputs, channels, w_size, clamp=clamp)
        self.register_buffer("resample_filter", fir_kernel())

    @property
    def convolutions(self) -> int:
        """How many styles it takes besides that of the output."""
        return 1 if self.first else 2

    def forward(
        self, x: Tensor | None, image: Tensor | None, ws: Float[Tensor, "b n e"], noise: Noise
    ) -> tuple[Tensor, Tensor]:
        """(grid, output so far), both at this block's side. `ws`: a style for each convolution, and the output's."""
        styles = list(ws.unbind(1))
        if self.first:
            x = self.const.expand(len(ws), -1, -1, -1)
        else:
            x = self.conv0(x, styles.pop(0), noise)
        x = self.conv1(x, styles.pop(0), noise)
        added = self.torgb(x, styles.pop(0))
        return x, added if image is None else upsampled(image, self.resample_filter) + added


class Synthesis(nn.Module):
    """Styles -> an image of any number of channels, coarse to fine (skip architecture)."""

    def __init__(self, config: SynthesisConfig):
        super().__init__()
        self.config = config
        before = 0
        for side, width in zip(config.sides, config.widths, strict=True):
            block = SynthesisBlock(before, width, config.w_size, side, config.channels, clamp=config.clamp)
            self.add_module(f"b{side}", block)
            before = width

    def forward(self, ws: Float[Tensor, "b n e"], *, noise: Noise = "const") -> Float[Tensor, "b c s s"]:
        x = image = None
        at = 0
        for side in self.config.sides:
            block = self.get_submodule(f"b{side}")
            assert isinstance(block, SynthesisBlock)
            count = block.convolutions
            x, image = block(x, image, ws[:, at : at + count + 1], noise)
            at += count
        assert image is not None
        return image


class Backbone(nn.Module):
    """Mapping and synthesis under one name, as the released weights have them."""

    def __init__(self, config: SynthesisConfig, *, z_size: int = 512, c_size: int = 25, layers: int = 2):
        super().__init__()
        self.mapping = Mapping(z_size, c_size, config.w_size, config.w_count, layers=layers)
        self.synthesis = Synthesis(config)
