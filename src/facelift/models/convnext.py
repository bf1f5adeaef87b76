"""ConvNeXt-T encoder (Liu et al. 2022), with torchvision's parameter names."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.models.resnet import MEAN, STD
from facelift.models.stochastic_depth import StochasticDepth, rising

LAYER_SCALE = 1e-6
"""Factor of each residual branch at the start."""


class Permute(nn.Module):
    """The axes in another order."""

    def __init__(self, *axes: int):
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.axes)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of maps (b, c, h, w)."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, layer norm, MLP of four times the width; scaled and added to the input."""

    def __init__(self, width: int, drop: float):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            Permute(0, 2, 3, 1),
            nn.LayerNorm(width, eps=1e-6),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            Permute(0, 3, 1, 2),
        )
        self.layer_scale = nn.Parameter(torch.full((width, 1, 1), LAYER_SCALE))
        self.drop = StochasticDepth(drop)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + self.drop(self.layer_scale * self.block(x))


class ConvNeXtEncoder(nn.Module):
    """Image in [0, 1] -> one token per cell of the last feature map (stride 32), row by row.

    `classifier.0` is the norm that torchvision puts behind the mean over the picture; here it norms each token, since
    not every user takes the mean.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, depths: tuple[int, ...], widths: tuple[int, ...], *, image_size: int = 224, stochastic_depth: float = 0.1
    ):
        super().__init__()
        self.image_size, self.width = image_size, widths[-1]
        stem = nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), LayerNorm2d(widths[0], eps=1e-6))
        layers: list[nn.Module] = [stem]
        for stage, (width, drops) in enumerate(zip(widths, rising(depths, stochastic_depth), strict=True)):
            if stage:
                before = widths[stage - 1]
                layers.append(nn.Sequential(LayerNorm2d(before, eps=1e-6), nn.Conv2d(before, width, 2, 2)))
            layers.append(nn.Sequential(*(ConvNeXtBlock(width, drop) for drop in drops)))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.LayerNorm(self.width, eps=1e-6))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                assert module.bias is not None  # all have one
                nn.init.zeros_(module.bias)

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b t w"]:
        x = self.features((image - self.mean) / self.std)
        return self.classifier(x.flatten(2).transpose(1, 2))


def convnext_t(*, image_size: int = 224) -> ConvNeXtEncoder:
    """ConvNeXt-T, width 768; freshly initialised (`checkpoints.torchvision` loads published weights)."""
    return ConvNeXtEncoder((3, 3, 9, 3), (96, 192, 384, 768), image_size=image_size)
