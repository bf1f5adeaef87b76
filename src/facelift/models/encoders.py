"""Encoders by name. Each maps an image in [0, 1] to tokens (b, t, width), and normalises its input itself."""

from typing import TYPE_CHECKING, TypeAlias

import torch

from facelift.models.mobile import MobileEncoder

if TYPE_CHECKING:
    from facelift.models.resnet import ResNetEncoder
    from facelift.models.vit import VisionTransformer

    Encoder: TypeAlias = MobileEncoder | ResNetEncoder | VisionTransformer


def build_encoder(name: str) -> "Encoder":
    """`mobile` (128 px, CPU), `resnet50`, `resnet152`, `vit_b16` (FaRL's form, 224 px)."""
    constructors = {"mobile": MobileEncoder} if name == "mobile" else _large_encoders()
    if name not in constructors:
        raise ValueError(f"encoder: expected mobile, resnet50, resnet152 or vit_b16, found {name!r}")
    return constructors[name]()


@torch.no_grad()
def token_count(encoder: "Encoder") -> int:
    """Tokens that the encoder makes of a picture of its own size."""
    training = encoder.training
    tokens = encoder.eval()(torch.zeros(1, 3, encoder.image_size, encoder.image_size))
    encoder.train(training)
    return tokens.shape[1]


def _large_encoders() -> dict:
    from facelift.models.resnet import resnet50, resnet152
    from facelift.models.vit import vit_b16

    return {"resnet50": resnet50, "resnet152": resnet152, "vit_b16": vit_b16}
