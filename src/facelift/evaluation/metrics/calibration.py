"""Are predicted 2D covariances true? Quantiles, coverage and likelihood under a Gaussian or the trained Laplacian.

Both models are functions of the Mahalanobis distance m = sqrt(r^T S^-1 r), S the true covariance:

    gaussian   p = exp(-m^2 / 2) / (2 pi |S|^1/2)                    P(m <= x) = 1 - exp(-x^2 / 2)       [chi-square(2)]
    laplacian  p = exp(-sqrt 3 m) / (2 pi/3 |S|^1/2)                 P(m <= x) = 1 - (1 + a) exp(-a),  a = sqrt 3 x

The second is `losses/laplacian.py`'s (Ferman et al. 2024, D = 2), which the networks are trained with. Its radius: in
whitened polar coordinates p(m) = 3 m exp(-sqrt 3 m), so a = sqrt 3 m has density a exp(-a), a Gamma(2, 1).
Both have E[m^2] = 2. Points with a NaN residual or covariance do not count.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

Model = Literal["gaussian", "laplacian"]
LEVELS = np.linspace(0.05, 0.95, 19)
"""Levels of the quantile table and the reliability curve."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """Share of points inside the ellipse that the model expects to hold a share `expected` of them."""

    expected: Float[np.ndarray, "k"]
    observed: Float[np.ndarray, "k"]
    """NaN where there is no point."""
    points: int


@dataclass(frozen=True, eq=False)
class Quantiles:
    """The q-q table of squared Mahalanobis distances; px cancels."""

    levels: Float[np.ndarray, "k"]
    expected: Float[np.ndarray, "k"]
    """Quantiles of the model; of chi-square(2) for the Gaussian."""
    observed: Float[np.ndarray, "k"]
    """Above the expected: the covariances are too small."""
    points: int


def mahalanobis(
    residual: Float[np.ndarray, "*b 2"], covariance: Float[np.ndarray, "*b 2 2"]
) -> Float[np.ndarray, "*b"]:
    """m = sqrt(r^T S^-1 r), from the Cholesky factor. NaN in, NaN out.

    Raises ValueError where a finite covariance is not positive definite.
    """
    l00, l10, l11 = _cholesky(covariance)
    first = np.asarray(residual[..., 0], float) / l00
    return np.asarray(np.hypot(first, (residual[..., 1] - l10 * first) / l11))


def negative_log_likelihood(
    residual: Float[np.ndarray, "*b 2"], covariance: Float[np.ndarray, "*b 2 2"], *, model: Model
) -> Float[np.ndarray, "*b"]:
    """-log p of each point in nats; px^2 in the density's unit, so only systems in one pixel grid compare.

    gaussian: log 2 pi + 1/2 log|S| + m^2 / 2; laplacian: log(2 pi/3) + 1/2 log|S| + sqrt 3 m.
    """
    m = mahalanobis(residual, covariance)
    l00, _, l11 = _cholesky(covariance)
    half_log_determinant = np.log(l00) + np.log(l11)
    if model == "gaussian":
        return np.asarray(np.log(2 * np.pi) + half_log_determinant + m**2 / 2)
    return np.asarray(np.log(2 * np.pi / 3) + half_log_determinant + np.sqrt(3) * m)


def probability_within(m: Float[np.ndarray, "*b"], *, model: Model) -> Float[np.ndarray, "*b"]:
    """P(Mahalanobis distance <= m); the module's formulas."""
    if model == "gaussian":
        return np.asarray(-np.expm1(-(np.asarray(m) ** 2) / 2))
    a = np.sqrt(3) * np.asarray(m)
    return np.asarray(-np.expm1(np.log1p(a) - a))


def coverage_radius(level: Float[np.ndarray, "*k"] | float, *, model: Model) -> Float[np.ndarray, "*k"]:
    """The Mahalanobis distance within which a share `level` of the points is expected; the inverse of the above.

    gaussian: sqrt(-2 log(1 - level)). laplacian: a / sqrt 3 with a - log(1 + a) = -log(1 - level), by Newton's method
    from a bound above (Chatzigeorgiou 2013), from where it falls monotonically. Raises ValueError outside [0, 1).
    """
    level = np.asarray(level, float)
    if not ((level >= 0) & (level < 1)).all():
        raise ValueError(f"coverage_radius: expected levels in [0, 1), found {level}")
    u = -np.log1p(-level)
    if model == "gaussian":
        return np.asarray(np.sqrt(2 * u))
    a = np.sqrt(2 * u) + u
    for _ in range(20):
        a = a - (a - np.log1p(a) - u) * (1 + a) / np.where(a > 0, a, 1.0)
    return np.asarray(a / np.sqrt(3))


def mahalanobis_quantiles(
    m: Float[np.ndarray, "*b"], *, model: Model, levels: Float[np.ndarray, "k"] = LEVELS
) -> Quantiles:
    """Observed quantiles of m^2 (linear interpolation) beside the model's, chi-square(2)'s for the Gaussian."""
    known = m[np.isfinite(m)]
    observed = np.quantile(known**2, levels) if len(known) else np.full(len(levels), np.nan)
    return Quantiles(levels, coverage_radius(levels, model=model) ** 2, observed, len(known))


def reliability(m: Float[np.ndarray, "*b"], *, model: Model, levels: Float[np.ndarray, "k"] = LEVELS) -> Reliability:
    """Observed share of points with m <= `coverage_radius(level)` at each level; `levels=np.array([0.5, 0.9])` gives
    the two numbers of the tables."""
    known = m[np.isfinite(m)]
    radii = coverage_radius(levels, model=model)
    inside = np.searchsorted(np.sort(known), radii, side="right")
    observed = inside / len(known) if len(known) else np.full(len(levels), np.nan)
    return Reliability(levels, observed, len(known))


def _cholesky(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(l00, l10, l11) of S = L L^T; NaN where S has one."""
    a, b, c = (np.asarray(covariance[..., i, j], float) for i, j in ((0, 0), (1, 0), (1, 1)))
    known = np.isfinite(covariance).all((-1, -2))
    bad = known & ~((a > 0) & (a * c - b * b > 0))
    if bad.any():
        raise ValueError(f"calibration: expected positive definite covariances, found {int(bad.sum())} that are not")
    l00 = np.asarray(np.sqrt(np.where(known, a, np.nan)))
    l10 = np.asarray(b / l00)
    return l00, l10, np.asarray(np.sqrt(c - l10**2))
