"""Errors of 3D landmarks, of the camera's translation, and of projected landmarks (Ferman et al. 2024, Sec. 3)."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from facelift.losses.laplacian import laplacian_loss
from facelift.losses.masked_mean import masked_mean, without_unlabelled

PointsLoss = Literal["lll", "l1", "mse"]
"""Of the projected landmarks: Laplacian log likelihood, or the paper's ablations of it."""
SMALL_ERROR = 0.02
"""Unit of l1 and mse, crop widths: about the sigma that the likelihood learns, so that all three pull alike."""


def projected_loss(
    prediction: Float[Tensor, "*b n 2"],
    target: Float[Tensor, "*b n 2"],
    cholesky: Float[Tensor, "*b n 2 2"],
    *,
    kind: PointsLoss = "lll",
    weight: Float[Tensor, "*b n"],
    beta: float = 0.0,
) -> Float[Tensor, ""]:
    """Weighted mean over landmarks, crop widths in, of r = prediction - target:

        lll: `laplacian_loss`, with its `beta`      l1: |r_x| + |r_y|      mse: r_x^2 + r_y^2      (r in `SMALL_ERROR`)

    `l1` and `mse` teach no covariance. Targets of weight 0 may be NaN.
    """
    if kind == "lll":
        return laplacian_loss(prediction, target, cholesky, weight=weight, beta=beta)
    residual = without_unlabelled(prediction, target, weight) / SMALL_ERROR
    return masked_mean((residual.abs() if kind == "l1" else residual.square()).sum(-1), weight)


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


def glance_error(glance: Float[Tensor, "*b n 2"], points: Float[Tensor, "*b n 2"]) -> Float[Tensor, ""]:
    """Mean |r_x| + |r_y| in `SMALL_ERROR` between a first guess and the network's points, which it does not move."""
    return ((glance - points.detach()) / SMALL_ERROR).abs().sum(-1).mean()


def translation_mse(prediction: Float[Tensor, "*b 3"], target: Float[Tensor, "*b 3"]) -> Float[Tensor, ""]:
    """Mean over coordinates and samples of the squared error, canonical units squared."""
    return (prediction - target).square().mean()
