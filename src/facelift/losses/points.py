"""Squared errors of 3D landmarks and of the camera's translation (Ferman et al. 2024, Sec. 3)."""

from jaxtyping import Float
from torch import Tensor

from facelift.losses.masked_mean import masked_mean, without_unlabelled


def points_mse(
    prediction: Float[Tensor, "*b n d"],
    target: Float[Tensor, "*b n d"],
    *,
    weight: Float[Tensor, "*b n"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over coordinates and weighted landmarks of the squared error. Targets of weight 0 may be NaN."""
    return masked_mean(without_unlabelled(prediction, target, weight).square().mean(-1), weight)


def points_distance(
    prediction: Float[Tensor, "*b n d"], target: Float[Tensor, "*b n d"], *, weight: Float[Tensor, "*b n"]
) -> Float[Tensor, ""]:
    """Weighted mean of the distances. Targets of weight 0 may be NaN."""
    squared = without_unlabelled(prediction, target, weight).square().sum(-1)
    return masked_mean((squared + 1e-12).sqrt(), weight)


def translation_mse(prediction: Float[Tensor, "*b 3"], target: Float[Tensor, "*b 3"]) -> Float[Tensor, ""]:
    """Mean over coordinates and samples of the squared error, canonical units squared."""
    return (prediction - target).square().mean()
