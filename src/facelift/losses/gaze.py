"""Where the landmarks' tokens look: what a network that starts from nothing learns its landmarks by."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from facelift.losses.masked_mean import masked_mean

_LEAST = 1e-6
"""Added to the shares, so that a cell that nobody looks at gives no infinite loss."""


def gaze_loss(
    gaze: Float[Tensor, "b k n t"], points: Float[Tensor, "b n 2"], *, weight: Float[Tensor, "b n"] | None = None
) -> Float[Tensor, ""]:
    """Cross-entropy of each landmark's place and its token's gaze: summed over the blocks k, weighted mean over
    landmarks,

        - sum_c q_c log p_c,     p_c: share of cell c in the token's attention,     q_c: share of cell c in the place.

    The t cells are a square grid over the crop, row by row. A place (crop widths) between the middles of cells is
    shared among these bilinearly; one nearer to the border than any middle belongs to the border's cells. Landmarks
    without a finite place, or whose place is outside the crop, do not count.
    """
    inside = ((points >= 0) & (points <= 1)).all(-1)  # NaN is not
    weight = inside.to(gaze.dtype) if weight is None else inside * weight
    place = _splat(points.where(inside[..., None], 0.5).to(gaze.dtype), math.isqrt(gaze.shape[-1]))
    entropy = -(place[:, None] * (gaze + _LEAST).log()).sum(-1)
    return masked_mean(entropy.sum(1), weight)


def _splat(points: Float[Tensor, "b n 2"], side: int) -> Float[Tensor, "b n t"]:
    """Share of each cell in each place; sums to 1."""
    at = (points * side - 0.5).clamp(0, side - 1)
    cells = torch.arange(side, device=points.device, dtype=points.dtype)
    x, y = (1 - (at[..., None] - cells).abs()).clamp(min=0).unbind(2)
    return (y[..., :, None] * x[..., None, :]).flatten(-2)
