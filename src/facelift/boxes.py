"""Boxes of points."""

import numpy as np
from jaxtyping import Float


def tight_box(points: Float[np.ndarray, "*b n d"]) -> Float[np.ndarray, "*b 4"]:
    """x0 y0 x1 y1 of each face's points, of 3D points in their x and y. NaN points do not count; NaN without any."""
    points = np.asarray(points, float)
    known = np.isfinite(points).all(-1, keepdims=True)
    low = np.where(known, points, np.inf)[..., :2].min(-2, initial=np.inf)
    high = np.where(known, points, -np.inf)[..., :2].max(-2, initial=-np.inf)
    return np.where(known.any(-2), np.concatenate([low, high], axis=-1), np.nan)
