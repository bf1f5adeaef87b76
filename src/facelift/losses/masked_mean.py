"""The mean that every loss here ends with: weighted, and deaf to what has no label."""

from jaxtyping import Float
from torch import Tensor


def masked_mean(values: Float[Tensor, "*b"], weight: Float[Tensor, "*b"] | None = None) -> Float[Tensor, ""]:
    """sum(w v) / sum(w) over all elements; 0, with a zero gradient, where no element has weight.

    `values` must be finite even where `weight` is 0: remove NaN labels before (`without_unlabelled`).
    """
    if weight is None:
        return values.mean()
    total = weight.sum()
    return (weight * values).sum() / total.where(total > 0, total.new_ones(()))


def without_unlabelled(
    prediction: Float[Tensor, "*b d"], target: Float[Tensor, "*b d"], weight: Float[Tensor, "*b"] | None
) -> Float[Tensor, "*b d"]:
    """prediction - target, and 0 where the weight is 0, so that a NaN label gives no NaN gradient."""
    if weight is None:
        return prediction - target
    return prediction - target.where((weight > 0)[..., None], prediction.detach())
