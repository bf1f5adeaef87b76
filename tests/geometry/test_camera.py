"""The camera against OpenCV, by hand, and by what a viewer must see."""

import cv2
import numpy as np
import pytest

from facelift.geometry import (
    FOCAL,
    LOOK_AT,
    RADIUS,
    intrinsics,
    look_at_rotation,
    project,
    roll_rotation,
    sphere_translation,
    to_camera,
)

ANGLES = [(0, 0, 0), (35, -20, 0), (-90, 0, 0), (110, 60, -90), (-75, 30, 45), (10, -60, 170)]


def camera(azimuth: float, elevation: float, roll: float) -> tuple[np.ndarray, np.ndarray]:
    rotation = look_at_rotation(azimuth, elevation, roll)
    return rotation, sphere_translation(rotation)


def test_frontal_camera_by_hand():
    rotation, translation = camera(0, 0, 0)
    np.testing.assert_allclose(rotation, np.diag([1, -1, -1]), atol=1e-15)
    np.testing.assert_allclose(translation, [0, 0, 2.7], atol=1e-15)


def test_projection_by_hand():
    """A point at depth 2.7 - 0.2 = 2.5, 0.1 to the right of the axis and 0.2 above it, 256 px."""
    rotation, translation = camera(0, 0, 0)
    pixel = project(np.array([[0.1, 0.2, 0.2]]), rotation, translation, intrinsics(256))[0]
    np.testing.assert_allclose(pixel, [128 + 4.2647 * 0.04 * 256, 128 - 4.2647 * 0.08 * 256], rtol=1e-14)


@pytest.mark.parametrize("angles", ANGLES)
def test_look_at_point_is_in_the_middle_of_every_picture(angles):
    rotation, translation = camera(*angles)
    np.testing.assert_allclose(project(np.array([LOOK_AT]), rotation, translation, intrinsics(512)), [[256, 256]])


@pytest.mark.parametrize("angles", ANGLES)
def test_eye_is_on_the_sphere_where_the_angles_say(angles):
    rotation, translation = camera(*angles)
    azimuth, elevation = np.radians(angles[:2])
    direction = [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    np.testing.assert_allclose(-rotation.T @ translation, RADIUS * np.array(direction), atol=1e-12)


@pytest.mark.parametrize("angles", ANGLES)
def test_rotation_is_proper(angles):
    rotation = look_at_rotation(*angles)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_any_rotation_has_its_eye_on_the_sphere_and_the_axis_through_the_look_at_point(rng):
    rotation = np.linalg.qr(rng.standard_normal((50, 3, 3)))[0]
    rotation[np.linalg.det(rotation) < 0] *= -1
    translation = sphere_translation(rotation)
    eyes = -np.einsum("bji,bj->bi", rotation, translation)
    np.testing.assert_allclose(np.linalg.norm(eyes, axis=-1), RADIUS, rtol=1e-12)
    centred = to_camera(np.broadcast_to(LOOK_AT, (50, 1, 3)), rotation, translation)[:, 0]
    np.testing.assert_allclose(centred[:, :2], 0, atol=1e-12)
    assert (centred[:, 2] > RADIUS - 0.21).all()


def test_roll_leaves_the_eye_and_turns_the_picture_clockwise():
    """What is above the middle goes to its right after a quarter turn."""
    upright, rolled = camera(20, 10, 0), camera(20, 10, 90)
    np.testing.assert_allclose(upright[0].T @ upright[1], rolled[0].T @ rolled[1], atol=1e-12)
    above = np.array(LOOK_AT) - 0.1 * upright[0][1]  # the camera's second row points down
    before = project(above[None], *upright, intrinsics(100))[0]
    after = project(above[None], *rolled, intrinsics(100))[0]
    assert before[1] < 50 and before[0] == pytest.approx(50)
    np.testing.assert_allclose(after, [50 + (50 - before[1]), 50], atol=1e-9)


def test_azimuth_shows_the_subjects_left_and_elevation_the_top():
    """From +x (the subject's left) the nose points to the picture's left; from above it points down."""
    nose = np.array([[0, 0, 0.7]])
    assert project(nose, *camera(40, 0, 0), intrinsics(100))[0, 0] < 45
    assert project(nose, *camera(0, 40, 0), intrinsics(100))[0, 1] > 55


def test_head_keeps_upright_at_every_azimuth():
    head_top = np.array([[0, 0.3, 0.2]])
    for azimuth in (-110, -45, 0, 80):
        assert project(head_top, *camera(azimuth, 0, 0), intrinsics(1))[0, 1] < 0.5


@pytest.mark.parametrize("angles", ANGLES)
def test_projection_equals_opencv(angles, rng):
    rotation, translation = camera(*angles)
    points = rng.uniform(-0.6, 0.6, (40, 3))
    K = intrinsics(300)
    expected, _ = cv2.projectPoints(points, cv2.Rodrigues(rotation)[0], translation, K, None)
    np.testing.assert_allclose(project(points, rotation, translation, K), expected[:, 0], atol=1e-8)


def test_another_calibration_matrix_is_respected(rng):
    K = np.array([[500.0, 0, 310], [0, 450, 190], [0, 0, 1]])
    rotation, translation = camera(15, 5, 3)
    points = rng.uniform(-0.3, 0.3, (9, 3))
    expected, _ = cv2.projectPoints(points, cv2.Rodrigues(rotation)[0], translation, K, None)
    np.testing.assert_allclose(project(points, rotation, translation, K), expected[:, 0], atol=1e-9)


def test_points_behind_the_camera_have_no_pixel():
    rotation, translation = camera(0, 0, 0)
    points = np.array([[0, 0, 2.8], [0, 0, 2.7], [0.1, 0, 0]])
    pixels = project(points, rotation, translation, intrinsics(64))
    assert np.isnan(pixels[:2]).all() and np.isfinite(pixels[2]).all()


def test_batches_equal_single_calls(rng):
    azimuth, elevation, roll = rng.uniform(-60, 60, (3, 2, 5))
    rotation = look_at_rotation(azimuth, elevation, roll)
    translation = sphere_translation(rotation)
    points = rng.uniform(-0.4, 0.4, (2, 5, 7, 3))
    pixels = project(points, rotation, translation, intrinsics(64))
    assert rotation.shape == (2, 5, 3, 3) and pixels.shape == (2, 5, 7, 2)
    for i in np.ndindex(2, 5):
        single = camera(azimuth[i], elevation[i], roll[i])
        np.testing.assert_allclose(rotation[i], single[0], atol=1e-14)
        np.testing.assert_allclose(pixels[i], project(points[i], *single, intrinsics(64)), atol=1e-10)


def test_one_face_broadcasts_over_many_cameras(rng):
    rotation = look_at_rotation(np.array([-30.0, 0, 30]), 0.0)
    points = rng.uniform(-0.4, 0.4, (1, 7, 3))
    pixels = project(np.broadcast_to(points, (3, 7, 3)), rotation, sphere_translation(rotation), intrinsics(64))
    assert pixels.shape == (3, 7, 2) and np.ptp(pixels, axis=0).max() > 1


def test_intrinsics_scale_with_the_picture():
    np.testing.assert_allclose(intrinsics(128)[:2], 128 * intrinsics(1)[:2])
    assert intrinsics(1)[0, 0] == FOCAL and np.degrees(2 * np.arctan(0.5 / FOCAL)) == pytest.approx(13.37, abs=0.01)


def test_torch_gives_what_numpy_gives(rng):
    torch = pytest.importorskip("torch")
    rotation = look_at_rotation(rng.uniform(-90, 90, 6), rng.uniform(-50, 50, 6), rng.uniform(-90, 90, 6))
    points, angle = rng.uniform(-0.4, 0.4, (6, 8, 3)), rng.uniform(-3, 3, 6)
    points[0, 0] = -rotation[0].T @ sphere_translation(rotation)[0] * 1.1  # behind the first camera
    translation = sphere_translation(rotation)
    pairs = [
        (sphere_translation(torch.tensor(rotation)), translation),
        (roll_rotation(torch.tensor(angle)), roll_rotation(angle)),
        (
            to_camera(torch.tensor(points), torch.tensor(rotation), torch.tensor(translation)),
            to_camera(points, rotation, translation),
        ),
        (
            project(torch.tensor(points), torch.tensor(rotation), torch.tensor(translation), intrinsics(64)),
            project(points, rotation, translation, intrinsics(64)),
        ),
    ]
    for ours, expected in pairs:
        assert isinstance(ours, torch.Tensor)
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-10)
    assert np.isnan(pairs[-1][1][0, 0]).all()


def test_torch_gradients_equal_finite_differences(rng):
    torch = pytest.importorskip("torch")
    points = torch.tensor(rng.uniform(-0.4, 0.4, (2, 3, 3)), requires_grad=True)
    rotation = torch.tensor(look_at_rotation(np.array([20.0, -50.0]), 10.0), requires_grad=True)

    def pixels(points, rotation):
        return project(points, rotation, sphere_translation(rotation), intrinsics(1.0))

    assert torch.autograd.gradcheck(pixels, (points, rotation))
