"""DAD-3DHeads' Chamfer and Z5, as released and corrected, and the vertex and landmark errors of model fitting."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from facelift.evaluation.metrics.heads import (
    DAD_SEVEN,
    dad_chamfer,
    mean_landmark_error,
    mean_reprojection_error,
    mean_vertex_error,
    z_accuracy,
)
from facelift.geometry import procrustes
from facelift.landmarks import IBUG68

SEVEN = np.arange(7) * 11


@pytest.fixture
def heads(rng) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and the truth: 200 vertices, the prediction turned, scaled and noisy."""
    target = 80 * rng.standard_normal((200, 3))
    noisy = target + 3 * rng.standard_normal(target.shape)
    return 0.02 * noisy @ Rotation.random(rng=rng).as_matrix() + [1, 2, 3], target


def test_the_seven_are_eyes_nose_and_mouth():
    region = {index: name for name, indices in IBUG68.regions.items() for index in indices}
    assert [region[index] for index in DAD_SEVEN] == ["eyes"] * 4 + ["nose"] + ["mouth"] * 2
    np.testing.assert_array_equal(IBUG68.mirror[DAD_SEVEN[:4]], DAD_SEVEN[[3, 2, 1, 0]])


@pytest.mark.parametrize("variant", ["released", "corrected"])
def test_chamfer_is_brute_force(heads, variant):
    prediction, target = heads
    face = np.arange(20, 120)
    found = dad_chamfer(prediction, prediction[SEVEN], target, target[SEVEN], face=face, variant=variant)
    standard = target * 20 / np.linalg.norm(target[SEVEN[1]] - target[SEVEN[2]])
    moved = procrustes(prediction[SEVEN], standard[SEVEN], with_scale=True).apply(prediction)
    nearest = cdist(standard[face], moved).min(1)
    expected = (nearest**2).mean() if variant == "released" else nearest.mean()
    assert found == pytest.approx(expected, rel=1e-9) and found > 0.05


def test_chamfer_runs_from_the_truth(heads):
    """A prediction with more vertices elsewhere is as good; a truth with more is not."""
    prediction, target = heads
    more = np.concatenate([prediction, prediction + 100])
    arguments = {"target_seven": target[SEVEN], "face": np.arange(200)}
    plain = dad_chamfer(prediction, prediction[SEVEN], target, **arguments)
    assert dad_chamfer(more, prediction[SEVEN], target, **arguments) == pytest.approx(plain)
    assert dad_chamfer(prediction[:100], prediction[SEVEN], target, **arguments) > 2 * plain
    swapped = dad_chamfer(target, target[SEVEN], prediction, prediction[SEVEN], face=np.arange(200))
    assert abs(swapped / plain - 1) > 1e-3


def test_the_released_chamfer_lets_a_mirrored_head_pass(heads):
    _, target = heads
    mirrored = target * [-1, 1, 1]
    arguments = (mirrored, mirrored[SEVEN], target, target[SEVEN])
    assert dad_chamfer(*arguments, face=np.arange(200)) < 1e-18
    assert dad_chamfer(*arguments, face=np.arange(200), variant="corrected") > 1


def z5_in_loops(prediction: np.ndarray, target: np.ndarray, released: bool) -> float:
    distances = cdist(target, target)
    order = np.argsort(distances, axis=0 if released else 1, kind="stable")[:, 1:6]
    agree = [
        (target[i, 2] >= target[j, 2]) == (prediction[i, 2] >= prediction[j, 2])
        for i in range(len(target))
        for j in order[i]
    ]
    return float(np.mean(agree))


@pytest.mark.parametrize("variant", ["released", "corrected"])
def test_z5_is_that_of_plain_loops(rng, variant):
    target = rng.standard_normal((300, 3))
    prediction = target + 0.2 * rng.standard_normal(target.shape)
    found = z_accuracy(prediction, target, variant=variant)
    assert found == z5_in_loops(prediction, target, variant == "released") and 0.6 < found < 0.99
    assert z_accuracy(target, target, variant=variant) == 1


def test_equal_distances_are_taken_in_order(rng):
    """On a grid every vertex has neighbours equally far away, and some vertices are doubled."""
    target = np.concatenate([np.stack(np.meshgrid(*[np.arange(4.0)] * 3), -1).reshape(-1, 3), np.ones((9, 3))])
    prediction = target + rng.standard_normal(target.shape)
    distances = cdist(target, target) + np.where(np.eye(len(target)), np.inf, 0)
    near = np.argsort(distances, axis=1, kind="stable")[:, :5]
    agree = (target[:, None, 2] >= target[near, 2]) == (prediction[:, None, 2] >= prediction[near, 2])
    assert z_accuracy(prediction, target) == agree.mean() < 0.9


def test_z5_by_hand():
    """On a line each point has its neighbours beside it; the prediction swaps the depths of the last two."""
    target = np.array([[0.0, 0, 0], [1, 0, 1], [2.5, 0, 2], [4.5, 0, 3]])
    prediction = target.copy()
    prediction[[2, 3], 2] = [3, 2]
    assert z_accuracy(prediction, target, neighbours=1) == 3 / 4  # 3 -> 2 is wrong, 0 -> 1, 1 -> 0, 2 -> 1 are right
    assert z_accuracy(prediction, target, neighbours=2) == 6 / 8


def test_z5_needs_one_camera_direction_and_the_slip_makes_it_easier(rng):
    target = rng.standard_normal((300, 3))
    prediction = target + 0.2 * rng.standard_normal(target.shape)
    assert z_accuracy(-prediction, target) < 0.4
    assert z_accuracy(prediction, target, variant="released") > z_accuracy(prediction, target) + 0.05


def test_swapping_prediction_and_truth_changes_z5(rng):
    target = rng.standard_normal((100, 3))
    prediction = target * [1, 1, 3] + 0.3 * rng.standard_normal(target.shape)
    assert z_accuracy(prediction, target) != z_accuracy(target, prediction)


def test_vertices_too_few_are_refused(rng):
    with pytest.raises(ValueError, match="more than 5 vertices, found 5"):
        z_accuracy(*rng.standard_normal((2, 5, 3)))


def test_vertex_error_by_region_and_alignment(rng):
    target = 50 * rng.standard_normal((2, 40, 3))
    prediction = target + np.array([0, 3, 4])
    prediction[:, 20:] += [0, 3, 4]
    face = np.arange(20)
    np.testing.assert_allclose(mean_vertex_error(prediction, target, alignment="none"), 7.5)
    np.testing.assert_allclose(mean_vertex_error(prediction, target, alignment="none", region=face), 5)
    assert (mean_vertex_error(prediction, target, alignment="rigid") > 0.5).all()
    np.testing.assert_allclose(mean_vertex_error(prediction, target, alignment="rigid", region=face), 0, atol=1e-9)


def test_landmark_error_counts_what_is_labelled_and_visible():
    target = np.zeros((3, 3, 2))
    prediction = np.array([[3.0, 4], [0, 1], [6, 8]]) * np.ones((3, 1, 1))
    target[0, 1], prediction[0, 1] = np.nan, np.nan
    prediction[2, 0] = np.nan
    visible = np.array([[True, True, False], [True, True, True], [True, True, True]])
    found = mean_landmark_error(prediction, target, visible=visible)
    np.testing.assert_allclose(found, [5, 16 / 3, np.nan])
    assert np.isnan(mean_landmark_error(prediction, target, visible=np.zeros((3, 3), bool))).all()


def test_reprojection_error_is_weighted_by_confidence():
    fitted, predicted = np.zeros((2, 2, 2)), np.array([[[3.0, 4], [0, 1]], [[1, 0], [0, 3]]])
    np.testing.assert_allclose(mean_reprojection_error(fitted, predicted), [3, 2])
    confidence = np.array([[1.0, 3], [0, 0]])
    np.testing.assert_allclose(mean_reprojection_error(fitted, predicted, confidence), [2, np.nan])
