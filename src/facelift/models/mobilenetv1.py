"""MobileNetV1 encoder (Howard et al. 2017) in the form and with the parameter names of 3DDFA_V2's mb1 and mb05."""

from jaxtyping import Float
from torch import Tensor, nn

from facelift.models.mobilenetv2 import MEAN, STD

BLOCKS = {
    "dw2_1": (32, 64, 1),
    "dw2_2": (64, 128, 2),
    "dw3_1": (128, 128, 1),
    "dw3_2": (128, 256, 2),
    "dw4_1": (256, 256, 1),
    "dw4_2": (256, 512, 2),
    "dw5_1": (512, 512, 1),
    "dw5_2": (512, 512, 1),
    "dw5_3": (512, 512, 1),
    "dw5_4": (512, 512, 1),
    "dw5_5": (512, 512, 1),
    "dw5_6": (512, 1024, 2),
    "dw6": (1024, 1024, 1),
}
"""Name, input and output channels at width 1.0, stride."""


class DepthwiseBlock(nn.Module):
    """3x3 in each channel, then 1x1; batch norm and ReLU after both."""

    def __init__(self, inputs: int, outputs: int, *, stride: int):
        super().__init__()
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn_dw = nn.BatchNorm2d(inputs)
        self.conv_sep = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn_sep = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        y = self.relu(self.bn_dw(self.conv_dw(x)))
        return self.relu(self.bn_sep(self.conv_sep(y)))


class MobileNetV1Encoder(nn.Module):
    """Image in [0, 1] -> one token per cell of the last feature map (stride 32), row by row.

    `multiplier` of all channels: 1.0 is mb1 (tokens of 1024), 0.5 is mb05 (tokens of 512).
    """

    def __init__(self, *, multiplier: float = 1.0, image_size: int = 120):
        super().__init__()
        self.image_size, self.width = image_size, int(1024 * multiplier)
        stem = int(32 * multiplier)
        self.conv1 = nn.Conv2d(3, stem, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        for name, (inputs, outputs, stride) in BLOCKS.items():
            block = DepthwiseBlock(int(inputs * multiplier), int(outputs * multiplier), stride=stride)
            self.add_module(name, block)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b t w"]:
        x = self.relu(self.bn1(self.conv1((image - MEAN) / STD)))
        for name in BLOCKS:
            x = self.get_submodule(name)(x)
        return x.flatten(2).transpose(1, 2)


def mobilenetv1() -> MobileNetV1Encoder:
    """Width 1.0, 3DDFA_V2's mb1; freshly initialised (`checkpoints.tddfa` loads published weights)."""
    return MobileNetV1Encoder()


def mobilenetv1_05() -> MobileNetV1Encoder:
    """Width 0.5, 3DDFA_V2's mb05; freshly initialised (`checkpoints.tddfa` loads published weights)."""
    return MobileNetV1Encoder(multiplier=0.5)
