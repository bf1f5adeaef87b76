"""Florence and NoW: planted offsets with known distances, brute force, alignment, and what each protocol leaves in."""

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from facelift.evaluation.metrics.scans import (
    align_surface,
    florence_rmse,
    now_crop,
    now_distances,
    now_summary,
    within,
)
from facelift.evaluation.metrics.surface_distance import Surface
from facelift.geometry import Similarity, procrustes
from facelift.morphable.head import vertex_normals

SEVEN = np.array([307, 310, 314, 317, 237, 185, 189])


def moved(points: np.ndarray, scale: float = 1.0) -> np.ndarray:
    return scale * points @ Rotation.from_rotvec([0.02, -0.03, 0.025]).as_matrix() + [1.0, 0.5, -0.8]


def test_point_to_plane_rmse_is_brute_force_at_the_optimum(bumpy_grid, rng):
    """A generic solver over the six motions of the noisy prediction, nearest points refound in every call."""
    scan, triangles = bumpy_grid
    prediction = moved(scan) + 0.4 * rng.standard_normal(scan.shape)
    found = florence_rmse(prediction, scan, triangles, nose_tip=np.zeros(3), with_scale=False)
    normals = vertex_normals(scan, triangles)
    face = prediction[np.linalg.norm(prediction, axis=1) <= 95]

    def error(parameters):
        points = Rotation.from_rotvec(parameters[:3]).apply(face) + parameters[3:]
        nearest = ((points[:, None] - scan) ** 2).sum(-1).argmin(1)
        return ((points - scan[nearest]) * normals[nearest]).sum(1)

    best = least_squares(error, np.zeros(6), diff_step=1e-7)
    assert found == pytest.approx(np.sqrt((best.fun**2).mean()), rel=2e-3) and found > 0.3


def test_florence_measures_along_the_normals_and_crops(bumpy_grid):
    scan, triangles = bumpy_grid
    normals = vertex_normals(scan, triangles)
    signs = np.where(np.arange(625) % 2, 1.0, -1.0)[:, None]  # no motion can take this out
    prediction = scan + 0.5 * signs * normals
    assert florence_rmse(prediction, scan, triangles, nose_tip=np.zeros(3), with_scale=False) == pytest.approx(
        0.5, rel=0.02
    )
    spoiled = np.where(np.linalg.norm(scan[:, :2], axis=1, keepdims=True) > 50, scan + np.array([0, 0, 40]), prediction)
    inner = florence_rmse(spoiled, scan, triangles, nose_tip=np.zeros(3), with_scale=False, crop_mm=49.0)
    assert inner == pytest.approx(0.5, rel=0.05)
    assert florence_rmse(spoiled, scan, triangles, nose_tip=np.zeros(3), with_scale=False) > 3


def test_florence_takes_scale_out_only_when_the_protocol_does(bumpy_grid):
    scan, triangles = bumpy_grid
    prediction = moved(scan, 1.05)
    nose = np.array([0.0, 0, 20])
    assert florence_rmse(prediction, scan, triangles, nose_tip=nose, with_scale=True) < 1e-7
    assert florence_rmse(prediction, scan, triangles, nose_tip=nose, with_scale=False) > 0.05


def test_florence_starts_where_it_is_told(bumpy_grid):
    scan, triangles = bumpy_grid
    turned = moved(scan) @ np.diag([-1.0, -1, 1]) + [500, 0, 0]
    start = procrustes(turned[SEVEN], scan[SEVEN], with_scale=False)
    assert florence_rmse(turned, scan, triangles, nose_tip=np.zeros(3), with_scale=False, start=start) < 1e-7
    with pytest.raises(ValueError, match="prediction points within 95"):
        florence_rmse(turned, scan, triangles, nose_tip=np.zeros(3), with_scale=False)


def test_florence_is_not_symmetric(bumpy_grid, rng):
    scan, triangles = bumpy_grid
    noisy = scan + 0.8 * rng.standard_normal(scan.shape)
    there = florence_rmse(noisy, scan, triangles, nose_tip=np.zeros(3), with_scale=False)
    back = florence_rmse(scan, noisy, triangles, nose_tip=np.zeros(3), with_scale=False)
    assert abs(there / back - 1) > 0.02


def test_now_crop_is_the_hand_computed_one():
    seven = np.array([[-45.0, 0, 0], [-15, 0, 0], [15, 0, 0], [45, 0, 0], [0, -40, 0], [-25, -70, 0], [25, -70, 0]])
    centre, radius = now_crop(seven)
    np.testing.assert_allclose(centre, [0, -28, 0])
    assert radius == pytest.approx(1.4 * (90 + 40) / 2)
    assert within(np.array([[0.0, -28, 91], [0, -28, 91.1]]), centre, radius).tolist() == [True, False]


def test_landmark_aligned_distance_is_brute_force(bumpy_grid, rng):
    scan, triangles = bumpy_grid
    prediction = moved(scan + rng.standard_normal(scan.shape), 1.7)
    found = now_distances(scan, scan[SEVEN], prediction, triangles, prediction[SEVEN], refine=False)
    centre, radius = now_crop(scan[SEVEN])
    region = scan[np.linalg.norm(scan - centre, axis=1) <= radius]
    assert 50 < len(region) < 625
    mesh = procrustes(prediction[SEVEN], scan[SEVEN], with_scale=True).apply(prediction)
    expected = [min_distance(point, mesh[triangles]) for point in region]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert found.mean() > 0.3


def min_distance(point: np.ndarray, corners: np.ndarray) -> float:
    """Over all triangles, each by non-negative least squares in its plane and along its edges."""
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    gram = np.stack(
        [np.stack([(ab * ab).sum(1), (ab * ac).sum(1)], 1), np.stack([(ab * ac).sum(1), (ac * ac).sum(1)], 1)], 1
    )
    vw = np.linalg.solve(gram, np.stack([((point - a) * ab).sum(1), ((point - a) * ac).sum(1)], 1)[..., None])[..., 0]
    inside = (vw >= 0).all(1) & (vw.sum(1) <= 1)
    best = np.linalg.norm(a + vw[:, :1] * ab + vw[:, 1:] * ac - point, axis=1)[inside].min(initial=np.inf)
    for i in range(3):
        start, along = corners[:, i], corners[:, (i + 1) % 3] - corners[:, i]
        share = np.clip(((point - start) * along).sum(1) / (along**2).sum(1), 0, 1)[:, None]
        best = min(best, np.linalg.norm(start + share * along - point, axis=1).min())
    return best


def test_refinement_takes_wrong_landmarks_out(bumpy_grid, rng):
    scan, triangles = bumpy_grid
    prediction = moved(scan, 0.9)
    wrong = prediction[SEVEN] + 1.5 * rng.standard_normal((7, 3))
    by_landmarks = now_distances(scan, scan[SEVEN], prediction, triangles, wrong, refine=False)
    refined = now_distances(scan, scan[SEVEN], prediction, triangles, wrong)
    assert by_landmarks.mean() > 0.3 and refined.max() < 1e-6


def test_refinement_ends_at_the_minimum_of_the_squared_distances(bumpy_grid, rng):
    vertices, triangles = bumpy_grid
    points = vertices[::4] + rng.standard_normal((157, 3))
    start = Similarity(np.array(1.02), Rotation.from_rotvec([0.02, 0.01, -0.03]).as_matrix(), np.array([0.5, 1, -0.5]))
    found = align_surface(vertices, triangles, points, start=start)

    def distances(parameters):
        turn = Rotation.from_rotvec(parameters[:3]).as_matrix()
        mesh = np.exp(parameters[6]) * found.apply(vertices) @ turn.T + parameters[3:6]
        return Surface(mesh, triangles).closest(points).distances

    here = (distances(np.zeros(7)) ** 2).sum()
    best = least_squares(distances, np.zeros(7), diff_step=1e-6, x_scale=[0.01] * 3 + [1.0] * 3 + [0.01])
    assert 10 < here <= 2 * best.cost * (1 + 1e-5)


def test_scan_to_mesh_is_not_mesh_to_scan(bumpy_grid, rng):
    scan, triangles = bumpy_grid
    prediction = scan + [1, 1, 3] * rng.standard_normal(scan.shape)
    there = now_distances(scan, scan[SEVEN], prediction, triangles, prediction[SEVEN], refine=False)
    back = now_distances(prediction, prediction[SEVEN], scan, triangles, scan[SEVEN], refine=False)
    assert abs(there.mean() / back.mean() - 1) > 0.02


def test_a_mirrored_prediction_is_an_error_unless_reflection_is_asked_for(bumpy_grid):
    scan, triangles = bumpy_grid
    mirrored = scan * [1, 1, -1]
    arguments = (scan, scan[SEVEN], mirrored, triangles, mirrored[SEVEN])
    assert now_distances(*arguments).mean() > 0.5
    np.testing.assert_allclose(now_distances(*arguments, with_reflection=True), 0, atol=1e-9)


def test_summary_pools_the_vertices_of_all_scans():
    found = now_summary([np.array([1.0, 2, 3]), np.array([10.0])])
    assert (found.median, found.mean, found.points, found.scans) == (2.5, 4.0, 4, 2)
    assert found.std == pytest.approx(np.sqrt((9 + 4 + 1 + 36) / 4))
    with pytest.raises(ValueError, match="at least one scan"):
        now_summary([])


def test_landmarks_in_other_units_are_noticed(bumpy_grid):
    scan, triangles = bumpy_grid
    with pytest.raises(ValueError, match="are units the same"):
        now_distances(1000 * scan + 1e5, scan[SEVEN], scan, triangles, scan[SEVEN])
