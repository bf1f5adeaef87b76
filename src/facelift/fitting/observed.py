"""Points, weights and cameras as they are given: checked, scaled, and told why a face cannot be fitted."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from facelift.fitting.config import FitConfig
from facelift.fitting.normal_equations import Observations


def checked(
    points: np.ndarray, weights: np.ndarray | None, intrinsics: np.ndarray, count: int, frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(points, weights of coordinates, cameras), float64; weight 0 where nothing is known. Raises ValueError for arrays
    of other shapes than `fit_heads` tells."""
    points = np.asarray(points, np.float64)
    if points.ndim != 3 or points.shape[1:] != (count, 2):
        raise ValueError(f"points: expected (faces, {count}, 2), found {points.shape}")
    weights = np.ones(points.shape) if weights is None else np.asarray(weights, np.float64)
    if weights.shape not in (points.shape, points.shape[:2]):
        raise ValueError(f"weights: expected {points.shape[:2]} or {points.shape}, found {weights.shape}")
    if weights.ndim == 2:
        weights = np.repeat(weights[..., None], 2, -1)
    K = np.asarray(intrinsics, np.float64)
    if K.shape not in ((3, 3), (len(points), 3, 3)):
        raise ValueError(f"intrinsics: expected (3, 3) or ({len(points)}, 3, 3), found {K.shape}")
    if frames < 1 or len(points) % frames:
        raise ValueError(f"frames: expected a divisor of the {len(points)} faces, found {frames}")
    known = np.isfinite(points).all(-1) & np.isfinite(weights).all(-1) & (weights > 0).any(-1) & (weights >= 0).all(-1)
    return points, np.where(known[..., None], weights, 0.0), np.broadcast_to(K, (len(points), 3, 3))


def reasons_against(
    points: np.ndarray, weights: np.ndarray, K: np.ndarray, start: tuple[np.ndarray, ...] | None, config: FitConfig
) -> list[str | None]:
    """Why each face cannot be fitted, if it cannot."""
    reasons: list[str | None] = []
    for index, (face, weight) in enumerate(zip(points, weights, strict=True)):
        known = (weight > 0).any(-1)
        reason = None
        if not np.isfinite(face).any():
            reason = "no point is a number"
        elif known.sum() < config.min_points:
            reason = f"expected {config.min_points} or more points with confidence, found {int(known.sum())}"
        elif np.ptp(face[known], axis=0).max() <= 0:
            reason = "expected points apart from each other, found all in one place"
        elif not (np.isfinite(K[index]).all() and K[index][0, 0] > 0 and K[index][1, 1] > 0):
            reason = "expected a camera with positive focal lengths, found another"
        elif start is not None:
            reason = _bad_start(np.asarray(start[0][index]), np.asarray(start[1][index]))
        reasons.append(reason)
    return reasons


def _bad_start(rotation: np.ndarray, translation: np.ndarray) -> str | None:
    if not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
        return "expected a start of finite numbers, found others"
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        return "expected a rotation to start from, found another matrix"
    if translation[2] <= 0:
        return f"expected a start in front of the camera, found depth {translation[2]:.4g}"
    return None


def face_size(points: Float[np.ndarray, "l 2"], known: Bool[np.ndarray, "l"]) -> float:
    """sqrt(w h) of the box of the known points, px; never much less than the longer side."""
    sides = np.ptp(points[known], axis=0)
    return float(np.sqrt(sides[0] * sides[1])) if sides.min() > 0.1 * sides.max() else float(0.3 * sides.max())


def observed(
    points: np.ndarray, weights: np.ndarray, K: np.ndarray, usable: np.ndarray, config: FitConfig, *, like: Tensor
) -> Observations:
    """Unusable faces get points in the middle of a plain camera, and no weights."""
    make = lambda array: torch.as_tensor(array, dtype=like.dtype, device=like.device)  # noqa: E731
    known = (weights > 0).any(-1) & usable[:, None]
    sizes = np.array([face_size(p, k) if k.any() else 1.0 for p, k in zip(points, known, strict=True)])
    K = np.where(usable[:, None, None], K, np.eye(3))
    focal, centre = K[:, [0, 1], [0, 1]], K[:, :2, 2]
    filled = np.where(known[..., None], points, centre[:, None])
    scaled = np.where(known[..., None], weights, 0.0) / (config.noise * sizes)[:, None, None]
    return Observations(make(filled.transpose(0, 2, 1)), make(scaled.transpose(0, 2, 1)), make(focal), make(centre))
