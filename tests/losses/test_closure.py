"""How far lids and lips are apart: what the closure loss sees and what it leaves alone."""

import numpy as np
import pytest
import torch

from facelift.landmarks import WFLW98
from facelift.losses.closure import PAIRS, closure_loss
from facelift.losses.points import SMALL_ERROR


def test_pairs_face_each_other_on_both_sides_of_the_face():
    mirrored = {tuple(int(WFLW98.mirror[i]) for i in pair) for pair in PAIRS}
    assert mirrored == set(PAIRS)
    regions = [{name for name, chosen in WFLW98.regions.items() if i in chosen} for pair in PAIRS for i in pair]
    assert regions == 6 * 2 * [{"eyes"}] + 3 * 2 * [{"mouth"}]


def test_a_face_that_moved_as_a_whole_has_no_error_and_a_shut_lid_its_square():
    torch.manual_seed(0)
    target = torch.rand(1, 98, 2)
    assert closure_loss(target + torch.tensor([0.1, -0.2]), target).item() == pytest.approx(0, abs=1e-8)
    points = target.clone()
    points[0, 62, 1] += 3 * SMALL_ERROR
    assert closure_loss(points, target).item() == pytest.approx(9 / len(PAIRS), rel=1e-5)


def test_unlabelled_pairs_do_not_count_and_send_no_gradient():
    target, points = torch.rand(2, 98, 2), torch.rand(2, 98, 2, requires_grad=True)
    target[0] = np.nan
    target[1, 61:68] = np.nan
    closure_loss(points, target).backward()
    assert torch.isfinite(points.grad).all() and not points.grad[0].any() and not points.grad[1, 61:68].any()
    assert points.grad[1, 69].all()
    assert closure_loss(points, torch.full_like(target, np.nan)).item() == 0
    assert closure_loss(points[:0], target[:0]).item() == 0
