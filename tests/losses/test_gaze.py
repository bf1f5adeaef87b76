"""The gaze loss: by hand on a grid of 2 x 2 cells, and what it leaves alone."""

import math

import pytest
import torch

from facelift.losses.gaze import gaze_loss
from facelift.models.decoder import TokenDecoder

SHARES = torch.tensor([0.1, 0.2, 0.3, 0.4])
"""Of the cells, row by row: the upper two, the lower two."""


def loss(points: list[tuple[float, float]], weight: list[float] | None = None) -> float:
    gaze = SHARES.expand(1, 1, len(points), 4)
    return gaze_loss(gaze, torch.tensor([points]), weight=None if weight is None else torch.tensor([weight])).item()


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0.25, 0.25), -math.log(0.1)),  # the middle of a cell; x right, y down
        ((0.75, 0.25), -math.log(0.2)),
        ((0.25, 0.75), -math.log(0.3)),
        ((0.5, 0.25), -(math.log(0.1) + math.log(0.2)) / 2),
        ((0.375, 0.75), -(0.75 * math.log(0.3) + 0.25 * math.log(0.4))),
        ((0.5, 0.5), -sum(math.log(0.1 * i) for i in range(1, 5)) / 4),
        ((0.0, 1.0), -math.log(0.3)),  # nearer to the border than any middle
        ((-0.01, 0.5), 0.0),
        ((0.5, 1.2), 0.0),
        ((math.nan, 0.5), 0.0),
    ],
)
def test_by_hand(point, expected):
    assert loss([point]) == pytest.approx(expected, abs=2e-5)


def test_only_landmarks_inside_count_by_their_weight():
    points = [(0.25, 0.25), (0.75, 0.75), (math.nan, math.nan), (2.0, 0.5)]
    assert loss(points) == pytest.approx(-(math.log(0.1) + math.log(0.4)) / 2, abs=2e-5)
    assert loss(points, [1.0, 3.0, 1.0, 1.0]) == pytest.approx(-(math.log(0.1) + 3 * math.log(0.4)) / 4, abs=2e-5)
    assert loss(points, [0.0, 0.0, 1.0, 1.0]) == 0


def test_blocks_are_summed():
    gaze = torch.stack([SHARES, SHARES.flip(0)])[None, :, None]
    expected = -math.log(0.1) - math.log(0.4)
    assert gaze_loss(gaze, torch.tensor([[[0.25, 0.25]]])).item() == pytest.approx(expected, abs=2e-5)


def test_gradient_is_that_of_differences_and_never_nan():
    torch.manual_seed(0)
    points = torch.rand(2, 5, 2).double()
    points[0, 0], points[1, 3] = math.nan, 1.5
    logits, weight = torch.randn(2, 2, 5, 9).double().requires_grad_(), torch.rand(2, 5).double()
    assert torch.autograd.gradcheck(lambda x: gaze_loss(x.softmax(-1), points, weight=weight), logits)
    certain = torch.zeros(1, 1, 1, 4, requires_grad=True)
    gaze_loss(certain, torch.tensor([[[0.5, 0.5]]])).backward()
    assert torch.isfinite(certain.grad).all()


def test_it_teaches_queries_and_keys_of_all_blocks_but_the_last_and_is_learned():
    torch.manual_seed(0)
    decoder, image = TokenDecoder(tokens=101, image_width=8, image_tokens=64), torch.randn(2, 64, 8)
    points = torch.rand(2, 98, 2)
    optimizer = torch.optim.Adam(decoder.parameters(), 2e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        losses.append(gaze_loss(decoder(image, gaze=True).gaze, points))
        losses[-1].backward()
        optimizer.step()
    for block in decoder.blocks[:-1]:
        assert block.cross.query.weight.grad.abs().max() > 0
        assert block.cross.key_value.weight.grad[: decoder.width].abs().max() > 0
    assert decoder.blocks[-1].cross.query.weight.grad is None
    assert losses[-1] < losses[0] - 1
