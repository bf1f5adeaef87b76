"""Settings of the dense landmark network; importable without torch."""

from dataclasses import dataclass
from typing import Literal

Loss = Literal["ngll", "nlll", "resll", "resll_exp"]


@dataclass(frozen=True)
class DenseConfig:
    """What a dense landmark network is made of."""

    encoder: str = "resnet50"
    """resnet50, convnext_t, swin_t, mobilenetv3, or small (mobile); any of `build_encoder`."""
    size: int = 256
    """Side of the crops, px."""
    points: int = 1609
    """Dense landmarks: 1609, 805, 403, 202 or 101."""
    features: Literal["mean", "grid"] = "mean"
    """What the predictor sees: the mean of the encoder's tokens (Simic 2022), or each token's first numbers in its
    place, which small encoders need."""
    predictor: Literal["linear", "mlp", "spiral"] = "linear"
    """One linear layer, two, or a decoder of spiral convolutions on ever finer meshes."""
    hidden: int = 512
    """Width of the MLP."""
    channels: int = 32
    """Of a vertex in the spiral decoder."""
    loss: Loss = "resll"
    """Gaussian or Laplacian likelihood, or residual likelihood with sigma bounded by 1 (resll) or not (resll_exp)."""
    base: Literal["gaussian", "laplacian"] = "laplacian"
    """What the residual likelihood is a residual to."""
