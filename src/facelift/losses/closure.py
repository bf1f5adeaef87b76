"""How far lids and lips are apart: the eye closure loss of DECA (Feng et al. 2021), squared, and of the lips too."""

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


def closure_loss(
    points: Float[Tensor, "b 98 2"], target: Float[Tensor, "b 98 2"], weight: Float[Tensor, "b 98"] | None = None
) -> Float[Tensor, ""]:
    """Weighted mean over faces and pairs (u, l) of |(p_u - p_l) - (q_u - q_l)|^2, in `SMALL_ERROR`, crop widths given.

    A pair weighs what the less sure of its landmarks does by `weight` (1 without), and nothing where `target` is NaN;
    0 without any. Paper: the absolute error of the eyes. Here: squared, because shut eyes are rare, and whatever is
    robust, as the likelihood beside it, takes them for outliers and leaves them open; the lips likewise.
    """
    upper, lower = (torch.tensor(side, device=points.device) for side in zip(*PAIRS, strict=True))
    wanted = target[:, upper] - target[:, lower]
    known = torch.isfinite(wanted).all(-1)
    pairs = known.float() if weight is None else known * torch.minimum(weight[:, upper], weight[:, lower])
    error = (points[:, upper] - points[:, lower] - torch.where(known[..., None], wanted, 0.0)) / SMALL_ERROR
    return (error.square().sum(-1) * pairs).sum() / pairs.sum().clamp_min(1e-6)
