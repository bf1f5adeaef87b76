"""Points of heads and all their derivatives, against automatic ones in float64, and the camera's equations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scenes import K, front, scene

from facelift.fitting.config import FitConfig
from facelift.fitting.head import FittableHead, SkinnedHead, rotation_slope
from facelift.fitting.levenberg import Minimum, minimise
from facelift.fitting.normal_equations import NormalEquations
from facelift.fitting.observed import observed
from facelift.fitting.state import FARTHER, State
from facelift.fitting.systems import Independent, SharedShape, damped
from facelift.fitting.ties import TiedFrames, rotation_vector
from facelift.geometry.rotation import rotation_from_vector

MODELS = ("flame", "flame_with_neck", "procedural")


@pytest.fixture(scope="session")
def flame_with_neck(flame):
    """Its neck, which carries all other joints, is free too."""
    limits = flame.joints.limits_rad.copy()
    limits[0] = [-0.6, 0.6]
    assert flame.joints.names[0] == "neck" and not flame.joints.free[0].any()
    return replace(flame, joints=replace(flame.joints, limits_rad=limits))


@pytest.fixture(params=MODELS)
def model(request):
    return request.getfixturevalue(request.param)


def test_positions_are_the_models(model, rng):
    """The fit's whitened, chosen rows against the whole mesh of the model's own numbers."""
    chosen = front(model, 40, rng)
    head = SkinnedHead(model, chosen, dtype=torch.float64)
    assert isinstance(head, FittableHead)
    coefficients, joints = torch.randn(3, head.basis.shape[-1]).double(), 0.3 * torch.randn(3, head.joints).double()
    found = head.positions(coefficients, joints).numpy().transpose(0, 2, 1)
    np.testing.assert_allclose(found, model.vertices(*head.parameters(coefficients, joints))[:, chosen], atol=1e-7)


def test_weighted_points_are_within_the_stated_distance_of_the_surface(flame, rng):
    """Corners are mixed before they are skinned: exact at rest, within 2 % of what joints move elsewhere."""
    corners, weights = flame.faces[:50], rng.dirichlet(np.ones(3), 50)
    head = SkinnedHead(flame, corners, weights, dtype=torch.float64)
    coefficients, joints = torch.zeros(1, 35).double(), torch.full((1, head.joints), 0.2).double()
    surface = (flame.vertices(*head.parameters(coefficients, joints))[:, corners] * weights[..., None]).sum(2)
    rest = (flame.mean[corners] * weights[..., None]).sum(1)
    found = head.positions(coefficients, joints).numpy().transpose(0, 2, 1)
    np.testing.assert_allclose(head.positions(coefficients, 0 * joints).numpy()[0].T, rest, atol=1e-7)
    assert np.abs(found - surface).max() < 0.02 * np.abs(surface - rest).max()


def test_points_must_be_vertices(model):
    with pytest.raises(ValueError, match="points of a head: expected vertices 0"):
        SkinnedHead(model, np.array([0, len(model.mean)]))


def dense_jacobian(head, posed):
    """(b, 3, l, k) by coefficients, from its factors."""
    basis = head.basis.expand(len(posed.positions), -1, -1, -1)
    if posed.blend is None:
        return basis
    carried = torch.einsum("lm,bmck->bclk", head.carriers, posed.carried)
    return torch.einsum("bxyl,bylk->bxlk", posed.blend, basis) + carried


def test_derivatives_are_those_of_automatic_differentiation(model, rng):
    head = SkinnedHead(model, front(model, 30, rng), dtype=torch.float64)
    coefficients = torch.randn(1, head.basis.shape[-1], dtype=torch.float64)
    joints = 0.3 * torch.randn(1, head.joints, dtype=torch.float64)
    by_coefficient, by_joint = torch.autograd.functional.jacobian(
        lambda c, j: head.positions(c, j)[0], (coefficients, joints)
    )
    posed = head.at(coefficients, joints)
    torch.testing.assert_close(dense_jacobian(head, posed)[0], by_coefficient[:, :, 0], atol=1e-10, rtol=1e-8)
    torch.testing.assert_close(posed.by_joint[0], by_joint[:, :, 0], atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("length", [0.0, 1e-5, 1.5])
def test_slope_of_a_rotation(length):
    vector = torch.tensor([[0.6, -0.64, 0.48]], dtype=torch.float64) * length
    for axis in range(3):
        step = torch.zeros(1, 3, dtype=torch.float64)
        step[0, axis] = 1e-6
        wanted = (rotation_from_vector(vector + step) - rotation_from_vector(vector - step)) / 2e-6
        found = rotation_slope(vector, rotation_from_vector(vector), axis)
        torch.testing.assert_close(found, wanted, atol=1e-9, rtol=0)


def equations(model, rng, config, faces=2, frames=1, points=60):
    """Equations beside the solution: residuals are not zero."""
    seen = scene(model, rng, faces=faces, points=points)
    noisy = seen.points + rng.normal(0, 4, seen.points.shape)
    weights = rng.uniform(0, 1, noisy.shape)
    ones = np.ones(faces, bool)
    observations = observed(noisy, weights, np.broadcast_to(K, (faces, 3, 3)), ones, config, like=seen.head.basis)
    coefficients = torch.tensor(seen.coefficients)
    middle = seen.head.positions(coefficients * 0, torch.tensor(seen.joints) * 0)[0].mean(-1)
    rotation = torch.tensor(seen.rotation)
    place = rotation @ middle + torch.tensor(seen.translation)
    zero = torch.full((faces,), 0.05, dtype=torch.float64) * config.focal
    state = State(rotation, place, zero, coefficients, torch.tensor(seen.joints))
    return NormalEquations(seen.head, observations, middle, config, frames=frames), state


UNLIMITED = torch.tensor([-torch.inf, torch.inf])


@pytest.mark.parametrize("kernel", ["none", "huber", "cauchy"])
@pytest.mark.parametrize("focal", [False, True])
def test_gradient_is_the_slope_of_the_cost(model, rng, kernel, focal):
    found, state = equations(model, rng, FitConfig(kernel=kernel, focal=focal, noise=0.02, kernel_scale=0.5))
    _, gradient = found.evaluate(state)
    limits = UNLIMITED.expand(len(found.limits), 2)
    for unknown in range(sum(found.sizes)):
        step = torch.zeros_like(gradient)
        step[:, unknown] = 1e-5
        ahead, behind = (found.evaluate(state.moved(sign * step, limits))[0] for sign in (1, -1))
        torch.testing.assert_close((ahead - behind) / 2e-5, gradient[:, unknown], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kernel", ["none", "cauchy"])
def test_hessian_is_that_of_the_whole_jacobian(model, rng, kernel, monkeypatch):
    """All rows at once, by automatic differentiation of the weighted residuals."""
    config = FitConfig(kernel=kernel, focal=True, kernel_scale=0.5, noise=0.02)
    monkeypatch.setattr("facelift.fitting.normal_equations._POINTS", 25)  # some points at a time
    found, state = equations(model, rng, config)
    limits = UNLIMITED.expand(len(found.limits), 2)
    n = sum(found.sizes)

    def residuals(step):
        moved = state.moved(step.expand(2, -1), limits)
        pixels = found.project(moved)
        return (pixels - found.observations.points) * found.observations.weights

    J = torch.autograd.functional.jacobian(residuals, torch.full((1, n), 1e-9, dtype=torch.float64))[..., 0, :]
    error = residuals(torch.zeros(1, n, dtype=torch.float64))
    share = 1 / (1 + (error**2).sum(1) / config.kernel_scale**2) if kernel == "cauchy" else torch.ones(2, 60)
    wanted = torch.einsum("bali,bl,balj->bij", J, share.double(), J) + torch.diag(found.prior)
    torch.testing.assert_close(found.hessian(state, torch.arange(2)), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.hessian(state, torch.tensor([1])), wanted[1:], rtol=1e-5, atol=1e-5)


def test_ties_add_their_gradient_and_curvature(procedural, rng):
    config = FitConfig(smooth=0.7, noise=0.02)
    plain, state = equations(procedural, rng, config, faces=3, frames=3)
    tied = TiedFrames(plain, 3, 5)
    cost, gradient = tied.evaluate(state)
    assert cost.sum() > plain.evaluate(state)[0].sum()
    for face in range(3):
        for unknown in range(5, gradient.shape[1]):
            step = torch.zeros_like(gradient)
            step[face, unknown] = 1e-6
            limits = UNLIMITED.expand(len(tied.limits), 2)
            ahead, behind = (tied.evaluate(state.moved(sign * step, limits))[0].sum() for sign in (1, -1))
            torch.testing.assert_close((ahead - behind) / 2e-6, gradient[face, unknown], rtol=1e-4, atol=1e-3)


def test_rotation_vector_is_the_inverse_of_the_rotation():
    vectors = torch.tensor([[0.0, 0, 0], [1e-9, 0, 0], [0.3, -0.4, 1.1], [0, 2.9, 0]], dtype=torch.float64)
    torch.testing.assert_close(rotation_vector(rotation_from_vector(vectors)), vectors, atol=1e-12, rtol=0)


def spd(*shape, generator):
    root = torch.randn(*shape, shape[-1], generator=generator, dtype=torch.float64)
    return root @ root.mT + 0.1 * torch.eye(shape[-1], dtype=torch.float64)


@pytest.mark.parametrize("tie", [0.0, 3.0])
def test_shared_shape_solves_the_whole_system(tie):
    """Against one dense matrix of shape and all frames: 2 persons, 4 frames, 3 shape and 5 own unknowns."""
    generator = torch.Generator().manual_seed(3)
    hessian, gradient = spd(8, 8, generator=generator), torch.randn(8, 8, generator=generator, dtype=torch.float64)
    fixed = torch.zeros(8, 8, dtype=torch.bool)
    fixed[2, 6] = fixed[3, 6] = True
    damping = torch.tensor([0.1, 0.3], dtype=torch.float64)
    system = SharedShape(2, 4, 3, torch.full((5,), tie, dtype=torch.float64))
    system.factor(hessian, damping, fixed, torch.arange(2))
    found = system.solve(gradient)
    for person in range(2):
        total, right = torch.zeros(23, 23, dtype=torch.float64), torch.zeros(23, dtype=torch.float64)
        own = hessian[4 * person : 4 * person + 4].clone()
        for frame in range(4):
            neighbours = (frame > 0) + (frame < 3)
            own[frame, 3:, 3:] += neighbours * tie * torch.eye(5, dtype=torch.float64)
        own = damped(own, damping[person].expand(4), fixed[4 * person : 4 * person + 4])
        for frame in range(4):
            index = torch.cat([torch.arange(3), 3 + 5 * frame + torch.arange(5)])
            total[index[:, None], index] += own[frame]
            right[index] -= torch.where(fixed, 0.0, gradient)[4 * person + frame]
            if frame < 3:
                free = ~(fixed[4 * person + frame, 3:] | fixed[4 * person + frame + 1, 3:])
                here, there = 3 + 5 * frame + torch.arange(5)[free], 8 + 5 * frame + torch.arange(5)[free]
                total[here, there] -= tie
                total[there, here] -= tie
        step = torch.linalg.solve(total, right)
        for frame in range(4):
            wanted = torch.cat([step[:3], step[3 + 5 * frame : 8 + 5 * frame]])
            torch.testing.assert_close(found[4 * person + frame], wanted, atol=1e-9, rtol=1e-9)


def test_fixed_unknowns_get_no_step_and_change_no_other():
    generator = torch.Generator().manual_seed(4)
    hessian, gradient = spd(1, 5, generator=generator), torch.randn(1, 5, generator=generator, dtype=torch.float64)
    fixed = torch.tensor([[False, True, False, False, True]])
    system = Independent(1, 5, hessian)
    system.factor(hessian, torch.zeros(1, dtype=torch.float64), fixed, torch.arange(1))
    step = system.solve(gradient)[0]
    free = ~fixed[0]
    assert (step[~free] == 0).all()
    wanted = -torch.linalg.solve(hessian[0][free][:, free], gradient[0, free])
    torch.testing.assert_close(step[free], wanted, atol=1e-9, rtol=1e-8)


def test_matrices_that_are_not_positive_definite_are_refused():
    """[[1, 2], [2, 1]] has the eigenvalues 3 and -1: it takes a damping of its diagonal above 1."""
    hessian = torch.tensor([[[1.0, 2], [2, 1]], [[2.0, 1], [1, 2]]], dtype=torch.float64)
    free, both = torch.zeros(2, 2, dtype=torch.bool), torch.arange(2)
    weak, strong = torch.full((2,), 1e-3, dtype=torch.float64), torch.full((2,), 1.5, dtype=torch.float64)
    for tie in (0.0, 0.1):
        shared = SharedShape(1, 2, 0, torch.full((2,), tie, dtype=torch.float64))
        assert shared.factor(hessian, weak[:1], free, both[:1]).tolist() == [True]
        assert shared.factor(hessian, strong[:1], free, both[:1]).tolist() == [False]
    system = Independent(2, 2, hessian)
    assert system.factor(hessian, weak, free, both).tolist() == [True, False]
    assert system.factor(hessian, strong, free, both).tolist() == [False, False]
    step = system.solve(torch.tensor([[1.0, 0], [1, 0]], dtype=torch.float64))
    wanted = -torch.linalg.solve(damped(hessian, strong, free), torch.tensor([[1.0], [0]], dtype=torch.float64))
    torch.testing.assert_close(step, wanted[..., 0])


class Bowl:
    """1/2 |c - target|^2 of two coefficients, and 1/2 of the squared log distance to 1, with a Hessian of choice."""

    limits = UNLIMITED.double().expand(2, 2)

    def __init__(self, hessian, target=(3.0, -1.0), wrong=1.0):
        self.own, self.target, self.wrong = hessian, torch.tensor(target, dtype=torch.float64), wrong

    def evaluate(self, state):
        away, far = state.coefficients - self.target, state.place[:, 2].log()
        gradient = away.new_zeros(len(away), 8)
        gradient[:, :2], gradient[:, 7] = self.wrong * away, self.wrong * far
        return 0.5 * (away**2).sum(1) + 0.5 * far**2, gradient

    def hessian(self, state, faces):
        whole = torch.eye(8, dtype=torch.float64)
        whole[:2, :2] = self.own
        return whole.expand(len(faces), -1, -1)


def descended(bowl, depth=1.0, iterations=60) -> Minimum:
    eye, zero = torch.eye(3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)
    state = State(eye[None], zero + depth * eye[2], zero[:, 0], zero[:, :2], zero[:, :0])
    active = torch.ones(1, dtype=torch.bool)
    return minimise(bowl, Independent(1, 8, zero), state, iterations=iterations, active=active, tolerance=1e-8)


def test_an_indefinite_hessian_raises_the_damping_without_a_lost_step():
    found = descended(Bowl(torch.tensor([[1.0, 3], [3, 1]], dtype=torch.float64)), iterations=1)
    assert found.cost[0] < 5  # of (3^2 + 1^2) / 2
    whole = descended(Bowl(torch.tensor([[1.0, 3], [3, 1]], dtype=torch.float64)))
    assert whole.cost[0] < 1e-3


def test_a_fit_that_cannot_step_has_not_converged():
    """The gradient points uphill, so that every step is rejected until no damping is left."""
    stuck = descended(Bowl(torch.eye(2, dtype=torch.float64), wrong=-1.0))
    assert not stuck.converged[0] and stuck.cost[0] == 5
    assert descended(Bowl(torch.eye(2, dtype=torch.float64))).converged[0]


def test_a_step_tells_what_was_done_at_its_limits():
    zero = torch.zeros(1, 3, dtype=torch.float64)
    before = State(torch.eye(3, dtype=torch.float64)[None], zero + 2, zero[:, 0], zero[:, :2], zero[:, :0])
    step = torch.tensor([[5.0, 0.1, 0, 0, 0, 0, 0, -7.0]], dtype=torch.float64)
    limits = torch.tensor([[-1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    after = before.moved(step, limits)
    done = after.step_from(before, step)
    assert done.tolist() == [[1.0, 0.1, 0, 0, 0, 0, 0, -FARTHER]]
    assert (after.place[0, 2] / 2).log().item() == pytest.approx(done[0, 7].item())
