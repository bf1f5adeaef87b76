"""Cameras against OpenCV, and the composition with a moved head."""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facelift.datasets.readers.cameras import Camera
from facelift.datasets.readers.meshes import Mesh, MeshSample, loaded
from facelift.datasets.sample import FaceSample


def a_camera(rng, distortion=None):
    K = np.array([[900.0, 1.5, 310.0], [0.0, 870.0, 250.0], [0.0, 0.0, 1.0]])
    distortion = np.zeros(5) if distortion is None else distortion
    return Camera(K, Rotation.from_rotvec(rng.normal(size=3)).as_matrix(), np.array([10.0, -20.0, 900.0]), distortion)


def test_projection_agrees_with_opencv(rng):
    camera = a_camera(rng, np.array([0.31, -0.8, 0.011, -0.007, 0.4]))
    points = rng.normal(0, 120, (200, 3))
    # OpenCV has no skew: it gets normalised coordinates, the skew is added by K here
    vector = cv2.Rodrigues(camera.R)[0]
    normalised = cv2.projectPoints(points, vector, camera.t, np.eye(3), camera.distortion)[0][:, 0]
    expected = np.column_stack([normalised, np.ones(len(points))]) @ camera.K[:2].T
    np.testing.assert_allclose(camera.project(points), expected, atol=1e-9)
    plain = Camera(camera.K, camera.R, camera.t)
    assert np.abs(plain.project(points) - expected).max() > 0.1


def test_distortion_is_taken_out(rng):
    """What a camera without distortion sees of the same points; OpenCV with its many steps agrees."""
    camera = a_camera(rng, np.array([0.11, -0.2, 0.011, -0.007, 0.05]))
    points = rng.normal(0, 80, (200, 3))
    bent, expected = camera.project(points), Camera(camera.K, camera.R, camera.t).project(points)
    assert np.abs(bent - expected).max() > 1
    np.testing.assert_allclose(camera.without_distortion(bent), expected, atol=1e-8)
    normalised = np.linalg.solve(camera.K, np.column_stack([bent, np.ones(200)]).T).T[:, None, :2]
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 200, 1e-14)
    straight = cv2.undistortPointsIter(normalised, np.eye(3), camera.distortion, np.eye(3), np.eye(3), criteria)[:, 0]
    opencv = np.column_stack([straight, np.ones(200)]) @ camera.K[:2].T
    np.testing.assert_allclose(camera.without_distortion(bent), opencv, atol=1e-6)
    bent[3] = np.nan
    assert np.isnan(camera.without_distortion(bent)).any(1).tolist() == [i == 3 for i in range(200)]
    plain = Camera(camera.K, camera.R, camera.t)
    np.testing.assert_array_equal(plain.without_distortion(expected), expected)


def test_points_behind_the_camera_have_no_pixel(rng):
    camera = Camera(np.eye(3), np.eye(3), np.zeros(3))
    pixels = camera.project(np.array([[1.0, 2.0, 4.0], [1.0, 2.0, -4.0], [1.0, 2.0, 0.0]]))
    np.testing.assert_array_equal(pixels, [[0.25, 0.5], [np.nan] * 2, [np.nan] * 2])


def test_camera_of_a_moved_head_sees_the_same(rng):
    camera, R, t = a_camera(rng), Rotation.from_rotvec([0.3, -0.2, 0.9]).as_matrix(), np.array([3.0, 40.0, -7.0])
    points = rng.normal(0, 90, (30, 3))
    expected = camera.project(points @ R.T + t)
    np.testing.assert_allclose(camera.of_moved(R, t).project(points), expected, atol=1e-9)
    assert np.abs(camera.of_moved(R.T, t).project(points) - expected).max() > 1


def test_a_matrix_that_is_no_calibration_is_refused():
    with pytest.raises(ValueError, match="last row is 0 0 1, found"):
        Camera(np.ones((3, 3)), np.eye(3), np.zeros(3))


def test_mesh_is_loaded_once_and_projected(rng):
    calls, mesh = [], Mesh(rng.normal(0, 50, (9, 3)))
    face = FaceSample("a", lambda: None, np.zeros(4), np.zeros((0, 2)), np.zeros(0, np.int8), "none")
    sample = MeshSample(face, lambda: calls.append(1) or mesh, a_camera(rng))
    np.testing.assert_array_equal(sample.vertices_2d(), sample.camera.project(mesh.vertices))
    assert sample.mesh is mesh and len(calls) == 1
    with pytest.raises(ValueError, match="a: expected a camera"):
        MeshSample(face, loaded(mesh)).vertices_2d()
