"""Points, translation, rotation and visibility terms: by hand, against SciPy, and with labels missing."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from facelift.losses import (
    geodesic_loss,
    laplacian_loss,
    points_mse,
    projected_loss,
    state_cross_entropy,
    translation_mse,
    visibility_bce,
)
from facelift.losses.masked_mean import masked_mean


def test_points_mse_by_hand():
    """Squared errors 1, 4, 9 of three coordinates: 14/3. Another landmark is off by 1 everywhere: 1."""
    prediction = torch.tensor([[[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]])
    target = torch.zeros(1, 2, 3)
    assert points_mse(prediction, target).item() == pytest.approx((14 / 3 + 1) / 2)
    assert points_mse(prediction, target, weight=torch.tensor([[3.0, 1.0]])).item() == pytest.approx(15 / 4)


def test_points_mse_without_weight_is_torchs():
    torch.manual_seed(0)
    a, b = torch.randn(2, 4, 7, 3)
    torch.testing.assert_close(points_mse(a, b), torch.nn.functional.mse_loss(a, b))


def test_unlabelled_points_give_no_gradient():
    prediction = torch.ones(1, 2, 3, requires_grad=True)
    target = torch.tensor([[[torch.nan] * 3, [0.0, 0.0, 3.0]]])
    points_mse(prediction, target, weight=torch.tensor([[0.0, 1.0]])).backward()
    torch.testing.assert_close(prediction.grad, torch.tensor([[[0.0] * 3, [2 / 3, 2 / 3, -4 / 3]]]))


def test_projected_losses_by_hand_in_units_of_two_percent():
    """(0.06, -0.08) is 3 and -4 units; the other landmark has no label."""
    prediction = torch.tensor([[[0.56, 0.42], [0.1, 0.1]]])
    target = torch.tensor([[[0.5, 0.5], [torch.nan] * 2]])
    cholesky, weight = torch.diag(torch.tensor([0.05, 0.02])).expand(1, 2, 2, 2), torch.tensor([[2.0, 0.0]])
    losses = {kind: projected_loss(prediction, target, cholesky, kind=kind, weight=weight) for kind in ("l1", "mse")}
    assert losses["l1"].item() == pytest.approx(7, rel=1e-5) and losses["mse"].item() == pytest.approx(25, rel=1e-5)
    known, unlike = torch.tensor([[[0.5, 0.5], [0.2, 0.1]]]), cholesky * torch.tensor([1.0, 3.0])[:, None, None]
    weight = torch.tensor([[2.0, 1.0]])
    likelihoods = {beta: laplacian_loss(prediction, known, unlike, weight=weight, beta=beta) for beta in (0.0, 0.5)}
    assert abs(likelihoods[0.0] - likelihoods[0.5]) > 0.01  # beta tells points of unlike sigma apart
    for beta, likelihood in likelihoods.items():
        assert projected_loss(prediction, known, unlike, weight=weight, beta=beta) == likelihood


def test_translation_mse_by_hand():
    assert translation_mse(torch.tensor([[3.0, 0.0, 4.0]]), torch.zeros(1, 3)).item() == pytest.approx(25 / 3)


def test_masked_mean_of_nothing_is_zero_and_differentiable():
    values = torch.tensor([2.0, 5.0], requires_grad=True)
    mean = masked_mean(values, torch.zeros(2))
    mean.backward()
    assert mean.item() == 0 and values.grad.tolist() == [0, 0]


def random_rotations(count: int, seed: int) -> np.ndarray:
    return Rotation.random(count, rng=np.random.default_rng(seed)).as_matrix()


def test_geodesic_loss_is_the_mean_angle_that_scipy_finds():
    a, b = random_rotations(50, 0), random_rotations(50, 1)
    expected = (Rotation.from_matrix(a) * Rotation.from_matrix(b).inv()).magnitude()
    weight = np.linspace(0, 2, 50)
    loss = geodesic_loss(torch.tensor(a), torch.tensor(b), weight=torch.tensor(weight))
    assert loss.item() == pytest.approx(np.average(expected, weights=weight), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle_deg", [0.0, 1e-3, 90.0, 179.999, 180.0])
def test_geodesic_gradient_is_finite_and_value_right(angle_deg, dtype):
    turn = Rotation.from_rotvec(np.radians(angle_deg) * np.array([2, -1, 2]) / 3).as_matrix()
    start = random_rotations(1, 3)[0]
    prediction = torch.tensor((turn @ start)[None], dtype=dtype, requires_grad=True)
    loss = geodesic_loss(prediction, torch.tensor(start[None], dtype=dtype))
    loss.backward()
    tolerance = 1e-6 if dtype == torch.float64 else 2e-6
    assert loss.item() == pytest.approx(math.radians(angle_deg), abs=tolerance)
    assert torch.isfinite(prediction.grad).all()


def test_geodesic_ignores_missing_rotations():
    prediction = torch.eye(3).repeat(2, 1, 1).requires_grad_()
    target = torch.stack([torch.full((3, 3), torch.nan), torch.diag(torch.tensor([1.0, -1.0, -1.0]))])
    loss = geodesic_loss(prediction, target, weight=torch.tensor([0.0, 1.0]))
    loss.backward()
    assert loss.item() == pytest.approx(math.pi) and torch.isfinite(prediction.grad).all()


def test_visibility_by_hand_counts_only_known_states():
    """Logit log 3 is a probability of 3/4: -log 3/4 if visible, -log 1/4 for either kind of occlusion."""
    logits = torch.full((1, 4), math.log(3.0), requires_grad=True)
    loss = visibility_bce(logits, torch.tensor([[0, 1, 2, -1]]))
    loss.backward()
    assert loss.item() == pytest.approx((-math.log(3 / 4) - 2 * math.log(1 / 4)) / 3, rel=1e-6)
    assert logits.grad[0].tolist() == pytest.approx([-1 / 12, 1 / 4, 1 / 4, 0])


def test_visibility_of_unknown_states_is_zero_and_huge_logits_stay_finite():
    assert visibility_bce(torch.ones(2, 3), torch.full((2, 3), -1)).item() == 0
    assert visibility_bce(torch.tensor([[500.0]]), torch.tensor([[1]])).item() == pytest.approx(500)


def test_state_cross_entropy_is_the_sum_over_known_states_written_out():
    torch.manual_seed(2)
    logits = torch.randn(3, 7, 3, dtype=torch.float64, requires_grad=True)
    state = torch.randint(-1, 3, (3, 7), dtype=torch.int8)
    assert (state == -1).any() and {0, 1, 2} <= set(state.ravel().tolist())
    total, count = 0.0, 0
    for face in range(3):
        for landmark in range(7):
            known = int(state[face, landmark])
            if known >= 0:
                odds = [math.exp(v) for v in logits[face, landmark].tolist()]
                total, count = total - math.log(odds[known] / sum(odds)), count + 1
    loss = state_cross_entropy(logits, state)
    assert loss.item() == pytest.approx(total / count, rel=1e-12)
    loss.backward()
    assert (logits.grad[state == -1] == 0).all() and (logits.grad[state >= 0] != 0).all()


def test_states_that_nobody_knows_cost_nothing():
    assert state_cross_entropy(torch.ones(2, 3, 3), torch.full((2, 3), -1)).item() == 0
    assert state_cross_entropy(torch.ones(0, 3, 3), torch.zeros(0, 3, dtype=torch.int8)).item() == 0
    huge = torch.tensor([[[500.0, 0.0, 0.0]]])
    assert state_cross_entropy(huge, torch.tensor([[1]])).item() == pytest.approx(500)
