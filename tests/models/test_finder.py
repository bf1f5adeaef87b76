"""The face finder's network: which cell says what, by hand, for pictures of any shape."""

import pytest
import torch

from facelift.models.finder import STRIDES, FaceFinderNetwork, _decode, cells


def test_cells_by_hand():
    """Two rows of three cells of 8 px, row by row."""
    expected = [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]
    assert cells(2, 3, 8, torch.zeros(())).tolist() == expected


def test_decoding_by_hand():
    """The second cell of stride 16, middle (24, 8): moved by 2 x 16 x 0.5 to x 40, sides 64 x (1, 2), nose 64 down."""
    raw = torch.zeros(1, 15, 1, 2)
    raw[0, 0, 0, 1], raw[0, 1, 0, 1], raw[0, 4, 0, 1] = 3.0, 0.5, torch.log(torch.tensor(2.0))
    raw[0, 10, 0, 1] = 1.0  # y of the third point
    found = _decode(raw, 16, torch.ones(2))
    assert found.logits.tolist() == [[0, 3]]
    torch.testing.assert_close(found.boxes[0, 1], torch.tensor([8.0, -56.0, 72.0, 72.0]))
    torch.testing.assert_close(found.points[0, 1, 2], torch.tensor([24.0, 72.0]))
    torch.testing.assert_close(found.points[0, 1, 0], torch.tensor([24.0, 8.0]))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96)])
def test_every_cell_of_a_picture_answers(height, width):
    found = FaceFinderNetwork()(torch.rand(2, 3, height, width))
    count = sum(height // stride * (width // stride) for stride in STRIDES)
    assert found.logits.shape == (2, count) and found.boxes.shape == (2, count, 4)
    assert found.points.shape == (2, count, 5, 2)


def test_a_fresh_network_sees_nobody():
    found = FaceFinderNetwork().eval()(torch.rand(1, 3, 64, 64))
    assert found.logits.sigmoid().max() < 0.05


def test_a_picture_moved_by_a_cell_moves_its_answers():
    """Away from the borders, by the coarsest stride: grids, middles and order belong together."""
    torch.manual_seed(0)
    network = FaceFinderNetwork().eval()
    torch.nn.init.normal_(network.out.weight, std=0.3)
    picture = torch.full((1, 3, 512, 512), 0.5)
    picture[:, :, 230:270, 200:240] = torch.rand(3, 40, 40)
    moved = torch.roll(picture, (32, 64), dims=(2, 3))
    with torch.no_grad():
        before, after = network(picture), network(moved)
    grid = lambda values: values[0, : 64 * 64].unflatten(0, (64, 64))  # noqa: E731 (stride 8)
    inner = (slice(24, 36), slice(20, 36))
    shifted = (slice(28, 40), slice(28, 44))
    torch.testing.assert_close(grid(before.logits)[inner], grid(after.logits)[shifted], atol=1e-4, rtol=1e-4)
    move = torch.tensor([64.0, 32.0, 64.0, 32.0])
    torch.testing.assert_close(grid(before.boxes)[inner] + move, grid(after.boxes)[shifted], atol=1e-2, rtol=1e-4)
