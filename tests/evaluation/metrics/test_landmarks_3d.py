"""3D landmark error: hand-computed values, SciPy's Kabsch, planted motions, gaps, and the direction that matters."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facelift.evaluation.metrics.landmarks_3d import (
    landmark_distances,
    landmark_error,
    nme_3d,
)


@pytest.fixture
def faces(rng) -> tuple[np.ndarray, np.ndarray]:
    """Four faces of 68 landmarks, mm, and predictions with noise of some 2 mm, each turned, shifted and scaled."""
    target = 50 * rng.standard_normal((4, 68, 3))
    noisy = target + 2 * rng.standard_normal(target.shape)
    turn = Rotation.random(4, rng=rng).as_matrix()
    return 1.3 * noisy @ np.swapaxes(turn, 1, 2) + rng.standard_normal((4, 1, 3)), target


def test_unaligned_error_is_the_hand_computed_one():
    target = np.zeros((1, 4, 3))
    prediction = np.array([[[3.0, 4, 0], [0, 0, 2], [1, 2, 2], [0, 0, 0]]])
    np.testing.assert_allclose(landmark_distances(prediction, target, alignment="none"), [[5, 2, 3, 0]])
    assert landmark_error(prediction, target, alignment="none").item() == 2.5


def test_rigid_error_is_that_of_scipys_rotation(faces):
    prediction, target = faces
    errors = landmark_error(prediction, target, alignment="rigid")
    for i in range(4):
        centred, goal = (points[i] - points[i].mean(0) for points in (prediction, target))
        turn = Rotation.align_vectors(goal, centred)[0]
        assert errors[i] == pytest.approx(np.linalg.norm(turn.apply(centred) - goal, axis=1).mean(), rel=1e-9)
    assert (errors > 10).all()  # the planted scale stays in


def test_similarity_takes_the_planted_motion_out(faces):
    prediction, target = faces
    errors = landmark_error(prediction, target, alignment="similarity")
    assert ((errors > 2) & (errors < 4)).all()  # the noise alone: 2 mm in three axes has mean length 3.2 mm
    again = landmark_error(
        prediction @ Rotation.from_rotvec([1, 2, 3]).as_matrix() * 5 - 7, target, alignment="similarity"
    )
    np.testing.assert_allclose(again, errors, rtol=1e-9)


def test_swapped_arguments_change_the_error(faces):
    prediction, target = faces
    there = landmark_error(prediction, target, alignment="similarity")
    back = landmark_error(target, prediction, alignment="similarity")
    assert (np.abs(back / there - 1) > 0.1).all()


def test_a_mirrored_face_is_an_error_unless_reflection_is_asked_for(faces):
    _, target = faces
    mirrored = target * [-1, 1, 1]
    assert (landmark_error(mirrored, target, alignment="rigid") > 10).all()
    allowed = landmark_error(mirrored, target, alignment="rigid", with_reflection=True)
    np.testing.assert_allclose(allowed, 0, atol=1e-9)


def test_unlabelled_landmarks_neither_count_nor_align(faces):
    prediction, target = faces
    expected = landmark_error(prediction[:, 10:], target[:, 10:], alignment="similarity")
    target[:, :10], prediction[:, :10] = np.nan, 1e6
    distances = landmark_distances(prediction, target, alignment="similarity")
    assert np.isnan(distances[:, :10]).all()
    np.testing.assert_allclose(distances[:, 10:].mean(1), expected, rtol=1e-9)


def test_faces_that_cannot_be_scored_are_nan_and_leave_the_others_alone(faces):
    prediction, target = faces
    expected = landmark_error(prediction, target, alignment="rigid")
    prediction[0], target[1], prediction[2, 5] = np.nan, np.nan, np.nan
    target[1, :2] = 0  # two labels align nothing
    errors = landmark_error(prediction, target, alignment="rigid")
    assert np.isnan(errors[:3]).all() and errors[3] == expected[3]
    assert np.isnan(landmark_error(prediction, target, alignment="none")[[0, 2]]).all()


def test_nme_divides_by_the_labels_size(faces):
    prediction, target = faces
    error = landmark_error(prediction, target, alignment="similarity")
    eyes = np.linalg.norm(target[:, 36] - target[:, 45], axis=-1)
    np.testing.assert_allclose(nme_3d(prediction, target, scale=eyes, alignment="similarity"), error / eyes)


def test_bad_input_is_refused(faces):
    prediction, target = faces
    with pytest.raises(ValueError, match="positive scales, found 0"):
        nme_3d(prediction, target, scale=np.array([1.0, 2, 0, 1]))
