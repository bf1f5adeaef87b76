"""Labels of 3D-aware GANs, by projecting known points as each of them would."""

import numpy as np
import pytest
import torch

from facelift.geometry import RADIUS, intrinsics, look_at_rotation, project, sphere_translation
from facelift.geometry.gan_cameras import angles_of_eg3d, angles_of_ide3d, camera_of, label_of, opengl_label

POINTS = np.array([[0.0, 0.0, 0.2], [0.1, 0.0, 0.2], [0.0, 0.1, 0.2], [-0.05, 0.12, 0.31]])


def camera(azimuth, elevation):
    rotation = look_at_rotation(azimuth, elevation)
    return rotation, sphere_translation(rotation)


def by_opencv(label, points):
    """x right, y down, z forward, from the camera's matrix in the world."""
    world = np.linalg.inv(label[:16].reshape(4, 4))
    seen = (world @ np.c_[points, np.ones(len(points))].T)[:3]
    K = label[16:].reshape(3, 3)
    return ((K @ seen) / seen[2])[:2].T


def by_opengl(label, points):
    """x right, y up, z backward."""
    world = np.linalg.inv(label[:16].reshape(4, 4))
    x, y, z, _ = world @ np.c_[points, np.ones(len(points))].T
    K = label[16:].reshape(3, 3)
    return np.stack([K[0, 0] * x / -z + K[0, 2], K[1, 1] * -y / -z + K[1, 2]], 1)


@pytest.mark.parametrize(("azimuth", "elevation"), [(0.0, 0.0), (40.0, 0.0), (-70.0, 25.0)])
def test_all_conventions_see_points_at_the_same_pixels(azimuth, elevation):
    rotation, translation = camera(azimuth, elevation)
    expected = project(POINTS, rotation, translation, intrinsics(1.0))
    label = label_of(rotation, translation, intrinsics(1.0))
    np.testing.assert_allclose(by_opencv(label, POINTS), expected, atol=1e-12)
    np.testing.assert_allclose(by_opengl(opengl_label(label), POINTS), expected, atol=1e-12)
    for found, wanted in zip(camera_of(label), (rotation, translation, intrinsics(1.0)), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)
    np.testing.assert_array_equal(opengl_label(opengl_label(label)), label)
    tensors = [torch.as_tensor(value)[None] for value in (rotation, translation, intrinsics(1.0))]
    np.testing.assert_allclose(label_of(*tensors)[0].numpy(), label, atol=1e-12)


def test_hand_computed_front():
    label = label_of(*camera(0.0, 0.0), intrinsics(1.0))
    expected = [1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 2.7, 0, 0, 0, 1, 4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1]
    assert label.tolist() == pytest.approx(expected)
    to_the_left = by_opencv(label_of(*camera(30.0, 0.0), intrinsics(1.0)), np.array([[0.0, 0.0, 0.4]]))[0]
    assert to_the_left[0] < 0.5 and to_the_left[1] == pytest.approx(0.5)  # azimuth > 0: the nose points left


@pytest.mark.parametrize(("h", "v"), [(1.2, 1.4), (2.1, 1.7), (np.pi / 2, np.pi / 2)])
def test_angles_of_the_samplers(h, v):
    """EG3D: the eye at (r sin phi cos(pi - h), r cos phi, r sin phi sin(pi - h)), phi = arccos(1 - 2 v / pi)."""
    phi = np.arccos(1 - 2 * v / np.pi)
    eye = RADIUS * np.array([np.sin(phi) * np.cos(np.pi - h), np.cos(phi), np.sin(phi) * np.sin(np.pi - h)])
    rotation, translation = camera(*angles_of_eg3d(h, v))
    np.testing.assert_allclose(-rotation.T @ translation, eye, atol=1e-12)
    other, shift = camera(*angles_of_ide3d(h, v))
    np.testing.assert_allclose(-other.T @ shift, eye * [-1, 1, 1], atol=1e-12)
