"""Least-squares similarity between two point sets (Umeyama 1991)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Similarity:
    """x -> scale * R x + t, for points as rows."""

    scale: Float[np.ndarray, "*b"]
    rotation: Float[np.ndarray, "*b d d"]
    translation: Float[np.ndarray, "*b d"]

    def apply(self, points: Float[np.ndarray, "*b n d"]) -> Float[np.ndarray, "*b n d"]:
        """The moved points."""
        turned = points @ np.swapaxes(self.rotation, -1, -2)
        return self.scale[..., None, None] * turned + self.translation[..., None, :]


def procrustes(
    source: Float[np.ndarray, "*b n d"],
    target: Float[np.ndarray, "*b n d"],
    *,
    with_scale: bool,
    weights: Float[np.ndarray, "*b n"] | None = None,
    with_reflection: bool = False,
) -> Similarity:
    """The similarity that minimises sum w |s R source + t - target|^2; R is a rotation, or with `with_reflection`
    whichever of rotation and reflection fits better (some benchmarks' released code).

    Umeyama 1991, Eq. 40-43, with weights. Raises ValueError when fewer than d points have weight, or values are not
    finite.
    """
    source, target = np.asarray(source, float), np.asarray(target, float)
    weights = np.ones(source.shape[:-1]) if weights is None else np.asarray(weights, float)
    dimension = source.shape[-1]
    if (weights > 0).sum(-1).min() < dimension:
        raise ValueError(f"procrustes needs at least {dimension} points with weight, found fewer")
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise ValueError("procrustes needs finite points, found NaN or infinity")
    w = weights[..., None] / weights.sum(-1)[..., None, None]
    mean_source, mean_target = (w * source).sum(-2), (w * target).sum(-2)
    x, y = source - mean_source[..., None, :], target - mean_target[..., None, :]
    u, d, vt = np.linalg.svd(np.swapaxes(w * y, -1, -2) @ x)  # Eq. 38
    sign = np.ones_like(d)
    if not with_reflection:
        sign[..., -1] = np.sign(np.linalg.det(u @ vt))  # Eq. 39
    rotation = (u * sign[..., None, :]) @ vt  # Eq. 40
    variance = (w * x**2).sum((-1, -2))
    scale = np.asarray((d * sign).sum(-1) / variance if with_scale else np.ones_like(variance))  # Eq. 42
    moved = (rotation @ mean_source[..., None])[..., 0]
    return Similarity(scale, rotation, mean_target - scale[..., None] * moved)  # Eq. 41
