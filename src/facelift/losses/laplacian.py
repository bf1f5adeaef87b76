"""Negative log likelihood of points under a Laplacian with predicted covariance (Ferman et al. 2024)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from facelift.losses.masked_mean import masked_mean, without_unlabelled

NORMALIZER = {1: math.sqrt(2), 2: 2 * math.pi / 3, 3: math.pi}
"""c_D: integral over R^D of exp(-sqrt((D+1) d^T S^-1 d)) divided by |S|^(1/2)."""


def laplacian_nll(
    residual: Float[Tensor, "*b d"], cholesky: Float[Tensor, "*b d d"], *, eps: float = 1e-8
) -> Float[Tensor, "*b"]:
    """-log P = log c_D + 1/2 log|S| + sqrt((D+1) r^T S^-1 r), S = L L^T the TRUE covariance; D = 1, 2 or 3.

    `residual` r and the lower-triangular `cholesky` L are in one unit, the diagonal of L is positive, what is
    above it is ignored. `eps` stands under the root, whose slope at a perfect prediction is infinite; it is
    below float16's range, so compute in float32 or more. Raises ValueError for another D.
    """
    dimension = residual.shape[-1]
    if dimension not in NORMALIZER:
        raise ValueError(f"laplacian_nll: expected points of 1, 2 or 3 coordinates, found {dimension}")
    whitened: list[Tensor] = []
    for i in range(dimension):  # L^-1 r by forward substitution: faster than a solver for so small a D
        rest = residual[..., i]
        for j in range(i):
            rest = rest - cholesky[..., i, j] * whitened[j]
        whitened.append(rest / cholesky[..., i, i])
    distance = torch.sqrt((dimension + 1) * torch.stack(whitened, dim=-1).square().sum(-1) + eps)
    half_log_determinant = cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return math.log(NORMALIZER[dimension]) + half_log_determinant + distance


def laplacian_loss(
    prediction: Float[Tensor, "*b n d"],
    target: Float[Tensor, "*b n d"],
    cholesky: Float[Tensor, "*b n d d"],
    *,
    weight: Float[Tensor, "*b n"] | None = None,
    beta: float = 0.0,
    eps: float = 1e-8,
) -> Float[Tensor, ""]:
    """Weighted mean over landmarks of `laplacian_nll`; targets of weight 0 may be NaN. 0 without weight.

    `beta` in [0, 1] gives back to uncertain points what the likelihood takes from them: each point's gradient is
    multiplied by sigma^beta over its weighted mean, sigma = |L|^(1/d) without gradient (Seitzer et al. 2022, Eq. 5).
    0 is the likelihood itself; at 1 all points pull alike. The value is that of the reweighted mean.
    """
    residual = without_unlabelled(prediction, target, weight)
    values = laplacian_nll(residual, cholesky, eps=eps)
    if beta:
        log_sigma = cholesky.detach().diagonal(dim1=-2, dim2=-1).log().mean(-1)
        factor = torch.exp(beta * log_sigma)
        values = values * factor / masked_mean(factor, weight).clamp_min(1e-12)
    return masked_mean(values, weight)


def cholesky_from_raw(raw: Float[Tensor, "*b 3"], *, floor: float = 1e-4) -> Float[Tensor, "*b 2 2"]:
    """Lower-triangular L from a head's free output (l00, l10, l11): ELU(x) + 1 + floor on the diagonal.

    `floor`, in the unit of the points, bounds the likelihood of a point that is always hit.
    """
    diagonal = _elu_plus_one(raw[..., ::2]) + floor
    zero = torch.zeros_like(raw[..., 1])
    upper = torch.stack([diagonal[..., 0], zero], dim=-1)
    return torch.stack([upper, torch.stack([raw[..., 1], diagonal[..., 1]], dim=-1)], dim=-2)


def _elu_plus_one(x: Tensor) -> Tensor:
    """ELU(x) + 1 without the cancellation that costs small values their digits: exp(x) below 0."""
    return torch.where(x > 0, x + 1, torch.exp(x.clamp(max=0)))
