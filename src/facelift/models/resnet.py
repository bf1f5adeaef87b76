"""ResNet-50, ResNet-101 and ResNet-152 encoders (He et al. 2016), with torchvision's parameter names.

The stride sits in the 3x3 convolution of a bottleneck, not in the first 1x1 as in the paper: so are the
published weights of torchvision.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, RGB in [0, 1]."""
EXPANSION = 4
"""Output channels of a bottleneck per inner channel."""


class Bottleneck(nn.Module):
    """1x1 to the inner channels, 3x3, 1x1 to four times as many; added to the input or to its projection."""

    def __init__(self, inputs: int, inner: int, *, stride: int = 1):
        super().__init__()
        outputs = EXPANSION * inner
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNetEncoder(nn.Module):
    """Image in [0, 1] -> one token per cell of the last feature map (stride 32), row by row."""

    mean: Tensor
    std: Tensor

    def __init__(self, depths: tuple[int, int, int, int], *, image_size: int = 224, stem: int = 64):
        super().__init__()
        self.image_size, self.width = image_size, EXPANSION * stem * 8
        self.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(stem, stem, depths[0], stride=1)
        self.layer2 = _stage(EXPANSION * stem, 2 * stem, depths[1], stride=2)
        self.layer3 = _stage(EXPANSION * 2 * stem, 4 * stem, depths[2], stride=2)
        self.layer4 = _stage(EXPANSION * 4 * stem, 8 * stem, depths[3], stride=2)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b t w"]:
        x = self.maxpool(self.relu(self.bn1(self.conv1((image - self.mean) / self.std))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.flatten(2).transpose(1, 2)


def _stage(inputs: int, inner: int, depth: int, *, stride: int) -> nn.Sequential:
    """`depth` bottlenecks, the first with the stride."""
    rest = (Bottleneck(EXPANSION * inner, inner) for _ in range(depth - 1))
    return nn.Sequential(Bottleneck(inputs, inner, stride=stride), *rest)


def resnet50(*, image_size: int = 224) -> ResNetEncoder:
    """ResNet-50, width 2048; freshly initialised (`checkpoints.torchvision` loads published weights)."""
    return ResNetEncoder((3, 4, 6, 3), image_size=image_size)


def resnet101(*, image_size: int = 224) -> ResNetEncoder:
    """ResNet-101, width 2048; freshly initialised (`checkpoints.torchvision` loads published weights)."""
    return ResNetEncoder((3, 4, 23, 3), image_size=image_size)


def resnet152(*, image_size: int = 224) -> ResNetEncoder:
    """ResNet-152, width 2048; freshly initialised (`checkpoints.torchvision` loads published weights)."""
    return ResNetEncoder((3, 8, 36, 3), image_size=image_size)
