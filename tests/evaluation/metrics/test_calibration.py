"""Calibration: SciPy's distributions, quadrature, samples of both models, and covariances that are wrong on purpose."""

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis

from facelift.evaluation.metrics.calibration import (
    coverage_radius,
    mahalanobis,
    mahalanobis_quantiles,
    negative_log_likelihood,
    probability_within,
    reliability,
)

LEVELS = np.array([0.0, 1e-6, 0.01, 0.5, 0.9, 0.99, 1 - 1e-9])
COVARIANCE = np.array([[4.0, 1.5], [1.5, 2.0]])


@pytest.fixture
def points(rng) -> tuple[np.ndarray, np.ndarray]:
    """2,000 residuals of nothing in particular, each with its own covariance."""
    factor = rng.standard_normal((2000, 2, 2)) + 2 * np.eye(2)
    return 3 * rng.standard_normal((2000, 2)), factor @ np.swapaxes(factor, 1, 2)


def draw(rng, count: int, model: str, covariance: np.ndarray) -> np.ndarray:
    """The Laplacian as a Gaussian of random scale: its radius sqrt 3 m is Gamma(2, 1)."""
    whitened = rng.standard_normal((count, 2))
    if model == "laplacian":
        whitened *= (rng.gamma(2, 1, count) / np.sqrt(3) / np.linalg.norm(whitened, axis=1))[:, None]
    return whitened @ np.linalg.cholesky(covariance).T


def test_mahalanobis_is_scipys(points):
    residual, covariance = points
    expected = [scipy_mahalanobis(r, np.zeros(2), np.linalg.inv(S)) for r, S in zip(residual, covariance, strict=True)]
    np.testing.assert_allclose(mahalanobis(residual, covariance), expected, rtol=1e-9)
    assert mahalanobis(np.array([3.0, 4]), np.diag([9.0, 4])) == pytest.approx(np.sqrt(5))


def test_gaussian_likelihood_is_scipys(points):
    residual, covariance = points
    expected = [-stats.multivariate_normal(np.zeros(2), S).logpdf(r) for r, S in zip(residual, covariance, strict=True)]
    np.testing.assert_allclose(negative_log_likelihood(residual, covariance, model="gaussian"), expected, rtol=1e-9)


def test_laplacian_likelihood_is_the_trained_one(points):
    torch = pytest.importorskip("torch")
    from facelift.losses import laplacian_nll

    residual, covariance = points
    expected = laplacian_nll(torch.tensor(residual), torch.linalg.cholesky(torch.tensor(covariance)), eps=0.0)
    found = negative_log_likelihood(residual, covariance, model="laplacian")
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-9)


@pytest.mark.parametrize("model", ["gaussian", "laplacian"])
def test_densities_integrate_to_one_and_to_the_covariance(model):
    def ring(m):
        return float(
            2 * np.pi * m * np.exp(-negative_log_likelihood(np.array([0.6 * m, -0.8 * m]), np.eye(2), model=model))
        )

    assert integrate.quad(ring, 0, 60)[0] == pytest.approx(1, rel=1e-9)
    grid = np.linspace(-60, 60, 1201)
    plane = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1)
    p = np.exp(-negative_log_likelihood(plane, np.broadcast_to(COVARIANCE, (1201, 1201, 2, 2)), model=model)) * 0.01
    np.testing.assert_allclose(np.einsum("xy,xyi,xyj->ij", p, plane, plane), COVARIANCE, rtol=2e-3)


def test_radii_are_scipys_quantiles():
    np.testing.assert_allclose(
        coverage_radius(LEVELS, model="gaussian"), np.sqrt(stats.chi2(2).ppf(LEVELS)), rtol=1e-9, atol=1e-12
    )
    expected = stats.gamma(2).ppf(LEVELS) / np.sqrt(3)
    np.testing.assert_allclose(coverage_radius(LEVELS, model="laplacian"), expected, rtol=1e-6, atol=1e-12)
    inner = slice(2, None)  # near level 0 the level itself has lost the digits
    np.testing.assert_allclose(coverage_radius(LEVELS, model="laplacian")[inner], expected[inner], rtol=1e-9)


@pytest.mark.parametrize(("model", "law"), [("gaussian", stats.chi(2)), ("laplacian", stats.gamma(2, scale=3**-0.5))])
def test_probability_is_scipys(model, law):
    m = np.linspace(0, 9, 50)
    np.testing.assert_allclose(probability_within(m, model=model), law.cdf(m), rtol=1e-9, atol=1e-15)
    radius = coverage_radius(LEVELS, model=model)
    np.testing.assert_allclose(probability_within(radius, model=model), LEVELS, rtol=1e-6, atol=1e-12)


def test_the_models_differ_where_it_matters():
    """The 50 % ellipse of the Laplacian is smaller, its 99 % ellipse larger, for one covariance."""
    gaussian, laplacian = (coverage_radius(np.array([0.5, 0.99]), model=m) for m in ("gaussian", "laplacian"))
    assert laplacian[0] < 0.83 * gaussian[0] and laplacian[1] > 1.25 * gaussian[1]


@pytest.mark.parametrize("model", ["gaussian", "laplacian"])
def test_samples_of_the_model_are_calibrated(rng, model):
    m = mahalanobis(draw(rng, 40_000, model, COVARIANCE), np.broadcast_to(COVARIANCE, (40_000, 2, 2)))
    curve = reliability(m, model=model, levels=np.array([0.5, 0.9]))
    np.testing.assert_allclose(curve.observed, [0.5, 0.9], atol=0.01)
    table = mahalanobis_quantiles(m, model=model)
    np.testing.assert_allclose(table.observed, table.expected, rtol=0.05)
    whole = reliability(m, model=model)
    assert curve.points == table.points == 40_000 and np.abs(whole.observed - whole.expected).mean() < 0.01
    other = reliability(m, model="laplacian" if model == "gaussian" else "gaussian")
    assert np.abs(other.observed - other.expected).mean() > 0.03


def test_covariances_too_small_show(rng):
    m = mahalanobis(draw(rng, 20_000, "gaussian", 4 * COVARIANCE), np.broadcast_to(COVARIANCE, (20_000, 2, 2)))
    curve = reliability(m, model="gaussian", levels=np.array([0.5, 0.9]))
    expected = stats.chi2(2).cdf(stats.chi2(2).ppf([0.5, 0.9]) / 4)
    np.testing.assert_allclose(curve.observed, expected, atol=0.015)
    table = mahalanobis_quantiles(m, model="gaussian")
    np.testing.assert_allclose(table.observed / table.expected, 4, rtol=0.1)


def test_swapping_the_two_covariances_changes_the_likelihood(rng):
    """Under-confidence and over-confidence by one factor do not cost the same."""
    residual = draw(rng, 5000, "laplacian", COVARIANCE)
    wide, narrow, right = (
        negative_log_likelihood(residual, np.broadcast_to(s * COVARIANCE, (5000, 2, 2)), model="laplacian").mean()
        for s in (4, 0.25, 1)
    )
    assert right < wide < narrow


def test_observed_coverage_by_hand():
    curve = reliability(np.array([0.1, 1.0, 5.0, np.nan]), model="gaussian", levels=np.array([0.5, 0.9]))
    np.testing.assert_allclose(curve.observed, [2 / 3, 2 / 3])  # radii 1.18 and 2.15
    assert curve.points == 3


def test_nothing_to_score_is_nan():
    curve = reliability(np.array([np.nan]), model="gaussian")
    assert curve.points == 0 and np.isnan(curve.observed).all()
    assert np.isnan(mahalanobis_quantiles(np.array([np.nan]), model="laplacian").observed).all()
    assert np.isnan(mahalanobis(np.array([np.nan, 1]), COVARIANCE))
    assert np.isnan(mahalanobis(np.ones(2), np.full((2, 2), np.nan)))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="positive definite covariances, found 1"):
        mahalanobis(np.ones((2, 2)), np.stack([COVARIANCE, [[1.0, 2], [2, 1]]]))
    with pytest.raises(ValueError, match=r"levels in \[0, 1\)"):
        coverage_radius(np.array([0.5, 1.0]), model="gaussian")
