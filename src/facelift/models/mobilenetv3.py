"""MobileNetV3-Large encoder (Howard et al. 2019, Table 1), with torchvision's parameter names."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.models.resnet import MEAN, STD

BLOCKS = (
    (3, 16, 16, False, nn.ReLU, 1),
    (3, 64, 24, False, nn.ReLU, 2),
    (3, 72, 24, False, nn.ReLU, 1),
    (5, 72, 40, True, nn.ReLU, 2),
    (5, 120, 40, True, nn.ReLU, 1),
    (5, 120, 40, True, nn.ReLU, 1),
    (3, 240, 80, False, nn.Hardswish, 2),
    (3, 200, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 480, 112, True, nn.Hardswish, 1),
    (3, 672, 112, True, nn.Hardswish, 1),
    (5, 672, 160, True, nn.Hardswish, 2),
    (5, 960, 160, True, nn.Hardswish, 1),
    (5, 960, 160, True, nn.Hardswish, 1),
)
"""Kernel, inner channels, output channels, squeeze and excitation, activation, stride."""
WIDTH = 960


def _conv(inputs: int, outputs: int, kernel: int, act: type[nn.Module] | None, *, stride: int = 1, groups: int = 1):
    """Convolution without bias, batch norm as torchvision's files have it, and an activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=0.001, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([] if act is None else [act(inplace=True)]))


class SqueezeExcitation(nn.Module):
    """Channels weighted by what the whole map shows (Hu et al. 2018), with a hard sigmoid."""

    def __init__(self, channels: int):
        super().__init__()
        quarter = channels // 4
        squeezed = (quarter + 4) // 8 * 8
        squeezed += 8 * (squeezed < 0.9 * quarter)  # multiples of 8, at most a tenth below
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        seen = torch.relu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * nn.functional.hardsigmoid(self.fc2(seen))


class InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze and excitation, project; added to the input where shapes allow."""

    def __init__(self, inputs: int, block: tuple):
        super().__init__()
        kernel, inner, outputs, squeeze, act, stride = block
        layers: list[nn.Module] = [_conv(inputs, inner, 1, act)] if inner != inputs else []
        layers.append(_conv(inner, inner, kernel, act, stride=stride, groups=inner))
        layers += [SqueezeExcitation(inner)] if squeeze else []
        layers.append(_conv(inner, outputs, 1, None))
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        return x + self.block(x) if self.residual else self.block(x)


class MobileNetV3Encoder(nn.Module):
    """Image in [0, 1] -> one token per cell of the last feature map (stride 32), row by row."""

    mean: Tensor
    std: Tensor

    def __init__(self, *, image_size: int = 224):
        super().__init__()
        self.image_size, self.width = image_size, WIDTH
        outputs = [16, *(block[2] for block in BLOCKS)]
        self.features = nn.Sequential(
            _conv(3, 16, 3, nn.Hardswish, stride=2),
            *(InvertedResidual(inputs, block) for inputs, block in zip(outputs, BLOCKS, strict=False)),
            _conv(outputs[-1], WIDTH, 1, nn.Hardswish),
        )
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b t w"]:
        return self.features((image - self.mean) / self.std).flatten(2).transpose(1, 2)
