"""Losses: one a file. All ignore what has no label, and none turns a NaN label into a NaN gradient."""

from facelift.losses.distillation import distillation_terms, gaussian_divergence
from facelift.losses.facelift_loss import (
    MultiViewTarget,
    frame_mask,
    marks_term,
    multi_frame_terms,
    multi_view_terms,
    single_view_terms,
    weighted_sum,
)
from facelift.losses.gaze import gaze_loss
from facelift.losses.geodesic import geodesic_loss
from facelift.losses.laplacian import cholesky_from_raw, laplacian_loss, laplacian_nll
from facelift.losses.points import points_distance, points_mse, projected_loss, translation_mse
from facelift.losses.visibility import state_cross_entropy, visibility_bce

__all__ = [
    "MultiViewTarget",
    "cholesky_from_raw",
    "distillation_terms",
    "frame_mask",
    "gaussian_divergence",
    "gaze_loss",
    "geodesic_loss",
    "laplacian_loss",
    "laplacian_nll",
    "marks_term",
    "multi_frame_terms",
    "multi_view_terms",
    "points_distance",
    "points_mse",
    "projected_loss",
    "single_view_terms",
    "state_cross_entropy",
    "translation_mse",
    "visibility_bce",
    "weighted_sum",
]
