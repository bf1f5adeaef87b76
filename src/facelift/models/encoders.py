"""Encoders by name. Each maps an image in [0, 1] to tokens (b, t, width), and normalises its input itself."""

from torch import nn

from facelift.models.mobile import MobileEncoder


def build_encoder(name: str) -> nn.Module:
    """`mobile` (128 px, CPU), `resnet50`, `resnet152`, `vit_b16` (FaRL's form, 224 px)."""
    constructors = {"mobile": MobileEncoder} if name == "mobile" else _large_encoders()
    if name not in constructors:
        raise ValueError(f"encoder: expected mobile, resnet50, resnet152 or vit_b16, found {name!r}")
    return constructors[name]()


def _large_encoders() -> dict:
    from facelift.models.resnet import resnet50, resnet152
    from facelift.models.vit import vit_b16

    return {"resnet50": resnet50, "resnet152": resnet152, "vit_b16": vit_b16}
