"""Small convolutional encoder for CPU: MobileNetV4-conv-small's blocks (Qin et al. 2024), fused to one token grid."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, act: bool = True):
    """Convolution without bias, batch norm, and ReLU if `act`."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if act else []))


class UniversalInvertedBottleneck(nn.Module):
    """Optional depthwise, expand, optional depthwise, project (Qin et al. 2024, Fig. 4); residual if shapes allow.

    A kernel of 0 leaves that depthwise convolution out; the stride sits in the middle one if it is there.
    """

    def __init__(self, inputs: int, outputs: int, *, start: int, middle: int, expand: float, stride: int = 1):
        super().__init__()
        hidden = int(inputs * expand)
        first, second = (1, stride) if middle else (stride, 1)
        layers = [_conv(inputs, inputs, start, stride=first, groups=inputs, act=False)] if start else []
        layers.append(_conv(inputs, hidden, 1))
        if middle:
            layers.append(_conv(hidden, hidden, middle, stride=second, groups=hidden))
        layers.append(_conv(hidden, outputs, 1, act=False))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return x + y if self.residual else y


def _block(inputs, outputs, start, middle, expand, stride=1) -> UniversalInvertedBottleneck:
    return UniversalInvertedBottleneck(inputs, outputs, start=start, middle=middle, expand=expand, stride=stride)


class MobileEncoder(nn.Module):
    """Image in [0, 1] -> tokens of a stride-16 grid that also hold what strides 8 and 32 see.

    The stride-8 map enters by space-to-depth, so fine position survives at a fraction of the attention's cost.
    """

    map_channels = (32, 64)
    """Channels of the feature maps for a closer look: of strides 4 and 8."""

    mean: Tensor
    std: Tensor

    def __init__(self, *, image_size: int = 128, width: int = 128):
        super().__init__()
        self.image_size, self.width = image_size, width
        self.grid = image_size // 16
        self.stride8 = nn.Sequential(
            _conv(3, 32, 3, stride=2),
            _conv(32, 32, 3, stride=2),
            _conv(32, 32, 1),
            _conv(32, 96, 3, stride=2),
            _conv(96, 64, 1),
        )
        self.stride16 = nn.Sequential(
            _block(64, 96, 5, 5, 3, 2), *(_block(96, 96, 0, 3, 2) for _ in range(4)), _block(96, 96, 3, 0, 4)
        )
        self.stride32 = nn.Sequential(
            _block(96, 128, 3, 3, 6, 2),
            _block(128, 128, 5, 5, 4),
            _block(128, 128, 0, 5, 4),
            _block(128, 128, 0, 5, 3),
            _block(128, 128, 0, 3, 4),
            _block(128, 128, 0, 3, 4),
        )
        self.fuse = nn.Conv2d(4 * 64 + 96 + 128, width, 1)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b t w"]:
        return self.see(image)[0]

    def see(self, image: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b t w"], list[Tensor]]:
        """The tokens, and the feature maps (b, c, h, w) of `map_channels`."""
        finest = self.stride8[:3]((image - self.mean) / self.std)
        fine = self.stride8[3:](finest)
        middle = self.stride16(fine)
        coarse = nn.functional.interpolate(self.stride32(middle), scale_factor=2.0, mode="nearest")
        fused = torch.cat([nn.functional.pixel_unshuffle(fine, 2), middle, coarse], dim=1)
        return self.fuse(fused).flatten(2).transpose(1, 2), [finest, fine]


class GlobalMobileEncoder(nn.Module):
    """The small encoder with one token for the whole picture: 1x1 convolution, then a weight for each cell and channel.

    Its tokens are normed first, as the lifter's decoder does: their lengths differ twentyfold between faces.
    That global depthwise convolution (Chen et al. 2018, MobileFaceNets, Section 3.2) tells where in the picture
    something is, which a plain mean forgets; it starts as the sum, which the norm behind it scales. Pictures of any
    size are scaled to the encoder's.
    """

    def __init__(self, *, image_size: int = 120, width: int = 1280):
        super().__init__()
        self.image_size, self.width = image_size, width
        self.grid_encoder = MobileEncoder()
        self.norm = nn.LayerNorm(self.grid_encoder.width)
        self.expand = _conv(self.grid_encoder.width, width, 1)
        side = self.grid_encoder.grid
        weights = nn.Conv2d(width, width, side, groups=width, bias=False)
        nn.init.ones_(weights.weight)
        self.gather = nn.Sequential(weights, nn.BatchNorm2d(width))

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 1 w"]:
        side = self.grid_encoder.image_size
        scaled = nn.functional.interpolate(image, (side, side), mode="bilinear", align_corners=False)
        tokens = self.norm(self.grid_encoder(scaled))
        grid = tokens.transpose(1, 2).unflatten(2, (self.grid_encoder.grid, self.grid_encoder.grid))
        return self.gather(self.expand(grid)).flatten(2).transpose(1, 2)
