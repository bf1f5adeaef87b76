"""Dense NME: hand-computed and brute-force values for both protocols."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from facelift.evaluation.metrics.dense import dense_nme_box, dense_nme_icp
from facelift.evaluation.metrics.icp import icp

CORNERS = (200, 220)


def test_protocol_1_is_brute_force_after_icp(bumpy_grid, rng):
    target, _ = bumpy_grid
    turn = Rotation.from_rotvec(np.radians([3, -4, 2])).as_matrix()
    prediction = (target + rng.standard_normal(target.shape)) @ turn + [1, 2, -1]
    moved = icp(prediction, target).transform.apply(prediction)
    expected = cdist(target, moved).min(1).mean() / np.linalg.norm(target[200] - target[220])
    found = dense_nme_icp(prediction, target, outer_eye_corners=CORNERS)
    assert found == pytest.approx(expected, rel=1e-9) and found > 0.005


def test_protocol_1_takes_a_motion_out_and_scale_only_when_asked(bumpy_grid):
    target, _ = bumpy_grid
    prediction = 1.03 * target @ Rotation.from_rotvec([0.05, 0.02, -0.06]).as_matrix() + [2, 0, 1]
    assert dense_nme_icp(prediction / 1.03, target, outer_eye_corners=CORNERS) < 1e-9
    assert dense_nme_icp(prediction, target, outer_eye_corners=CORNERS) > 3e-3
    assert dense_nme_icp(prediction, target, outer_eye_corners=CORNERS, with_scale=True) < 1e-7


def test_protocol_1_does_not_reward_half_a_face(bumpy_grid):
    """The distance runs from the truth: a part that lies on it exactly still misses the rest. Swapped, it does not."""
    target, _ = bumpy_grid
    half = target[:300]
    assert dense_nme_icp(half, target, outer_eye_corners=CORNERS) > 0.1
    assert dense_nme_icp(target, half, outer_eye_corners=CORNERS) < 0.1


def test_protocol_2_is_the_hand_computed_one():
    target = np.zeros((2, 2, 3))
    prediction = np.array([[[3.0, 4, 0], [0, 0, 1]], [[0, 0, 0], [2, 3, 6]]])
    found = dense_nme_box(prediction, target, box_wh=np.array([[4.0, 9], [1, 1]]))
    np.testing.assert_allclose(found, [3 / 6, 3.5])
    flat = dense_nme_box(prediction[..., :2], target[..., :2], box_wh=np.array([[4.0, 9], [1, 1]]))
    np.testing.assert_allclose(flat, [2.5 / 6, np.sqrt(13) / 2])


def test_a_prediction_that_is_not_finite_is_nan(rng):
    prediction, target = rng.standard_normal((2, 3, 50, 3))
    prediction[1, 7] = np.nan
    found = dense_nme_box(prediction, target, box_wh=np.ones((3, 2)))
    assert np.isnan(found).tolist() == [False, True, False]


def test_bad_input_is_refused(bumpy_grid, rng):
    target, _ = bumpy_grid
    with pytest.raises(ValueError, match="eye corners apart"):
        dense_nme_icp(target, target, outer_eye_corners=(5, 5))
    with pytest.raises(ValueError, match="boxes with positive sides, found 0"):
        dense_nme_box(target[None], target[None], box_wh=np.array([[10.0, 0]]))
