"""Multi-view consistency: do one face's 2D predictions in calibrated cameras meet in 3D points? Needs no labels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facelift.lifting import formulas

_STEPS = 10


@dataclass(frozen=True, eq=False)
class Consistency:
    """Triangulated predictions and what is left over."""

    points: Float[np.ndarray, "b n 3"]
    """World units; NaN where fewer than two views see the landmark, its rays are parallel, or it lies behind one."""
    residual_px: Float[np.ndarray, "b views n"]
    """Distance of each prediction from its reprojected point; NaN where there is none."""

    @property
    def observations(self) -> int:
        """How many predictions the residuals cover."""
        return int(np.isfinite(self.residual_px).sum())


def multi_view_consistency(
    predictions: Float[np.ndarray, "b views n 2"],
    rotations: Float[np.ndarray, "views 3 3"],
    translations: Float[np.ndarray, "views 3"],
    K: Float[np.ndarray, "views 3 3"],
) -> Consistency:
    """Residuals |pi_v(X) - x_v| in px, X = argmin sum_v |pi_v(X) - x_v|^2 of each landmark in each frame.

    Linear triangulation, then Gauss-Newton (Hartley & Zisserman 2004, sections 12.2 and 12.5), with no robust weights:
    an inconsistent view shall show. `predictions`: px of each camera's own picture with lens distortion taken out,
    NaN where a face was not found. x_cam = R x + t; each camera has its K, skew allowed. With V views 2V - 3 residuals
    are free: compare systems on the same views. Raises ValueError for fewer than two cameras.
    """
    if len(rotations) < 2:
        raise ValueError(f"multi_view_consistency: expected at least 2 cameras, found {len(rotations)}")
    rays, information = _rays(np.asarray(predictions, float), np.asarray(K, float))
    seen = np.isfinite(rays).all(-1)
    u, v = np.moveaxis(np.where(seen[..., None], rays, 0.0), -1, 0)
    r = [[rotations[:, i, j][:, None] for j in range(3)] for i in range(3)]
    t = [translations[:, i][:, None] for i in range(3)]
    weight, solvable = seen.astype(float), seen.sum(1) >= 2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # what cannot be solved becomes NaN
        X = np.zeros((*solvable.shape, 3))
        rows, errors = formulas.jacobian(u, v, 1.0, r), formulas.linear_error(u, v, 1.0, t)
        X = X - _step(rows, errors, weight, information, solvable)
        for _ in range(_STEPS):
            p, q, z, e1, e2 = formulas.image_error(np.moveaxis(X, -1, 0)[:, :, None], r, t, u, v, 1.0)
            X = X - _step(formulas.jacobian(p, q, 1 / z, r), (e1, e2), weight, information, solvable)
        _, _, z, e1, e2 = formulas.image_error(np.moveaxis(X, -1, 0)[:, :, None], r, t, u, v, 1.0)
        residual = np.sqrt(formulas.squared_distance(e1, e2, information))
    in_front = ((z > 0) | ~seen).all(1)
    X = np.where(in_front[..., None], X, np.nan)
    return Consistency(X, np.where(seen & in_front[:, None], residual, np.nan))


def _rays(predictions: np.ndarray, K: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Points on the plane z = 1, and the metric (w11, w12, w22) that makes distances there px: A^T A, A = K[:2, :2]."""
    A = K[:, :2, :2]
    rays = (predictions - K[:, None, :2, 2]) @ np.swapaxes(np.linalg.inv(A), -1, -2)
    metric = np.swapaxes(A, -1, -2) @ A
    return rays, tuple(metric[:, i, j][:, None] for i, j in ((0, 0), (0, 1), (1, 1)))


def _step(rows, errors, weight, information, solvable) -> np.ndarray:
    """(J^T W J)^-1 J^T W e of every landmark, summed over the views; NaN where that has no solution."""
    (row1, row2), (e1, e2), counted = rows, errors, weight > 0
    terms = formulas.normal_terms(row1, row2, e1, e2, weight, information)
    terms = [np.where(counted, term, 0.0).sum(1) for term in terms]
    adjugate, determinant = formulas.adjugate(terms[:6])
    solvable = solvable & (formulas.conditioning(terms[:6], determinant) > 1e-12)
    step = np.stack(formulas.newton_step(adjugate, determinant, terms[6:]), axis=-1)
    return np.where(solvable[..., None], step, np.nan)
