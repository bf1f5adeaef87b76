"""The Laplacian likelihood: a density, right by hand, smooth at a perfect hit, deaf to missing labels."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from facelift.losses import cholesky_from_raw, laplacian_loss, laplacian_nll

FACTORS = {
    1: [[0.7]],
    2: [[0.8, 0.0], [0.5, 0.3]],
    3: [[0.8, 0.0, 0.0], [0.5, 0.4, 0.0], [-0.3, 0.2, 0.6]],
}


def double(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def nll_by_definition(residual: torch.Tensor, cholesky: torch.Tensor) -> torch.Tensor:
    """No shortcut: the covariance is built, inverted and its determinant taken."""
    d = residual.shape[-1]
    covariance = cholesky @ cholesky.mT
    mahalanobis = torch.einsum("...i,...ij,...j->...", residual, torch.linalg.inv(covariance), residual)
    normalizer = {1: math.sqrt(2), 2: 2 * math.pi / 3, 3: math.pi}[d]
    return torch.log(normalizer * torch.linalg.det(covariance).sqrt()) + torch.sqrt((d + 1) * mahalanobis)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_density_integrates_to_one_along_rays(dimension):
    """Polar coordinates about the mean: Gauss-Laguerre along each ray, a grid of directions."""
    cholesky = double(FACTORS[dimension])
    if dimension == 1:
        directions, area = np.array([[1.0], [-1.0]]), np.ones(2)
    elif dimension == 2:
        angle = np.arange(200) * 2 * np.pi / 200
        directions = np.stack([np.cos(angle), np.sin(angle)], -1)
        area = np.full(200, 2 * np.pi / 200)
    else:
        cos, weights = np.polynomial.legendre.leggauss(40)
        angle = np.arange(60) * 2 * np.pi / 60
        cos, angle = (a.ravel() for a in np.meshgrid(cos, angle, indexing="ij"))
        sin = np.sqrt(1 - cos**2)
        directions = np.stack([sin * np.cos(angle), sin * np.sin(angle), cos], -1)
        area = np.repeat(weights, 60) * 2 * np.pi / 60
    radius, radial_weight = np.polynomial.laguerre.laggauss(60)
    radius, radial_weight = radius / 2, radial_weight * np.exp(radius) / 2
    points = double(radius[:, None, None] * directions)
    density = torch.exp(-laplacian_nll(points, cholesky.expand(*points.shape, -1), eps=1e-16)).numpy()
    total = (density * (radial_weight * radius ** (dimension - 1))[:, None] * area).sum()
    assert total == pytest.approx(1, abs=2e-4)


def test_density_in_one_dimension_integrates_to_one_with_the_stated_variance():
    """Adaptive quadrature of the density and of x^2 times it: S is the TRUE covariance."""
    cholesky = double(FACTORS[1])

    def density(x: float) -> float:
        return math.exp(-laplacian_nll(double([x]), cholesky, eps=1e-18).item())

    assert 2 * quad(density, 0, 30)[0] == pytest.approx(1, abs=1e-8)
    assert 2 * quad(lambda x: x * x * density(x), 0, 30)[0] == pytest.approx(0.7**2, abs=1e-8)


@pytest.mark.parametrize("dimension", [2, 3])
def test_covariance_of_the_density_is_what_the_factor_says(dimension):
    """Second moment by a grid in whitened coordinates, where the density has no direction."""
    side = np.linspace(-12, 12, 301 if dimension == 2 else 97)
    grid = np.stack(np.meshgrid(*[side] * dimension, indexing="ij"), -1).reshape(-1, dimension)
    cholesky = double(FACTORS[dimension])
    points = double(grid) @ cholesky.mT
    density = torch.exp(-laplacian_nll(points, cholesky.expand(len(points), -1, -1), eps=1e-16))
    cell = (side[1] - side[0]) ** dimension * torch.det(cholesky)
    covariance = (density[:, None, None] * points[:, :, None] * points[:, None, :]).sum(0) * cell
    torch.testing.assert_close(covariance, cholesky @ cholesky.mT, rtol=2e-3, atol=2e-4)


def test_hand_computed_value():
    """L = [[2, 0], [1, 3]], r = (2, 4): L^-1 r = (1, 1), |S|^1/2 = 6, so log(2 pi / 3) + log 6 + sqrt 6."""
    value = laplacian_nll(double([2.0, 4.0]), double([[2.0, 0.0], [1.0, 3.0]]))
    assert value.item() == pytest.approx(math.log(2 * math.pi / 3) + math.log(6) + math.sqrt(6), abs=1e-8)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_equals_the_definition_and_ignores_what_is_above_the_diagonal(dimension):
    torch.manual_seed(0)
    cholesky = double(FACTORS[dimension]).repeat(5, 4, 1, 1) * (0.5 + torch.rand(5, 4, 1, 1))
    residual = torch.randn(5, 4, dimension, dtype=torch.float64)
    expected = nll_by_definition(residual, cholesky)
    torch.testing.assert_close(laplacian_nll(residual, cholesky, eps=1e-20), expected)
    dirty = cholesky + torch.ones_like(cholesky).triu(1)
    torch.testing.assert_close(laplacian_nll(residual, dirty, eps=1e-20), expected)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_gradients_equal_finite_differences(dimension):
    torch.manual_seed(1)
    residual = torch.randn(3, dimension, dtype=torch.float64, requires_grad=True)
    cholesky = double(FACTORS[dimension]).repeat(3, 1, 1).requires_grad_()
    assert torch.autograd.gradcheck(laplacian_nll, (residual, cholesky))


def test_smallest_where_covariance_fits():
    """The expected loss of planted Laplacian noise is least at the planted scale."""
    torch.manual_seed(2)
    direction = torch.nn.functional.normalize(torch.randn(200_000, 2, dtype=torch.float64), dim=-1)
    radius = torch.distributions.Gamma(2.0, math.sqrt(3)).sample((200_000, 1)).double()
    residual = 0.3 * radius * direction  # r ~ Gamma(D, sqrt(D+1)) has unit covariance
    scales = [0.25, 0.28, 0.3, 0.32, 0.36]
    losses = [laplacian_nll(residual, s * torch.eye(2).double().expand(200_000, 2, 2)).mean() for s in scales]
    assert int(torch.stack(losses).argmin()) == 2


def test_perfect_prediction_has_a_finite_gradient():
    residual = torch.zeros(1, 2, requires_grad=True)
    cholesky = torch.eye(2)[None].clone().requires_grad_()
    laplacian_nll(residual, cholesky).sum().backward()
    assert torch.equal(residual.grad, torch.zeros(1, 2))
    torch.testing.assert_close(cholesky.grad, torch.eye(2)[None])


def test_missing_labels_change_neither_value_nor_gradient():
    torch.manual_seed(3)
    prediction = torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True)
    cholesky = double(FACTORS[2]).repeat(2, 5, 1, 1).requires_grad_()
    target = torch.randn(2, 5, 2, dtype=torch.float64)
    weight = torch.rand(2, 5, dtype=torch.float64)
    target[0, 1], weight[0, 1], target[1, 4], weight[1, 4] = torch.nan, 0, torch.nan, 0
    loss = laplacian_loss(prediction, target, cholesky, weight=weight)
    loss.backward()
    keep = weight > 0
    each = nll_by_definition((prediction - target)[keep], cholesky[keep])
    assert loss.item() == pytest.approx(((weight[keep] * each).sum() / weight.sum()).item(), abs=1e-6)
    assert torch.isfinite(prediction.grad).all() and torch.isfinite(cholesky.grad).all()
    assert (prediction.grad[~keep] == 0).all() and (cholesky.grad[~keep] == 0).all()
    assert (prediction.grad[keep] != 0).all()


def test_nothing_labelled_scores_zero_with_zero_gradient():
    prediction = torch.ones(2, 3, 2, requires_grad=True)
    cholesky = torch.eye(2).expand(2, 3, 2, 2)
    loss = laplacian_loss(prediction, torch.full((2, 3, 2), torch.nan), cholesky, weight=torch.zeros(2, 3))
    loss.backward()
    assert loss.item() == 0 and (prediction.grad == 0).all()


def test_four_dimensions_are_refused():
    with pytest.raises(ValueError, match="1, 2 or 3 coordinates, found 4"):
        laplacian_nll(torch.zeros(4), torch.eye(4))


def test_cholesky_from_raw_by_hand():
    """ELU(1) + 1 = 2; ELU(-2) + 1 = exp(-2); the off-diagonal passes as it is."""
    factor = cholesky_from_raw(double([1.0, -0.4, -2.0]), floor=0.01)
    torch.testing.assert_close(factor, double([[2.01, 0.0], [-0.4, math.exp(-2) + 0.01]]))


def test_cholesky_from_raw_is_elu_and_smooth_at_zero():
    raw = torch.linspace(-3, 3, 25, dtype=torch.float64).repeat(3, 1).T.contiguous().requires_grad_()
    factor = cholesky_from_raw(raw, floor=0.0)
    torch.testing.assert_close(factor[:, 0, 0], torch.nn.functional.elu(raw[:, 0]) + 1)
    slope = torch.autograd.grad(factor[:, 0, 0].sum(), raw)[0][:, 0]
    assert slope[12].item() == pytest.approx(1, abs=1e-12)  # raw = 0, where both branches meet


def test_cholesky_stays_positive_and_precise_in_float32_far_below_zero():
    factor = cholesky_from_raw(torch.tensor([-12.0, 0.0, -200.0]), floor=0.0)
    assert factor[0, 0].item() == pytest.approx(math.exp(-12), rel=1e-6)
    assert cholesky_from_raw(torch.full((3,), -1e4)).diagonal().tolist() == pytest.approx([1e-4, 1e-4])


def test_beta_gives_uncertain_points_their_gradient_back():
    prediction = torch.tensor([[0.0, 0.0], [0.0, 0.0]], requires_grad=True)
    target = torch.tensor([[0.3, 0.0], [0.3, 0.0]])
    cholesky = torch.eye(2) * torch.tensor([0.1, 0.4])[:, None, None]
    pulls = []
    for beta in (0.0, 0.5, 1.0):
        prediction.grad = None
        laplacian_loss(prediction, target, cholesky, beta=beta).backward()
        certain, uncertain = prediction.grad.norm(dim=-1).tolist()
        pulls.append(certain / uncertain)
    assert pulls == pytest.approx([4.0, 2.0, 1.0], rel=1e-4)


def test_beta_leaves_the_best_covariance_where_it_is():
    prediction, target = torch.zeros(1, 2), torch.tensor([[0.3, 0.0]])
    gradients = []
    for beta in (0.0, 0.5):
        raw = torch.tensor([[-1.0, 0.2, -0.5]], requires_grad=True)
        laplacian_loss(prediction, target, cholesky_from_raw(raw), beta=beta).backward()
        gradients.append(raw.grad)
    torch.testing.assert_close(*gradients)
