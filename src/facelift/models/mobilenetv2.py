"""MobileNetV2 encoder (Sandler et al. 2018), width 1.0, with torchvision's parameter names `features.*`."""

from jaxtyping import Float
from torch import Tensor, nn

MEAN, STD = 127.5 / 255, 128 / 255
"""Of all channels, RGB in [0, 1]: (255 x - 127.5) / 128, as 3DDFA and SynergyNet have it."""
WIDTH = 1280
"""Channels of the last layer."""
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion t, output channels c, blocks n, stride s of the first block (Table 2)."""


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """1x1 to `expand` times the channels, 3x3 in each channel, linear 1x1; added to the input where shapes allow.

    Without expansion the first 1x1 is left out.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int, expand: int):
        super().__init__()
        hidden = expand * inputs
        layers: list[nn.Module] = [_conv(inputs, hidden, 1)] if expand != 1 else []
        layers.append(_conv(hidden, hidden, 3, stride=stride, groups=hidden))
        layers += [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        y = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2Encoder(nn.Module):
    """Image in [0, 1] -> one token per cell of the last feature map (stride 32), row by row.

    Input of 120 px in the published face networks; any other size works, too.
    """

    def __init__(self, *, image_size: int = 120):
        super().__init__()
        self.image_size, self.width = image_size, WIDTH
        layers: list[nn.Module] = [_conv(3, 32, 3, stride=2)]
        channels = 32
        for expand, outputs, blocks, stride in STAGES:
            for block in range(blocks):
                first = block == 0
                layers.append(InvertedResidual(channels, outputs, stride=stride if first else 1, expand=expand))
                channels = outputs
        self.features = nn.Sequential(*layers, _conv(channels, WIDTH, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b t w"]:
        return self.features((image - MEAN) / STD).flatten(2).transpose(1, 2)
