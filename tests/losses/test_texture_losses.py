"""Losses of the texture GAN by hand."""

import pytest
import torch

from facelift.losses.least_squares_gan import critic_loss, generator_loss
from facelift.losses.seen_texels import seen_texels_loss


def test_least_squares_by_hand():
    """Real 2 and 0: ((2-1)^2 + (0-1)^2) / 2 = 1. Generated 3, 1, 2: from 0 (9 + 1 + 4) / 3, from 1 (4 + 0 + 1) / 3."""
    real, generated = torch.tensor([2.0, 0.0]), torch.tensor([3.0, 1.0, 2.0])
    assert critic_loss(real, generated).item() == pytest.approx((1 + 14 / 3) / 2)
    assert generator_loss(generated).item() == pytest.approx(5 / 6)


def test_a_perfect_critic_and_a_perfect_forger_lose_nothing():
    ones, zeros = torch.ones(2, 1, 3, 3), torch.zeros(2, 1, 3, 3)
    assert critic_loss(ones, zeros) == 0 and generator_loss(ones) == 0
    assert critic_loss(zeros, ones) == 1 and generator_loss(zeros) == 0.5


def test_the_best_critic_scores_the_share_of_real_ones():
    """The minimum over one score D of 1/2 p (D - 1)^2 + 1/2 q D^2 is p / (p + q) (Mao et al. 2017, Eq. 5)."""
    score = torch.zeros((), dtype=torch.float64, requires_grad=True)
    loss = critic_loss(score.expand(3), score.expand(5))
    loss.backward()
    assert score.grad.item() == pytest.approx(-1)  # (0 - 1) from the real ones, 0 from the others
    half = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    critic_loss(half.expand(3), half.expand(5)).backward()
    assert half.grad.item() == pytest.approx(0)


def test_gradients_of_the_generator_s_loss():
    scores = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(generator_loss, (scores,))


def test_only_seen_texels_count():
    prediction, target = torch.zeros(1, 3, 2, 2, requires_grad=True), torch.zeros(1, 3, 2, 2)
    target[0, :, 0, 0], target[0, :, 1, 1] = torch.tensor([0.3, -0.6, 0.0]), 9.0
    seen = torch.tensor([[[True, True], [False, False]]])
    loss = seen_texels_loss(prediction, target, seen)
    assert loss.item() == pytest.approx((0.3 + 0.6) / 3 / 2)
    loss.backward()
    assert not prediction.grad[0, :, 1].any() and prediction.grad[0, :2, 0, 0].all()
    assert seen_texels_loss(prediction, target, torch.zeros_like(seen)) == 0
