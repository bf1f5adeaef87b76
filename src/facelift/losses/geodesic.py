"""Mean angle between predicted and true rotations (Ferman et al. 2024, Sec. 3; Hempel et al. 2022)."""

from jaxtyping import Float
from torch import Tensor

from facelift.geometry import geodesic_distance
from facelift.losses.masked_mean import masked_mean


def geodesic_loss(
    prediction: Float[Tensor, "*b 3 3"],
    target: Float[Tensor, "*b 3 3"],
    *,
    weight: Float[Tensor, "*b"] | None = None,
) -> Float[Tensor, ""]:
    """Weighted mean of the angle from `prediction` to `target`, radians. Targets of weight 0 may be NaN."""
    if weight is not None:
        target = target.where((weight > 0)[..., None, None], prediction.detach())
    return masked_mean(geodesic_distance(prediction, target), weight)
