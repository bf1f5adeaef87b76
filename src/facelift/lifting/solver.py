"""Robust triangulation of all landmarks of all faces at once: one 3-unknown problem each, solved in closed form.

Paper (Ferman et al. 2024): one 3D set per face that minimises the masked reprojection error. Here: linear
triangulation, then Gauss-Newton with Cauchy weights (IRLS): a landmark's problem does not depend on any other's.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from facelift.lifting import formulas

MIN_DEPTH = 1e-3
"""A view counts only while the point lies at least so far in front of it, canonical units."""
MIN_CONDITIONING = 1e-7
"""Below it (`formulas.conditioning`) the rays are parallel: two views less than about 0.05 degrees apart."""


@dataclass(frozen=True)
class SolverConfig:
    """How each landmark is triangulated."""

    cauchy: float = 4.0
    """Scale of the Cauchy loss: px, or standard deviations where the detector gives covariances. inf: least squares."""
    iterations: int = 10
    """At most so many Gauss-Newton steps. The first four anneal the scale from 8 times its value, so that a bad linear
    start does not decide which views count as outliers."""
    tolerance: float = 1e-7
    """Stop at steps shorter than this, canonical units."""
    min_views: int = 2
    """Fewer views with weight, or fewer that agree, and the landmark is NaN."""


@dataclass(frozen=True)
class Lifted:
    """3D landmarks of a batch of faces. Where `solved` is False, everything else is NaN or 0."""

    points: Float[np.ndarray, "b landmarks 3"]
    covariance: Float[np.ndarray, "b landmarks 3 3"]
    """Of the points, canonical units^2: the Gauss-Newton Hessian's inverse, scaled by the residuals' variance."""
    residual_px: Float[np.ndarray, "b landmarks"]
    """RMS reprojection error over the views, under mask, confidence and Cauchy weights."""
    views_used: Int[np.ndarray, "b landmarks"]
    """Views with weight whose error is at most twice the loss's scale."""
    solved: Bool[np.ndarray, "b landmarks"]


def triangulate(
    points: Float[np.ndarray, "b views landmarks 2"],
    weights: Float[np.ndarray, "b views landmarks"],
    rotations: Float[np.ndarray, "views 3 3"],
    translations: Float[np.ndarray, "views 3"],
    K: Float[np.ndarray, "3 3"],
    *,
    covariances: Float[np.ndarray, "b views landmarks 2 2"] | None = None,
    config: SolverConfig = SolverConfig(),
    backend: Literal["numba", "numpy"] = "numba",
) -> Lifted:
    """The 3D points that minimise sum w rho(e^T S^-1 e) over views, rho the Cauchy loss, S = I without `covariances`.

    `points`: px; NaN and weight 0 both mean "not seen". `weights` act as relative inverse variances. The covariance is
    that of M-estimates (Huber & Ronchetti 2009, section 7.6) with the Hessian taken under the weights' own pattern:
    sum(w c^2 d^2) / (2 views - 3) * sum(w) / sum(w c^2) * (sum w c^2 J^T S^-1 J)^-1, c the Cauchy weight; with
    cauchy = inf, the textbook's. A landmark with fewer than `min_views` views, parallel rays, or no agreement
    comes back as NaN with solved = False.
    """
    focal_px = float(K[0, 0])
    rays = (np.asarray(points, float) - K[:2, 2]) / focal_px
    information = _information(covariances)
    weights = np.where(information.any(-1), np.asarray(weights, float), 0.0)
    solve = _solve_all if backend == "numpy" else _kernel()
    X, upper, residual, inliers = solve(
        rays,
        weights,
        information,
        np.ascontiguousarray(rotations, float),
        np.ascontiguousarray(translations, float),
        focal_px,
        float(config.cauchy),
        config.iterations,
        float(config.tolerance),
        max(config.min_views, 2),
        MIN_DEPTH,
        MIN_CONDITIONING,
    )
    covariance = upper[..., [[0, 1, 2], [1, 3, 4], [2, 4, 5]]]
    return Lifted(X, covariance, residual, inliers, np.isfinite(X).all(-1))


def _kernel() -> Any:
    from facelift.lifting.kernel import solve_all

    return solve_all


def _information(covariances: np.ndarray | None) -> np.ndarray:
    """(w11, w12, w22) of the inverse covariances; all zero where one is not positive definite."""
    if covariances is None:
        return np.array([[[[1.0, 0.0, 1.0]]]])
    a, b, c = (np.asarray(covariances[..., i, j], float) for i, j in ((0, 0), (0, 1), (1, 1)))
    determinant = a * c - b * b
    good = (determinant > 0) & (a > 0)
    inverse = np.stack([c, -b, a], axis=-1) / np.where(good, determinant, 1)[..., None]
    return np.where(good[..., None], inverse, 0.0)


def _solve_all(rays, weights, information, R, t, focal_px, cauchy, iterations, tolerance, min_views, floor, flat):
    """The plain twin of `kernel.solve_all`, on whole arrays."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # what is not solved is NaN
        return _solve_arrays(
            rays, weights, information, R, t, focal_px, cauchy, iterations, tolerance, min_views, floor, flat
        )


def _solve_arrays(rays, weights, information, R, t, focal_px, cauchy, iterations, tolerance, min_views, floor, flat):
    seen = (weights > 0) & np.isfinite(rays).all(-1)
    weights = np.where(seen, weights, 0.0)
    rays = np.where(seen[..., None], rays, 0.0)
    faces, _, landmarks = weights.shape
    problem = _Problem(rays, weights, information, R, t, focal_px, floor)
    X, alive = np.zeros((faces, landmarks, 3)), np.ones((faces, landmarks), bool)
    moving = alive.copy()
    for iteration in range(iterations + 1):
        if iteration == 0:
            H, g, front = problem.linear()
        else:
            H, g, _, front = problem.gauss_newton(X, formulas.annealed(cauchy, iteration), power=1)
        adj, det = formulas.adjugate(H)
        alive &= (front >= min_views) & (formulas.conditioning(H, det) > flat)
        moving &= alive
        step = np.stack(formulas.newton_step(adj, det, g), axis=-1)
        X = np.where(moving[..., None], X - step, X)
        if iteration > formulas.ANNEALING:
            moving &= ~((step**2).sum(-1) < tolerance**2)
    H, _, sums, front = problem.gauss_newton(X, cauchy, power=2)
    total, total_c, total_power, distance, error, inliers = sums
    adj, det = formulas.adjugate(H)
    alive &= (inliers >= min_views) & (formulas.conditioning(H, det) > flat)
    upper = np.stack(adj, axis=-1) * (distance / (2 * front - 3) * total / total_power / det)[..., None]
    nan = np.where(alive, 1.0, np.nan)
    residual = np.sqrt(error / total_c)
    return X * nan[..., None], upper * nan[..., None], residual * nan, np.where(alive, inliers, 0)


@dataclass(frozen=True)
class _Problem:
    """Observations of all faces, and the sums over views that every step needs. A view axis sits at 1."""

    rays: np.ndarray
    weights: np.ndarray
    information: np.ndarray
    R: np.ndarray
    t: np.ndarray
    focal_px: float
    floor: float

    def _parts(self):
        r = [[self.R[:, i, j][:, None] for j in range(3)] for i in range(3)]
        t = [self.t[:, i][:, None] for i in range(3)]
        return self.rays[..., 0], self.rays[..., 1], r, t, tuple(np.moveaxis(self.information, -1, 0))

    def linear(self):
        u, v, r, t, information = self._parts()
        row1, row2 = formulas.jacobian(u, v, self.focal_px, r)
        e1, e2 = formulas.linear_error(u, v, self.focal_px, t)
        terms = formulas.normal_terms(row1, row2, e1, e2, self.weights, information)
        terms = [term.sum(1) for term in terms]
        return terms[:6], terms[6:], (self.weights > 0).sum(1)

    def gauss_newton(self, X, cauchy, *, power):
        u, v, r, t, information = self._parts()
        p, q, z, e1, e2 = formulas.image_error(np.moveaxis(X, -1, 0)[:, :, None], r, t, u, v, self.focal_px)
        front = z > self.floor
        w = np.where(front, self.weights, 0.0)
        p, q, z, e1, e2 = (np.where(front, value, 1.0) for value in (p, q, z, e1, e2))
        squared = formulas.squared_distance(e1, e2, information)
        c = formulas.cauchy_weight(squared, cauchy)
        row1, row2 = formulas.jacobian(p, q, self.focal_px / z, r)
        terms = formulas.normal_terms(row1, row2, e1, e2, w * c**power, information)
        terms = [term.sum(1) for term in terms]
        sums = (
            w.sum(1),
            (w * c).sum(1),
            (w * c**power).sum(1),
            (w * c**power * squared).sum(1),
            (w * c * (e1**2 + e2**2)).sum(1),
            ((c >= formulas.INLIER_WEIGHT) & (w > 0)).sum(1),
        )
        return terms[:6], terms[6:], sums, (w > 0).sum(1)
