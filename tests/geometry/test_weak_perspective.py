"""The scaled orthographic camera against a generic solver and planted poses."""

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from facelift.geometry import geodesic_distance, intrinsics, look_at_rotation, project, sphere_translation
from facelift.geometry.weak_perspective import scale_and_rotation, weak_perspective
from facelift.landmarks import mean_head


def test_a_far_camera_is_matched_exactly():
    """From 2,700 units away perspective is gone: pixels are those of the pose, and its depth is the camera's."""
    points, rotation = mean_head(), look_at_rotation(35.0, -10.0, 20.0)
    translation = np.array([0.3, -0.2, 2700.0])
    size = 120.0 * 1000
    pose = weak_perspective(points, rotation, translation, size)
    placed = points @ pose[:, :3].T + pose[:, 3]
    seen = project(points, rotation, translation, intrinsics(size))
    assert np.abs(placed[:, :2] - seen).max() < 1e-3 * np.ptp(seen)
    scale, found = scale_and_rotation(pose)
    assert np.degrees(geodesic_distance(found, rotation)) < 0.02
    np.testing.assert_allclose(np.diff(placed[:, 2]), scale * np.diff(points @ rotation[2]), atol=2e-3 * scale)
    assert pose[2, 3] == 0


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.1, -0.08)])
def test_near_cameras_are_matched_about_as_well_as_any_pose_does(shift):
    """No pose by a generic solver over scale, rotation and shift comes much nearer; a head beside the axis is seen from
    the side, which the camera's own rotation does not know."""
    points, rotation = mean_head(), look_at_rotation(20.0, 5.0)
    translation = sphere_translation(rotation) + np.append(shift, 0.0)
    wanted = project(points, rotation, translation, intrinsics(120.0))

    def residual(x):
        turned = points @ Rotation.from_rotvec(x[3:]).as_matrix()[:2].T
        return (x[0] * turned + x[1:3] - wanted).ravel()

    start = [200, 60, 60, *Rotation.from_matrix(rotation).as_rotvec()]
    best = least_squares(residual, start)
    pose = weak_perspective(points, rotation, translation, 120.0)
    found = points @ pose[:2, :3].T + pose[:2, 3] - wanted
    assert np.sqrt((found**2).mean()) < 1.3 * np.sqrt((best.fun**2).mean()) + 0.02
    assert np.sqrt((found**2).mean()) < 0.01 * np.ptp(wanted)


def test_scale_and_rotation_of_planted_and_disturbed_poses():
    rng = np.random.default_rng(0)
    rotations = Rotation.random(20, random_state=1).as_matrix()
    scales = rng.uniform(50, 300, 20)
    poses = np.concatenate([scales[:, None, None] * rotations, rng.normal(size=(20, 3, 1))], axis=-1)
    found_scales, found = scale_and_rotation(poses)
    np.testing.assert_allclose(found_scales, scales)
    np.testing.assert_allclose(found, rotations, atol=1e-12)
    poses[..., :3] += rng.normal(size=(20, 3, 3)) * scales[:, None, None] * 0.05
    found = scale_and_rotation(poses)[1]
    np.testing.assert_allclose(np.linalg.det(found), 1)
    expected = np.stack([Rotation.from_matrix(matrix).as_matrix() for matrix in poses[..., :3]])
    assert np.degrees(geodesic_distance(found, expected)).max() < 8
    assert (geodesic_distance(found, rotations) < 0.15).all()
