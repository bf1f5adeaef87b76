"""ResNeSt-50 and ResNeSt-101 encoders (Zhang et al. 2020), with the parameter names of the authors' files.

ResNet-D's changes (He et al. 2019), deep stem and average pool in the shortcut, and split attention of radix 2,
cardinality 1, in place of the 3x3 convolution. The stride of a block is an average pool after it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facelift.models.resnet import EXPANSION, MEAN, STD

RADIX = 2
"""Splits of a feature map that attention weighs against each other."""


class SplitAttention(nn.Module):
    """3x3 convolution to two maps in groups of their own, and their sum weighted per channel by what all of them show.

    Zhang et al. 2020, Sec. 3: weights = softmax over the splits of an MLP of the pooled sum.
    """

    def __init__(self, channels: int):
        super().__init__()
        inner = max(channels * RADIX // 4, 32)
        self.conv = nn.Conv2d(channels, RADIX * channels, 3, 1, 1, groups=RADIX, bias=False)
        self.bn0 = nn.BatchNorm2d(RADIX * channels)
        self.relu = nn.ReLU(inplace=True)
        self.fc1 = nn.Conv2d(channels, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.fc2 = nn.Conv2d(inner, RADIX * channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        splits = self.relu(self.bn0(self.conv(x))).unflatten(1, (RADIX, -1))
        pooled = splits.sum(1).mean((-2, -1), keepdim=True)
        raw = self.fc2(self.relu(self.bn1(self.fc1(pooled))))
        return (raw.unflatten(1, (RADIX, -1)).softmax(1) * splits).sum(1)


class Bottleneck(nn.Module):
    """1x1 to the inner channels, split attention, 1x1 to four times as many; added to the input or its projection."""

    def __init__(self, inputs: int, inner: int, *, stride: int = 1):
        super().__init__()
        outputs = EXPANSION * inner
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = SplitAttention(inner)
        self.avd_layer = nn.AvgPool2d(3, stride, 1) if stride > 1 else None
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
            self.downsample = nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        y = self.conv2(self.relu(self.bn1(self.conv1(x))))
        if self.avd_layer is not None:
            y = self.avd_layer(y)
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNeStEncoder(nn.Module):
    """Image in [0, 1] -> one token per cell of the last feature map (stride 32), row by row."""

    mean: Tensor
    std: Tensor

    def __init__(self, depths: tuple[int, int, int, int], *, stem: int, image_size: int = 224, inner: int = 64):
        """`stem`: channels of the first two convolutions, the third has twice as many; `inner`: of the first stage."""
        super().__init__()
        self.image_size, self.width = image_size, EXPANSION * 8 * inner
        self.conv1 = _deep_stem(stem)
        self.bn1 = nn.BatchNorm2d(2 * stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(2 * stem, inner, depths[0], stride=1)
        self.layer2 = _stage(EXPANSION * inner, 2 * inner, depths[1], stride=2)
        self.layer3 = _stage(EXPANSION * 2 * inner, 4 * inner, depths[2], stride=2)
        self.layer4 = _stage(EXPANSION * 4 * inner, 8 * inner, depths[3], stride=2)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b t w"]:
        x = self.maxpool(self.relu(self.bn1(self.conv1((image - self.mean) / self.std))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.flatten(2).transpose(1, 2)


def _deep_stem(width: int) -> nn.Sequential:
    """Three 3x3 convolutions, the first with stride 2; the norm of the last is the encoder's `bn1`."""
    layers: list[nn.Module] = []
    for inputs, stride in ((3, 2), (width, 1)):
        layers += [nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(width, 2 * width, 3, 1, 1, bias=False))


def _stage(inputs: int, inner: int, depth: int, *, stride: int) -> nn.Sequential:
    """`depth` bottlenecks, the first with the stride."""
    rest = (Bottleneck(EXPANSION * inner, inner) for _ in range(depth - 1))
    return nn.Sequential(Bottleneck(inputs, inner, stride=stride), *rest)


def resnest50() -> ResNeStEncoder:
    """ResNeSt-50, width 2048; freshly initialised."""
    return ResNeStEncoder((3, 4, 6, 3), stem=32)


def resnest101() -> ResNeStEncoder:
    """ResNeSt-101, width 2048; freshly initialised."""
    return ResNeStEncoder((3, 4, 23, 3), stem=64)
