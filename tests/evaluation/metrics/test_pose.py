"""Pose errors against SciPy's Rotation: wrapping, the double cover of Euler angles, left-out and missing faces."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facelift.evaluation.metrics.pose import (
    euler_errors,
    euler_near,
    frobenius,
    geodesic_deg,
    shape_turn,
    within_99,
    without_shape_turn,
    wrapped_deg,
)
from facelift.geometry import AFLW2000, FACELIFT, TDDFA, rotation_from_euler

CONVENTIONS = {"facelift": FACELIFT, "aflw2000": AFLW2000, "tddfa": TDDFA}


def test_wrapping_keeps_the_angle(rng):
    angles = np.concatenate([rng.uniform(-1000, 1000, 200), [-180.0, 180.0, 540.0, -540.0]])
    wrapped = wrapped_deg(angles)
    assert (wrapped >= -180).all() and (wrapped < 180).all()
    for of in (np.sin, np.cos):
        np.testing.assert_allclose(of(np.radians(wrapped)), of(np.radians(angles)), atol=1e-12)
    assert wrapped_deg(np.array(190.0)) == -170


def test_errors_go_the_short_way_round():
    errors = euler_errors(np.array([[170.0, 10.0, -5.0]]), np.array([[-170.0, -20.0, 355.0]]))
    np.testing.assert_allclose(errors, [[20, 30, 0]])
    np.testing.assert_allclose(euler_errors(np.array([[0.0, 180, 1]]), np.array([[0.0, 0, -1]])), [[0, 180, 2]])


@pytest.mark.parametrize("name", CONVENTIONS)
def test_reads_back_angles_on_both_sides_of_the_singularity(name, rng):
    """Labels beyond 90 degrees about the middle axis come back as they were written."""
    convention = CONVENTIONS[name]
    angles = rng.uniform(-60, 60, (100, 3))
    middle = "XYZ".index(convention.order[1])
    angles[:, middle] = rng.uniform(-140, 140, 100)
    rotation = rotation_from_euler(angles, convention)
    np.testing.assert_allclose(euler_near(rotation, angles, convention), angles, atol=1e-9)
    near = euler_near(rotation, angles + rng.uniform(-5, 5, angles.shape), convention)
    np.testing.assert_allclose(near, angles, atol=1e-9)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_takes_the_nearer_of_both_and_keeps_the_rotation(name, rng):
    convention = CONVENTIONS[name]
    rotation = Rotation.random(200, random_state=3).as_matrix()
    reference = rng.uniform(-180, 180, (200, 3))
    near = euler_near(rotation, reference, convention)
    np.testing.assert_allclose(rotation_from_euler(near, convention), rotation, atol=1e-9)
    middle = "XYZ".index(convention.order[1])
    other = near + 180
    other[:, middle] = 180 - near[:, middle]
    np.testing.assert_allclose(rotation_from_euler(other, convention), rotation, atol=1e-9)
    gain = euler_errors(other, reference).sum(-1) - euler_errors(near, reference).sum(-1)
    assert (gain >= -1e-9).all() and gain.max() > 100
    assert 0.2 < (np.abs(near[:, middle]) > 90).mean() < 0.8


def test_the_reference_decides_how_a_rotation_is_written():
    angles = np.array([[10.0, 95.0, 20.0]])
    rotation = rotation_from_euler(angles, AFLW2000)
    np.testing.assert_allclose(euler_near(rotation, angles), angles, atol=1e-9)
    np.testing.assert_allclose(euler_near(rotation, angles - [[150.0, 0, 150]]), [[-170, 85, -160]], atol=1e-9)


def test_leaves_out_faces_beyond_99_degrees_of_any_angle():
    angles = np.array([[99.0, -99, 0], [99.1, 0, 0], [0, -99.1, 0], [0, 0, 179], [98, 98, -98]])
    assert within_99(angles).tolist() == [True, False, False, False, True]


def test_absolute_errors_by_hand():
    true = np.array([[0.0, 10.0, 0.0], [20.0, -40.0, 175.0], [5.0, 5.0, 5.0]])
    predicted = np.array([[2.0, 13.0, -7.0], [16.0, -41.0, -178.0], [np.nan] * 3])
    np.testing.assert_allclose(euler_errors(predicted, true), [[2, 3, 7], [4, 1, 7], [np.nan] * 3])


def test_geodesic_error_is_scipys_magnitude(rng):
    a, b = Rotation.random(300, random_state=1), Rotation.random(300, random_state=2)
    found = geodesic_deg(a.as_matrix(), b.as_matrix())
    np.testing.assert_allclose(found, np.degrees((a * b.inv()).magnitude()), atol=1e-9)
    assert found.min() > 1 and found.max() > 170
    trace = np.trace(a.as_matrix() @ np.swapaxes(b.as_matrix(), -1, -2), axis1=-2, axis2=-1)
    np.testing.assert_allclose(found, np.degrees(np.arccos((trace - 1) / 2)), atol=1e-6)


@pytest.mark.parametrize("angle", [1e-6, 0.3, 45.0, 179.9999])
def test_geodesic_error_of_small_and_large_turns(angle, rng):
    """Where acos loses half of its digits."""
    base = Rotation.random(50, random_state=4)
    axis = rng.normal(size=(50, 3))
    turn = Rotation.from_rotvec(np.radians(angle) * axis / np.linalg.norm(axis, axis=-1, keepdims=True))
    np.testing.assert_allclose(geodesic_deg((turn * base).as_matrix(), base.as_matrix()), angle, atol=1e-9)


def test_distances_keep_the_shape_of_a_batch():
    a, b = (Rotation.random(2, random_state=seed).as_matrix() for seed in (1, 2))
    for distance in (geodesic_deg, frobenius):
        whole = distance(a, b)
        assert whole.shape == (2,) and distance(a[None], b[None]).shape == (1, 2)
        assert distance(a[1], b[1]).shape == () and distance(a[1], b[1]) == pytest.approx(whole[1], rel=1e-12)


def test_geodesic_error_of_float32_matrices_is_float64():
    a = Rotation.random(5, random_state=1).as_matrix().astype(np.float32)
    assert geodesic_deg(a, a[::-1].copy()).dtype == np.float64


def test_frobenius_distance_of_a_turn():
    a, b = Rotation.random(300, random_state=1), Rotation.random(300, random_state=2)
    found = frobenius(a.as_matrix(), b.as_matrix())
    angle = (a * b.inv()).magnitude()
    np.testing.assert_allclose(found, 2 * np.sqrt(2) * np.sin(angle / 2), atol=1e-9)
    for i in range(5):
        product = np.eye(3) - a.as_matrix()[i] @ b.as_matrix()[i].T
        assert found[i] == pytest.approx(np.sqrt(sum(x * x for x in product.ravel())), rel=1e-12)
    assert found.min() > 0.1


def test_distances_do_not_depend_on_the_frame_of_the_camera():
    """One turn of the camera for both sides; a turn of the head's frame for one side alone does count."""
    a, b, turn = (Rotation.random(20, random_state=seed).as_matrix() for seed in (1, 2, 3))
    for distance in (geodesic_deg, frobenius):
        np.testing.assert_allclose(distance(turn @ a, turn @ b), distance(a, b), atol=1e-9)
        assert np.abs(distance(turn @ a, b) - distance(a, b)).max() > 0.1


def test_faces_not_found_have_no_distance():
    a = Rotation.random(3, random_state=1).as_matrix()
    missed = a.copy()
    missed[1] = np.nan
    for distance in (geodesic_deg, frobenius):
        assert np.isnan(distance(missed, a[::-1].copy())).tolist() == [False, True, False]
    angles = euler_near(missed, np.full((3, 3), 10.0))
    assert np.isnan(angles).all(-1).tolist() == [False, True, False]


def test_the_turn_between_head_frames_is_that_of_the_shapes(rng):
    """A system whose head frame is tilted, whatever its poses: faces differ in shape, size and place."""
    truth = Rotation.random(20, random_state=3).as_matrix()
    heads = rng.normal(size=(68, 3)) + rng.normal(0, 0.02, (20, 68, 3))
    points = rng.uniform(50, 90, (20, 1, 1)) * heads @ truth.swapaxes(1, 2) + rng.normal(0, 100, (20, 1, 3))
    tilt = Rotation.from_euler("xyz", [7, -2, 1], degrees=True).as_matrix()
    shapes = 0.3 * (rng.normal(0, 0.02, heads.shape) + heads) @ tilt.T + 5
    shapes[4] = np.nan
    found = shape_turn(shapes, points, truth)
    assert geodesic_deg(found, tilt) < 0.3
    predicted = truth @ tilt.T  # what takes the tilted heads to where the true ones are seen
    assert geodesic_deg(predicted, truth).min() > 7
    assert geodesic_deg(predicted @ found, truth).max() < 0.3
    with pytest.raises(ValueError, match="shape_turn: expected a face with both shapes, found none"):
        shape_turn(shapes[4:5], points[4:5], truth[4:5])


def test_each_half_is_turned_by_the_shapes_of_the_other(rng):
    truth = Rotation.random(8, random_state=3).as_matrix()
    heads = rng.normal(size=(8, 20, 3))
    points, half = heads @ truth.swapaxes(1, 2), np.arange(8) % 2 == 1
    tilts = Rotation.from_euler("x", [[20], [-10]], degrees=True).as_matrix()  # one of each half
    shapes = heads.mean(0) @ tilts[half.astype(int)].swapaxes(1, 2)
    turned = without_shape_turn(truth, shapes, points, truth, half)
    for part in (half, ~half):
        expected = truth[part] @ shape_turn(shapes[~part], points[~part], truth[~part])
        np.testing.assert_allclose(turned[part], expected, atol=1e-12)
    assert geodesic_deg(turned[half], truth[half] @ tilts[0]).max() < geodesic_deg(tilts[0], tilts[1])
