"""The face finder's loss: who answers, for what, and what is left out."""

import pytest
import torch

from facelift.losses.finding import SceneTruth, _grid, assign, box_overlaps, finder_losses
from facelift.models.finder import Found

HW = (128, 128)
NAN = float("nan")
FACE = torch.tensor([[[40.0, 44.0, 60.0, 68.0]]])  # middle (50, 56), longer side 24
POINTS = torch.tensor([[[[44.0, 50.0], [56.0, 50.0], [50.0, 56.0], [45.0, 62.0], [55.0, 62.0]]]])
NOWHERE = torch.full((1, 1, 4), NAN)


def answer(logit: float = -8.0) -> Found:
    """Nobody anywhere; boxes of 1 px."""
    middles = _grid(HW, torch.zeros(()))[0]
    boxes = torch.cat([middles - 0.5, middles + 0.5], dim=-1)
    return Found(torch.full((1, len(middles)), logit), boxes[None], middles[None, :, None].repeat(1, 1, 5, 1))


def test_overlaps_by_hand():
    """Squares of 2, moved by 1: shared 2, union 6, hull 6. Moved by 4: nothing shared, union 8, hull 12."""
    a = torch.tensor([[0.0, 0, 2, 2]]).repeat(2, 1)
    overlap, generalised = box_overlaps(a, torch.tensor([[1.0, 0, 3, 2], [4.0, 0, 6, 2]]))
    assert overlap.tolist() == pytest.approx([1 / 3, 0])
    assert generalised.tolist() == pytest.approx([1 / 3, -1 / 3])


def test_cells_answer_by_size_and_distance():
    """24 px: the finest grid alone, the cells within 12 px of (50, 56) along x and y; 34 px: the next grid's too."""
    middles, strides, low, high = _grid(HW, torch.zeros(()))
    small = assign(FACE, middles, strides, low, high)[0]
    chosen = middles[small >= 0]
    assert set(strides[small >= 0].tolist()) == {8.0}
    assert sorted(set(chosen[:, 0].tolist())) == [44, 52, 60] and sorted(set(chosen[:, 1].tolist())) == [52, 60]
    larger = assign(torch.tensor([[[33.0, 39.0, 67.0, 73.0]]]), middles, strides, low, high)[0]
    assert set(strides[larger >= 0].tolist()) == {8.0, 16.0}


def test_of_two_faces_the_smaller_has_the_cell():
    middles, strides, low, high = _grid(HW, torch.zeros(()))
    both = torch.cat([FACE, torch.tensor([[[46.0, 52.0, 56.0, 62.0]]]), NOWHERE], dim=1)
    face = assign(both, middles, strides, low, high)[0]
    assert face[(middles == torch.tensor([52.0, 52.0])).all(1)].tolist()[0] == 1
    assert set(face.tolist()) <= {-1, 0, 1}


def test_a_perfect_answer_costs_nothing():
    found = answer()
    middles, strides, low, high = _grid(HW, torch.zeros(()))
    mine = assign(FACE, middles, strides, low, high)[0] >= 0
    found.logits[0, mine] = 12.0
    found.boxes[0, mine] = FACE[0]
    found.points[0, mine] = POINTS[0]
    losses = finder_losses(found, SceneTruth(FACE, POINTS, NOWHERE), HW)
    assert all(abs(value.item()) < 1e-4 for value in losses.values())
    moved = found._replace(boxes=found.boxes + 3, points=found.points + 3)
    worse = finder_losses(moved, SceneTruth(FACE, POINTS, NOWHERE), HW)
    assert worse["score"] > 0.05 and worse["box"] > 0.2  # an overlap of less than 1 is what the score must tell
    assert worse["points"].item() == pytest.approx(3 / 24 - 0.025, abs=1e-5)  # smooth L1 beyond its beta of 0.05


def test_points_without_a_label_do_not_count():
    found = answer()
    half = POINTS.clone()
    half[0, 0, 1:] = NAN
    losses = finder_losses(found, SceneTruth(FACE, half, NOWHERE), HW)
    first = finder_losses(
        found._replace(points=found.points + torch.tensor([0.0, 9.0])), SceneTruth(FACE, half, NOWHERE), HW
    )
    assert torch.isfinite(losses["points"]) and losses["points"] != first["points"]
    nothing = finder_losses(found, SceneTruth(FACE, torch.full_like(POINTS, NAN), NOWHERE), HW)
    assert nothing["points"].item() == 0


def test_ignored_places_cost_nothing():
    """A sure answer where nobody knows is not punished, elsewhere it is; a face inside still counts."""
    sure, truth = (
        answer(3.0),
        SceneTruth(NOWHERE, torch.full_like(POINTS, NAN), torch.tensor([[[0.0, 0.0, 200.0, 200.0]]])),
    )
    assert finder_losses(sure, truth, HW)["score"].item() == 0
    assert finder_losses(sure, truth._replace(ignored=NOWHERE), HW)["score"] > 10
    within = truth._replace(boxes=FACE, points=POINTS)
    assert finder_losses(answer(), within, HW)["score"] > 0


def test_gradients_reach_every_output():
    found = Found(*(value.clone().requires_grad_() for value in answer(-1.0)))
    sum(finder_losses(found, SceneTruth(FACE, POINTS, NOWHERE), HW).values()).backward()
    assert all(torch.isfinite(value.grad).all() and value.grad.abs().sum() > 0 for value in found)
