"""Dense points' likelihoods are densities, right by hand, smooth; so is the flow, and it can be undone."""

import math

import numpy as np
import pytest
import torch

from facelift.losses.dense_likelihood import (
    gaussian_nll,
    independent_laplacian_nll,
    log_mean_density,
    residual_nll,
)
from facelift.losses.vertex_edges import vertex_edge_loss
from facelift.models.flow import RealNVP


@pytest.fixture
def flow() -> RealNVP:
    """Far from the identity, so that what a flow adds can be seen."""
    torch.manual_seed(3)
    flow = RealNVP().double()
    with torch.no_grad():
        for network in (*flow.scales, *flow.shifts):
            for layer in network:
                if isinstance(layer, torch.nn.Linear):
                    layer.weight.normal_(0, 1.2 / layer.in_features**0.5)
                    layer.bias.normal_(0, 0.2)
    return flow


def grid(reach: float, count: int) -> tuple[torch.Tensor, float]:
    """Middles of cells of a square about zero, and the cells' area."""
    line = (torch.arange(count, dtype=torch.float64) + 0.5) / count * 2 * reach - reach
    return torch.cartesian_prod(line, line), (2 * reach / count) ** 2


@pytest.mark.parametrize("nll", [gaussian_nll, independent_laplacian_nll])
def test_densities_integrate_to_one_with_the_stated_deviations(nll):
    sigma = torch.tensor([0.7, 0.2], dtype=torch.float64)
    points, cell = grid(6, 800)
    density = (-nll(points, sigma.expand_as(points))).exp() * cell
    assert float(density.sum()) == pytest.approx(1, abs=2e-3)
    assert (density @ points.square()).sqrt().tolist() == pytest.approx([0.7, 0.2], rel=2e-3)


def test_values_by_hand():
    residual, sigma = torch.tensor([[0.3, -0.4]]), torch.tensor([[0.1, 0.2]])
    gaussian = math.log(0.1) + math.log(0.2) + math.log(2 * math.pi) + 0.5 * (9 + 4)
    laplacian = math.log(2 * 0.1 * 0.2) + math.sqrt(2) * (3 + 2)
    assert gaussian_nll(residual, sigma).item() == pytest.approx(gaussian, abs=1e-5)
    assert independent_laplacian_nll(residual, sigma).item() == pytest.approx(laplacian, abs=1e-5)


def test_the_flows_density_integrates_to_one(flow):
    points, cell = grid(16, 200)
    with torch.no_grad():
        density = flow.log_density(points).exp()
    assert density.max() < 5 and float(density.sum() * cell) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("base", ["gaussian", "laplacian"])
def test_the_residual_likelihood_is_a_density(flow, base):
    """Riemann sum over a fine grid; without Z it would be something else."""
    sigma = torch.tensor([0.3, 0.15], dtype=torch.float64)
    points, cell = grid(2.5, 200)
    with torch.no_grad():
        density = (-residual_nll(points, sigma.expand_as(points), flow, base)).exp()
        z = log_mean_density(flow, base).exp()
    assert float(density.sum() * cell) == pytest.approx(1, abs=0.02)
    assert z < 0.5


@pytest.mark.parametrize("base", ["gaussian", "laplacian"])
@pytest.mark.parametrize("middle", [0.0, 0.55, 1.1, 2.5])
@pytest.mark.parametrize("deviation", [0.05, 0.1, 0.2, 0.42, 1.0, 3.0])
def test_no_mass_hides_from_the_quadrature(base, middle, deviation):
    """Flows that scale and shift alone: their integrals with the base are products of one-dimensional ones."""
    flow = RealNVP().double()
    with torch.no_grad():
        for value in flow.parameters():
            value.zero_()
        for scale, shift in zip(flow.scales, flow.shifts, strict=True):
            scale[4].bias.fill_(math.atanh(math.log(deviation) / 3 * (1 - 1e-9)))  # three couplings a coordinate
            shift[4].bias.zero_()
        for shift in flow.shifts[-2:]:
            shift[4].bias.fill_(middle)
    x = middle + deviation * np.linspace(-12, 12, 200_001)
    normal = np.exp(-0.5 * ((x - middle) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))
    laplacian = base == "laplacian"
    q = np.exp(-math.sqrt(2) * abs(x)) / math.sqrt(2) if laplacian else np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    expected = np.trapezoid(q * normal, x) ** 2
    assert log_mean_density(flow, base).exp().item() == pytest.approx(expected, rel=0.03)


def test_a_fresh_flow_changes_the_base_by_a_gaussian_alone():
    torch.manual_seed(0)
    flow, x = RealNVP(), torch.randn(50, 2)
    expected = -math.log(2 * math.pi) - 0.5 * x.square().sum(-1)
    torch.testing.assert_close(flow.log_density(x), expected, atol=2e-3, rtol=0)


def test_the_flow_is_undone_by_its_inverse(flow):
    base = torch.randn(64, 2, dtype=torch.float64)
    found, _ = flow.inverse(flow(base))
    torch.testing.assert_close(found, base, atol=1e-9, rtol=0)
    assert (flow(base) - base).abs().mean() > 0.3


def test_its_log_determinant_is_that_of_autograds_jacobian(flow):
    x = torch.randn(8, 2, dtype=torch.float64)
    _, claimed = flow.inverse(x)
    for one, log_determinant in zip(x, claimed, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda value: flow.inverse(value)[0], one)
        assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(log_determinant.item(), abs=1e-9)
    assert claimed.abs().max() > 0.1


def test_gradients(flow):
    torch.manual_seed(1)
    residual = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    sigma = torch.rand(5, 2, dtype=torch.float64).add(0.2).requires_grad_()
    for function in (
        gaussian_nll,
        independent_laplacian_nll,
        lambda r, s: residual_nll(r, s, flow, "gaussian"),
        lambda r, s: residual_nll(r, s, flow, "laplacian"),
    ):
        assert torch.autograd.gradcheck(function, (residual, sigma))
    residual_nll(residual, sigma, flow, "laplacian").sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in flow.parameters())


def test_edges_by_hand():
    """One end moved by (3, 4) in one of three edges' two: lengths 5, 5 and 0 of a triangle; NaN takes an edge out."""
    target = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    found = target + torch.tensor([[[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]]])
    edges = torch.tensor([[0, 1], [1, 2], [0, 2]])
    assert vertex_edge_loss(found, target, edges).item() == pytest.approx(10 / 3, abs=1e-4)
    assert vertex_edge_loss(found + 7, target, edges).item() == pytest.approx(10 / 3, abs=1e-4)
    unknown = target.clone()
    unknown[0, 2] = torch.nan
    found.requires_grad_()
    loss = vertex_edge_loss(found, unknown, edges)
    loss.backward()
    assert loss.item() == pytest.approx(5, abs=1e-4) and torch.isfinite(found.grad).all()
    double = target.double().add(0.3 * torch.randn(1, 3, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: vertex_edge_loss(p, target.double(), edges), (double,))
