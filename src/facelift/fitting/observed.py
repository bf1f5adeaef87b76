"""Points, weights and cameras as they are given: checked, scaled, and told why a face cannot be fitted."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from facelift.fitting.config import FitConfig
from facelift.fitting.normal_equations import Observations

FARTHEST, LEAST_SIZE = 1e3, 1e-6
"""Focal lengths: no picture has points farther from the camera's middle, or a face as small."""
MOST_WEIGHT = 1e6


def checked(
    points: np.ndarray,
    weights: np.ndarray | None,
    intrinsics: np.ndarray,
    start: tuple[np.ndarray, ...] | None,
    count: int,
    frames: int,
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
    if start is not None:
        found = tuple(np.shape(part) for part in start)
        if found != ((len(points), 3, 3), (len(points), 3)):
            raise ValueError(f"start: expected ({len(points)}, 3, 3) and ({len(points)}, 3), found {found}")
    known = np.isfinite(points).all(-1) & np.isfinite(weights).all(-1) & (weights > 0).any(-1) & (weights >= 0).all(-1)
    return points, np.where(known[..., None], weights, 0.0), np.broadcast_to(K, (len(points), 3, 3))


def reasons_against(
    points: np.ndarray, weights: np.ndarray, K: np.ndarray, start: tuple[np.ndarray, ...] | None, config: FitConfig
) -> list[str | None]:
    """Why each face cannot be fitted, if it cannot."""
    reasons: list[str | None] = []
    for index, (face, weight) in enumerate(zip(points, weights, strict=True)):
        known = counted(weight, config)
        reason = None
        if not np.isfinite(face).any():
            reason = "no point is a number"
        elif known.sum() < config.min_points:
            reason = f"expected {config.min_points} or more points with confidence, found {int(known.sum())}"
            if known.sum() < (weight > 0).any(-1).sum():
                reason += f" of {config.min_weight:g} or more"
        elif (bad := _bad_camera(K[index])) is not None:
            reason = bad
        elif np.ptp(face[known], axis=0).max() <= LEAST_SIZE * K[index][0, 0]:
            reason = "expected points apart from each other, found all in one place"
        elif weight.max() > MOST_WEIGHT:
            reason = f"expected weights up to {MOST_WEIGHT:g}, found {weight.max():.3g}"
        elif (far := _farthest(face[(weight > 0).any(-1)], K[index])) > FARTHEST:
            reason = f"expected points within {FARTHEST:g} focal lengths of the camera's middle, found one at {far:.3g}"
        elif start is not None:
            reason = _bad_start(np.asarray(start[0][index]), np.asarray(start[1][index]))
        reasons.append(reason)
    return reasons


def counted(weights: Float[np.ndarray, "*b l 2"], config: FitConfig) -> Bool[np.ndarray, "*b l"]:
    """Points of weight enough to tell that there is a face."""
    return np.any(weights >= max(config.min_weight, np.finfo(np.float64).tiny), axis=-1)


def _bad_camera(K: np.ndarray) -> str | None:
    if not (np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0):
        return "expected a camera with positive focal lengths, found another"
    if max(abs(K[0, 1]), abs(K[1, 0])) > 1e-6 * K[0, 0]:
        return f"expected a camera without skew, found {K[0, 1]:.4g} and {K[1, 0]:.4g}"
    if np.abs(K[2] - [0, 0, 1]).max() > 1e-6:
        return f"expected a camera whose last row is 0 0 1, found {' '.join(f'{value:.4g}' for value in K[2])}"
    return None


def _farthest(points: np.ndarray, K: np.ndarray) -> float:
    """The greatest distance from the camera's middle, focal lengths."""
    return float(np.abs((points - K[:2, 2]) / K[[0, 1], [0, 1]]).max())


def _bad_start(rotation: np.ndarray, translation: np.ndarray) -> str | None:
    if not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
        return "expected a start of finite numbers, found others"
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        return "expected a rotation to start from, found another matrix"
    if translation[2] <= 0:
        return f"expected a start in front of the camera, found depth {translation[2]:.4g}"
    return None


def face_size(points: Float[np.ndarray, "l 2"], known: Bool[np.ndarray, "l"]) -> float:
    """sqrt(w h) of the box of the known points, px; never much less than the longer side. NaN without any."""
    if not known.any():
        return np.nan
    sides = np.ptp(points[known], axis=0)
    return float(np.sqrt(sides[0] * sides[1])) if sides.min() > 0.1 * sides.max() else float(0.3 * sides.max())


def observed(
    points: np.ndarray, weights: np.ndarray, K: np.ndarray, usable: np.ndarray, config: FitConfig, *, like: Tensor
) -> Observations:
    """Unusable faces get points in the middle of a plain camera, and no weights."""
    make = lambda array: torch.as_tensor(array, dtype=like.dtype, device=like.device)  # noqa: E731
    known = (weights > 0).any(-1) & usable[:, None]
    seen = counted(weights, config) & usable[:, None]
    sizes = np.array([face_size(p, k) if k.any() else 1.0 for p, k in zip(points, seen, strict=True)])
    K = np.where(usable[:, None, None], K, np.eye(3))
    focal, centre = K[:, [0, 1], [0, 1]], K[:, :2, 2]
    filled = np.where(known[..., None], points, centre[:, None])
    scaled = np.where(known[..., None], weights, 0.0) / (config.noise * sizes)[:, None, None]
    return Observations(make(filled.transpose(0, 2, 1)), make(scaled.transpose(0, 2, 1)), make(focal), make(centre))
