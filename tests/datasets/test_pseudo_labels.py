"""Brow and pupil labels from a mesh: moved with the human labels, or not given."""

import numpy as np
import pytest

from facelift.datasets.densify import wflw98_from_ibug68
from facelift.datasets.pseudo_labels import SIDES, fill_in
from facelift.datasets.sample import OCCLUDED, FaceSample
from facelift.generators.morphable import MorphableGenerator
from facelift.landmarks import wflw98_of_ibug68


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """A frontal face's 98 points, px."""
    return (MorphableGenerator(None).landmarks(3)[:, :2] * [1, -1] + 2) * 100


def sample(points: np.ndarray, hidden: tuple[int, ...] = ()) -> FaceSample:
    human = points[wflw98_of_ibug68()]
    state = np.zeros(68, np.int8)
    state[list(hidden)] = OCCLUDED
    box = np.concatenate([human.min(0), human.max(0)])
    return FaceSample("a", lambda: np.zeros((8, 8, 3), np.uint8), box, human, state, "ibug68")


def test_the_mesh_is_moved_onto_the_human_labels(face):
    """A mesh that is turned, scaled and shifted gives the points where the face has them."""
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    human = wflw98_from_ibug68(face[wflw98_of_ibug68()])
    dense = np.where(np.isfinite(human), human, face)
    filled = fill_in(sample(face), 1.3 * dense @ turn.T + [40, -7], 0.03)
    for _, wanted in SIDES:
        np.testing.assert_allclose(filled[wanted], face[wanted], atol=1e-6)
    others = np.setdiff1d(np.arange(98), np.concatenate([wanted for _, wanted in SIDES]))
    assert np.isnan(filled[others]).all()


def test_hidden_missing_or_disagreeing_sides_get_none(face):
    ibug_brow = 18  # of the first side
    filled = fill_in(sample(face, hidden=(ibug_brow,)), face, 0.03)
    assert np.isnan(filled[SIDES[0][1]]).all() and np.isfinite(filled[SIDES[1][1]]).all()
    bent = face.copy()
    bent[SIDES[1][0][::2]] += 40
    filled = fill_in(sample(face), bent, 0.03)
    assert np.isfinite(filled[SIDES[0][1]]).all() and np.isnan(filled[SIDES[1][1]]).all()
    assert np.isnan(fill_in(sample(face), np.full((98, 2), np.nan), 0.03)).all()
