"""Encoders by name. Each maps an image in [0, 1] to tokens (b, t, width), and normalises its input itself."""

from typing import TYPE_CHECKING, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from facelift.models.mobile import GlobalMobileEncoder, MobileEncoder

if TYPE_CHECKING:
    from facelift.models.convnext import ConvNeXtEncoder
    from facelift.models.mobilenetv1 import MobileNetV1Encoder
    from facelift.models.mobilenetv2 import MobileNetV2Encoder
    from facelift.models.mobilenetv3 import MobileNetV3Encoder
    from facelift.models.resnest import ResNeStEncoder
    from facelift.models.resnet import ResNetEncoder
    from facelift.models.swin import SwinEncoder
    from facelift.models.vit import VisionTransformer

    Encoder: TypeAlias = (
        ConvNeXtEncoder
        | GlobalMobileEncoder
        | MobileEncoder
        | MobileNetV1Encoder
        | MobileNetV2Encoder
        | MobileNetV3Encoder
        | ResNetEncoder
        | ResNeStEncoder
        | SwinEncoder
        | VisionTransformer
    )


NAMES = {"small": "mobile", "base": "vit_b16"}
"""What the two models that we speak of are built on: `small` for real time on a CPU, `base` for accuracy."""


def build_encoder(name: str) -> "Encoder":
    """`small` = `mobile` (128 px, CPU), `base` = `vit_b16` (FaRL's form, 224 px), `resnet50`, `resnet101`, `resnet152`,
    `resnest50`, `resnest101`, `convnext_t`, `swin_t`, `mobilenetv3` (224 px), `mobilenetv2`, `mobilenetv1`,
    `mobilenetv1_05`, `mobile_global` (`mobile` with one token for the picture; 120 px). All but `vit_b16` and
    `mobile_global` take pictures of other sizes, too; `mobile` multiples of 32 px.
    """
    name = NAMES.get(name, name)
    constructors: dict = {"mobile": MobileEncoder, "mobile_global": GlobalMobileEncoder}
    if name not in constructors:
        constructors |= _other_encoders()
    if name not in constructors:
        names = ", ".join(sorted(constructors))
        raise ValueError(f"encoder: expected small (mobile), base (vit_b16) or one of {names}, found {name!r}")
    return constructors[name]()


def see(encoder: "Encoder", image: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b t w"], list[Tensor]]:
    """The encoder's tokens, and feature maps (b, c, h, w) for a closer look where it has some."""
    return encoder.see(image) if isinstance(encoder, MobileEncoder) else (encoder(image), [])


def pooled(encoder: "Encoder", image: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b w"]:
    """The mean of the encoder's tokens: of a convolutional encoder, its last feature map averaged over the picture."""
    return encoder(image).mean(dim=1)


def map_channels(encoder: "Encoder") -> tuple[int, ...]:
    """Channels of the maps that `see` gives."""
    return encoder.map_channels if isinstance(encoder, MobileEncoder) else ()


@torch.no_grad()
def token_count(encoder: "Encoder", size: int | None = None) -> int:
    """Tokens that the encoder makes of a picture of `size` px, or of its own size."""
    training, size = encoder.training, size or encoder.image_size
    tokens = encoder.eval()(torch.zeros(1, 3, size, size))
    encoder.train(training)
    return tokens.shape[1]


def _other_encoders() -> dict:
    from facelift.models.convnext import convnext_t
    from facelift.models.mobilenetv1 import mobilenetv1, mobilenetv1_05
    from facelift.models.mobilenetv2 import MobileNetV2Encoder
    from facelift.models.mobilenetv3 import MobileNetV3Encoder
    from facelift.models.resnest import resnest50, resnest101
    from facelift.models.resnet import resnet50, resnet101, resnet152
    from facelift.models.swin import swin_t
    from facelift.models.vit import vit_b16

    return {
        "convnext_t": convnext_t,
        "mobilenetv1": mobilenetv1,
        "mobilenetv1_05": mobilenetv1_05,
        "mobilenetv2": MobileNetV2Encoder,
        "mobilenetv3": MobileNetV3Encoder,
        "resnest50": resnest50,
        "resnest101": resnest101,
        "resnet50": resnet50,
        "resnet101": resnet101,
        "resnet152": resnet152,
        "swin_t": swin_t,
        "vit_b16": vit_b16,
    }
