"""Smooth L1 of landmarks, of which some coordinates may be unlabelled: L_lmk of M3-LRN (Wu et al. 2021)."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from facelift.losses.masked_mean import masked_mean


def landmarks_loss(
    prediction: Float[Tensor, "b n 3"],
    target: Float[Tensor, "b n 3"],
    *,
    weight: Float[Tensor, "b n"] | None = None,
    beta: float = 1.0,
) -> Float[Tensor, ""]:
    """Weighted mean over labelled coordinates of smooth L1: r^2 / (2 beta) below `beta`, |r| - beta / 2 above; px.

    Renders are labelled in x, y and z, photos in x and y with NaN in z; a landmark without label is all NaN. 0 without
    any label. Paper: the sum over landmarks [?]; here: the mean, because not all of them are labelled everywhere.
    """
    known = target.isfinite()
    target = target.where(known, prediction.detach())
    counted = known.to(prediction.dtype)
    if weight is not None:
        counted = counted * weight[..., None]
    return masked_mean(smooth_l1_loss(prediction, target, reduction="none", beta=beta), counted)
