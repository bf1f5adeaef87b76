"""The decoder's closer look: what it reads, where, and that it starts from next to nothing."""

import pytest
import torch
from torch.nn.functional import grid_sample

from facelift.losses.points import SMALL_ERROR, glance_error
from facelift.models.decoder import Attention, CloseLook, TokenDecoder, frontal_shape
from facelift.models.detector import LandmarkDetector
from facelift.models.lifter import Lifter


@pytest.fixture
def look() -> CloseLook:
    torch.manual_seed(0)
    return CloseLook(width=16, channels=(3, 5))


def maps(batch: int) -> list[torch.Tensor]:
    return [torch.randn(batch, channels, side, side) for channels, side in ((3, 32), (5, 16))]


def test_a_fresh_look_hardly_changes_a_token_and_glances_at_the_mean_face(look):
    tokens = torch.randn(2, 98, 16)
    found, glance = look(tokens, maps(2))
    torch.testing.assert_close(found, tokens, atol=0.01, rtol=0)
    torch.testing.assert_close(glance, frontal_shape().expand(2, 98, 2), atol=0.01, rtol=0)


def test_neighbours_are_those_of_grid_sample_on_the_map_beyond_its_edge_too(look):
    features, places = maps(4)[0], 1.6 * torch.rand(4, 98, 2) - 0.3
    steps = torch.tensor([-1.0, 0.0, 1.0])
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij")[::-1], dim=-1).flatten(0, 1)  # x fastest
    grid = 2 * (places[:, :, None] + offsets / 32) - 1
    expected = grid_sample(features, grid, "bilinear", "border", align_corners=False)
    torch.testing.assert_close(look._around(places, features), expected.permute(0, 2, 3, 1).flatten(2))


def test_a_token_sees_the_maps_around_its_own_place_alone(look):
    torch.nn.init.normal_(look.write.weight)
    tokens, seen = torch.randn(1, 98, 16), [one.requires_grad_() for one in maps(1)]
    found, glance = look(tokens, seen)
    found[0, 54].sum().backward()
    touched = seen[0].grad[0].abs().sum(0).nonzero()[:, [1, 0]]  # cells (x, y)
    assert 9 <= len(touched) <= 16
    assert ((touched + 0.5) / 32 - glance[0, 54]).abs().max() <= 2 / 32


def test_the_first_guess_follows_the_points_and_leaves_them_alone():
    glance, points = torch.zeros(2, 98, 2, requires_grad=True), torch.full((2, 98, 2), SMALL_ERROR, requires_grad=True)
    error = glance_error(glance, points)
    assert error.item() == pytest.approx(2)
    error.backward()
    assert points.grad is None and (glance.grad < 0).all()


def test_without_maps_there_is_no_look():
    tokens, glance, gaze = TokenDecoder(tokens=98, image_width=8, image_tokens=4)(torch.randn(2, 4, 8))
    assert tokens.shape == (2, 98, 128) and glance is None and gaze is None


def test_of_a_definition_the_landmarks_that_are_wflws_too_have_a_glance():
    torch.manual_seed(0)
    detector = LandmarkDetector(definitions=("wflw98", "ibug68", "mediapipe478"))
    detector.start_at({"wflw98": frontal_shape(), "ibug68": torch.rand(68, 2), "mediapipe478": torch.rand(478, 2)})
    found = detector.eval()(torch.rand(1, 3, 128, 128))
    assert not torch.isclose(found["wflw98"].glance, found["wflw98"].points).all(-1).any()
    torch.testing.assert_close(found["ibug68"].glance[:, 30], found["wflw98"].glance[:, 54])  # the nose's tip
    assert torch.equal(found["mediapipe478"].glance, found["mediapipe478"].points)


@torch.no_grad()
def test_a_fresh_decoder_gazes_at_where_the_mean_face_has_each_landmark():
    torch.manual_seed(0)
    decoder = TokenDecoder(tokens=101, image_width=16, image_tokens=64)
    weights = []
    for block in decoder.blocks:
        cross, context = block.cross, decoder.norm_image(decoder.embed(torch.randn(3, 64, 16)) + decoder.position)
        query = cross._split(cross.query(block.norm_cross(decoder.tokens)).expand(3, -1, -1))
        key = cross._split(cross.key_value(context).chunk(2, dim=-1)[0])
        weights.append((query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)[:, :, :98])
        torch.testing.assert_close(
            block.gaze(decoder.tokens[None].expand(3, -1, -1), context)[:, :98], weights[-1].mean(1)
        )
    cells = (torch.arange(8) + 0.5) / 8
    cells = torch.stack([cells.repeat(8), cells.repeat_interleave(8)], dim=-1)  # row by row
    gaze = torch.stack(weights) @ cells
    assert (gaze - frontal_shape()).norm(dim=-1).mean() < 0.1
    assert (gaze - frontal_shape().flip(-1)).norm(dim=-1).mean() > 0.2
    assert torch.stack(weights).amax(-1).mean() > 5 / 64
    TokenDecoder(tokens=101, image_width=16, image_tokens=50)  # no square: as it may


@pytest.mark.parametrize(
    ("image_tokens", "training", "asked"), [(64, False, True), (64, True, False), (50, True, True)]
)
def test_gazes_are_told_in_training_alone_where_asked_for_and_of_a_square_grid(image_tokens, training, asked):
    decoder = TokenDecoder(tokens=101, image_width=8, image_tokens=image_tokens).train(training)
    assert decoder(torch.randn(2, image_tokens, 8), gaze=asked).gaze is None


def test_gazes_are_probabilities_of_all_blocks_but_the_last_and_change_no_token():
    torch.manual_seed(0)
    decoder, image = TokenDecoder(tokens=101, image_width=8, image_tokens=64, blocks=4), torch.randn(2, 64, 8)
    plain, told = decoder(image), decoder(image, gaze=True)
    assert told.gaze.shape == (2, 3, 98, 64) and torch.equal(plain.tokens, told.tokens)
    torch.testing.assert_close(told.gaze.sum(-1), torch.ones(2, 3, 98))


def test_the_shares_of_attention_are_what_it_mixes_values_by():
    """With one head and the identity behind it, attention gives the shares' mean of the values."""
    torch.manual_seed(0)
    attention = Attention(8, 1).double()
    with torch.no_grad():
        attention.out.weight.copy_(torch.eye(8))
        attention.out.bias.zero_()
    queries, context = torch.randn(2, 3, 8).double(), torch.randn(2, 5, 8).double()
    value = attention.key_value(context)[..., 8:]
    torch.testing.assert_close(attention(queries, context), attention.shares(queries, context) @ value)


def test_networks_give_gazes_by_face():
    torch.manual_seed(0)
    image, rows = torch.rand(3, 3, 128, 128), {"wflw98": torch.tensor([2, 0]), "ibug68": torch.tensor([1])}
    found = LandmarkDetector(definitions=("wflw98", "ibug68"))(image, rows, gaze=True)
    assert found["wflw98"].gaze.shape == (2, 2, 98, 64) and found["ibug68"].gaze is None
    lifted = Lifter()(image, gaze=True)
    assert lifted.gaze.shape == (3, 2, 98, 64) and torch.equal(lifted.rows(slice(1, None)).gaze, lifted.gaze[1:])
    assert Lifter().eval()(image, gaze=True).gaze is None
