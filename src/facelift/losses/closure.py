"""How far lids and lips are apart: the eye closure loss (Feng et al. 2021, DECA, Sec. 4.2), for the mouth too."""

import torch
from jaxtyping import Float
from torch import Tensor

from facelift.losses.points import SMALL_ERROR

PAIRS = (
    *((61, 67), (62, 66), (63, 65)),
    *((69, 75), (70, 74), (71, 73)),
    *((89, 95), (90, 94), (91, 93)),
)
"""WFLW-98 landmarks that face each other: upper and lower lid of both eyes, and the lips' inner edges."""


def closure_loss(points: Float[Tensor, "b 98 2"], target: Float[Tensor, "b 98 2"]) -> Float[Tensor, ""]:
    """Mean squared error, in `SMALL_ERROR`, of the vector from each upper to its lower landmark, crop widths in.

    Pairs with NaN in `target` do not count; 0 without any. Squared, because shut eyes are rare: the likelihood, robust,
    takes them for outliers and leaves them open.
    """
    upper, lower = (torch.tensor(side, device=points.device) for side in zip(*PAIRS, strict=True))
    wanted = target[:, upper] - target[:, lower]
    known = torch.isfinite(wanted).all(-1)
    error = (points[:, upper] - points[:, lower] - torch.where(known[..., None], wanted, 0.0)) / SMALL_ERROR
    return (error.square().sum(-1) * known).sum() / known.sum().clamp_min(1)
