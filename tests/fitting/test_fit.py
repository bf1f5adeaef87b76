"""Fits of exact points, of points with outliers, of bad input, and of several frames of one person."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import torch
from scenes import K, scene, turned_away

from facelift.fitting.config import FitConfig
from facelift.fitting.fit import HeadFits, fit_heads, photo_camera
from facelift.fitting.head import SkinnedHead
from facelift.geometry import geodesic_distance, project

EXACT = FitConfig(noise=1e-4, tolerance=1e-9)
"""Points are trusted to a tenth of a thousandth of the face, so that no prior pulls at it."""


@pytest.fixture(params=["flame", "procedural"])
def model(request):
    return request.getfixturevalue(request.param)


def angle_deg(found: HeadFits, seen) -> np.ndarray:
    return np.degrees(geodesic_distance(found.rotation, seen.rotation))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_points_from_any_start_within_40_degrees(model, rng, dtype):
    """Starts of any angle, to any side, nearer or farther: no point is off by 0.1 % of the eyes' distance."""
    seen = scene(model, rng, faces=16, dtype=dtype)
    away = np.append(rng.uniform(0, 40, 15), 40.0)
    farther = rng.uniform(0.8, 1.4, (16, 1)) ** [0, 0, 1]
    start = turned_away(seen.rotation, away, rng), seen.translation * farther
    found = fit_heads(seen.head, seen.points, None, K, start=start, config=EXACT)
    assert found.failure == (None,) * 16
    assert (found.residuals.max(1) < 1e-3 * seen.eyes).all()
    assert angle_deg(found, seen).max() < 0.1


def test_exact_points_without_a_start(model, rng):
    seen = scene(model, rng, faces=8, yaw=70)
    found = fit_heads(seen.head, seen.points, None, K, config=EXACT)
    assert (found.rms < 1e-3 * seen.size).all() and angle_deg(found, seen).max() < 0.1


def test_results_project_to_the_points_they_tell(model, rng):
    """The parameters of the model, through its own mesh and the returned camera."""
    seen = scene(model, rng, faces=3, dtype=torch.float32)
    noisy = seen.points + rng.normal(0, 1, seen.points.shape)
    found = fit_heads(seen.head, noisy, None, K)
    mesh = seen.head.model.vertices(found.shape, found.expression, found.joints)
    pixels = project(mesh[:, seen.head._chosen[:, 0]], found.rotation, found.translation, found.intrinsics)
    np.testing.assert_allclose(pixels, found.points, atol=2e-3)
    given = np.linalg.norm(pixels - noisy, axis=-1)
    np.testing.assert_allclose(given, found.residuals, atol=3e-3)
    assert found.rms.max() < 3 and found.rms.min() > 0.5  # the noise of a pixel is there


def test_gross_outliers_of_low_confidence_move_little(model, rng):
    seen = scene(model, rng, faces=6)
    noisy = seen.points + rng.normal(0, 0.005, seen.points.shape) * seen.size[:, None, None]
    weights = np.ones(noisy.shape[:2])
    wrong = rng.random(weights.shape) < 0.2
    clean = fit_heads(seen.head, noisy, np.where(wrong, 0.0, 1.0), K)
    bad = np.where(wrong[..., None], noisy + rng.normal(0, 1, noisy.shape) * seen.size[:, None, None], noisy)
    low = fit_heads(seen.head, bad, np.where(wrong, 0.1, 1.0), K)
    moved = np.linalg.norm(low.points - clean.points, axis=-1).mean(1) / seen.size
    assert moved.max() < 0.01
    sure = fit_heads(seen.head, bad, weights, K)
    assert (
        np.linalg.norm(sure.points - clean.points, axis=-1).mean(1) / seen.size
    ).min() > 0.01  # it is the confidence
    robust = fit_heads(seen.head, bad, weights, K, config=FitConfig(kernel="cauchy"))
    assert np.median(np.linalg.norm(robust.points - clean.points, axis=-1).mean(1) / seen.size) < 0.02


def test_the_minimum_is_scipys(procedural, rng):
    """scipy.optimize.least_squares on residuals that are written here, with a numeric Jacobian."""
    seen = scene(procedural, rng, faces=1, points=40)
    noisy = seen.points + rng.normal(0, 3, seen.points.shape)
    weights = rng.uniform(0.2, 1, noisy.shape[:2])
    config = FitConfig(tolerance=0, iterations=60, shape_prior=2.0, expression_prior=0.5)
    found = fit_heads(seen.head, noisy, weights, K, start=(seen.rotation, seen.translation), config=config)
    size = np.sqrt(np.prod(np.ptp(noisy[0], axis=0)))

    def residuals(x):
        mesh = procedural.vertices(x[6:11], x[11:14])[seen.head._chosen[:, 0]]
        from scipy.spatial.transform import Rotation

        rotation = Rotation.from_rotvec(x[:3]).as_matrix() @ seen.rotation[0]
        pixels = project(mesh, rotation, x[3:6], K)
        own = (pixels - noisy[0]) * weights[0][:, None] / (0.01 * size)
        mean, std = procedural.coefficient_mean, procedural.coefficient_std
        prior = (x[6:] - mean) / std * np.sqrt([2.0] * 5 + [0.5] * 3)
        return np.concatenate([own.ravel(), prior])

    begin = np.concatenate([np.zeros(3), seen.translation[0], np.zeros(8)])
    wanted = scipy.optimize.least_squares(residuals, begin, x_scale="jac", xtol=1e-12, ftol=1e-12, gtol=1e-12)
    assert found.cost[0] == pytest.approx(wanted.cost, rel=1e-6)
    np.testing.assert_allclose(np.append(found.shape, found.expression), wanted.x[6:], atol=1e-3)


def test_focal_length_is_found(procedural, rng):
    """A head that fills the picture shows its perspective."""
    seen = scene(procedural, rng, faces=4, deviation=0.3)
    near = seen.translation * 0.45
    positions = seen.head.positions(*(torch.tensor(a) for a in (seen.coefficients, seen.joints))).numpy()
    points = project(positions.transpose(0, 2, 1), seen.rotation, near, np.broadcast_to(K, (4, 3, 3)))
    wrong = K * np.array([[1.3], [1.3], [1]])
    wrong[:2, 2] = K[:2, 2]
    config = replace(EXACT, focal=True, iterations=60)
    found = fit_heads(seen.head, points, None, wrong, config=config)
    np.testing.assert_allclose(found.intrinsics[:, 0, 0], K[0, 0], rtol=0.03)
    kept = fit_heads(seen.head, points, None, wrong, config=EXACT)
    assert (kept.intrinsics[:, 0, 0] == wrong[0, 0]).all()


def test_limits_hold(flame, rng):
    """A jaw that is opened too far stops at its limit, and the rest makes the best of it."""
    seen = scene(flame, rng, faces=2)
    joints = torch.tensor(seen.joints)
    joints[:, 0] = 1.2  # the jaw's x, of at most 35 degrees
    positions = seen.head.positions(torch.tensor(seen.coefficients), joints).numpy().transpose(0, 2, 1)
    points = project(positions, seen.rotation, seen.translation, np.broadcast_to(K, (2, 3, 3)))
    found = fit_heads(
        seen.head, points, None, K, config=FitConfig(joint_std_deg=1000, shape_prior=1e3, expression_prior=1e3)
    )
    np.testing.assert_allclose(np.degrees(found.joints[:, 1, 0]), 35, atol=1e-3)
    assert (found.joints[:, 0] == 0).all()  # the neck rests


BAD = {
    "few points": "expected 6 or more points with confidence, found 5",
    "no confidence": "expected 6 or more points with confidence, found 0",
    "low confidence": "expected 6 or more points with confidence, found 0 of 0.01 or more",
    "five of confidence": "expected 6 or more points with confidence, found 5 of 0.01 or more",
    "far": "found one at 1.25e+197",
    "tiny": "expected points apart",
    "great weight": "expected weights up to 1e+06, found 1e+200",
    "nan": "no point is a number",
    "one place": "expected points apart",
    "behind": "in front of the camera, found depth -",
    "points behind": "the start puts points behind the camera",
    "no rotation": "expected a rotation",
    "nan start": "finite numbers",
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bad_face_is_marked_and_the_rest_is_the_same_to_the_bit(flame, rng, name, dtype):
    seen = scene(flame, rng, faces=5, dtype=dtype)
    points, weights = seen.points.copy(), np.ones(seen.points.shape[:2])
    rotation, translation = turned_away(seen.rotation, 20, rng), seen.translation.copy()
    good = fit_heads(seen.head, points, weights, K, start=(rotation, translation))
    assert good.failure == (None,) * 5
    rotation, translation = rotation.copy(), translation.copy()
    match name:
        case "few points":
            weights[2, 5:] = 0
        case "no confidence":
            weights[2] = 0
        case "low confidence":
            weights[2] = 1e-3
        case "five of confidence":
            weights[2, 5:] = 1e-9
        case "far":
            points[2, 7, 0] = 1e200
        case "tiny":
            points[2] = 1e-250 * points[2]
        case "great weight":
            weights[2, 3] = 1e200
        case "nan":
            points[2] = np.nan
        case "one place":
            points[2] = 100.0
        case "behind":
            translation[2, 2] *= -1
        case "points behind":
            translation[2, 2] = 1e-3
        case "no rotation":
            rotation[2] *= 2
        case "nan start":
            translation[2, 0] = np.nan
    found = fit_heads(seen.head, points, weights, K, start=(rotation, translation))
    assert found.failure[2] is not None and BAD[name] in found.failure[2]
    assert [reason for k, reason in enumerate(found.failure) if k != 2] == [None] * 4
    rest = [0, 1, 3, 4]
    for field in ("rotation", "translation", "shape", "expression", "joints", "points", "residuals", "cost"):
        np.testing.assert_array_equal(getattr(found, field)[rest], getattr(good, field)[rest], err_msg=field)
        assert np.isnan(getattr(found, field)[2]).all(), field
    assert not found.converged[2]


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (0, 1, 5.0, "without skew, found 5 and 0"),
        (1, 0, 5.0, "without skew"),
        (2, 2, 2.0, "last row is 0 0 1, found 0 0 2"),
        (2, 0, 0.1, "last row is 0 0 1"),
        (1, 1, -800.0, "positive focal"),
        (0, 2, np.nan, "positive focal"),
    ],
)
def test_cameras_that_a_fit_does_not_know_are_refused(procedural, rng, row, column, value, message):
    seen = scene(procedural, rng, faces=2)
    cameras = np.tile(K, (2, 1, 1))
    cameras[1, row, column] = value
    found = fit_heads(seen.head, seen.points, None, cameras)
    assert found.failure[0] is None and message in found.failure[1]


def test_unsure_points_do_not_tell_the_size(procedural, rng):
    """One of next to no weight, far off: the noise that is expected of the others stays as it was."""
    seen = scene(procedural, rng, faces=1)
    points, weights = seen.points + rng.normal(0, 2, seen.points.shape), np.ones(seen.points.shape[:2])
    weights[0, 0] = 1e-9
    plain = fit_heads(seen.head, points, weights, K)
    points[0, 0] += 5000
    np.testing.assert_allclose(fit_heads(seen.head, points, weights, K).shape, plain.shape, atol=1e-4)


def test_numbers_that_are_not_finite_are_a_failure(procedural, rng):
    """A start so far away that float32 has no number for it."""
    seen = scene(procedural, rng, faces=2, dtype=torch.float32)
    translation = seen.translation.copy()
    translation[1, 2] = 1e300
    found = fit_heads(seen.head, seen.points, None, K, start=(seen.rotation, translation))
    assert found.failure[0] is None and found.failure[1] is not None and not found.converged[1]
    assert np.isfinite(found.rms[0]) and np.isnan(found.rms[1])


def test_points_behind_the_camera_are_seen_by_either_coordinate(procedural, rng):
    """The x of all points is unknown: what lies behind is still behind."""
    seen = scene(procedural, rng, faces=1)
    weights = np.ones(seen.points.shape) * [0, 1]
    near = seen.translation * [1, 1, 1e-3]
    found = fit_heads(seen.head, seen.points, weights, K, start=(seen.rotation, near))
    assert found.failure == ("the start puts points behind the camera",)


@pytest.mark.parametrize("frames", [1, 3])
def test_no_faces_give_empty_arrays(model, rng, frames):
    head = scene(model, rng, faces=1).head
    count, none = head.basis.shape[1], (np.zeros((0, 3, 3)), np.zeros((0, 3)))
    for start in (None, none):
        found = fit_heads(head, np.zeros((0, count, 2)), None, K, start=start, frames=frames)
        assert found.failure == () and found.points.shape == (0, count, 2) and found.rms.shape == (0,)
        assert found.rotation.shape == (0, 3, 3) and found.converged.shape == (0,)
        mesh = head.model.vertices(found.shape, found.expression, found.joints)
        assert mesh.shape == (0, len(head.model.mean), 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("frames", [1, 4])
def test_a_gpu_fits_as_a_cpu_does(model, rng, frames):
    seen = scene(model, rng, faces=8)
    noisy = seen.points + rng.normal(0, 2, seen.points.shape)
    heads = [SkinnedHead(model, seen.head._chosen[:, 0], dtype=torch.float64, device=d) for d in ("cpu", "cuda")]
    config = FitConfig(kernel="cauchy", iterations=60, tolerance=1e-9)
    cpu, gpu = (fit_heads(head, noisy, None, K, frames=frames, config=config) for head in heads)
    assert cpu.failure == gpu.failure == (None,) * 8
    np.testing.assert_allclose(gpu.cost, cpu.cost, rtol=1e-6)
    np.testing.assert_allclose(gpu.points, cpu.points, atol=0.01)
    np.testing.assert_allclose(gpu.rotation, cpu.rotation, atol=1e-4)


def test_single_nan_points_are_left_out(procedural, rng):
    seen = scene(procedural, rng, faces=2)
    holes = seen.points.copy()
    holes[:, ::3] = np.nan
    weights = np.ones(holes.shape[:2])
    weights[:, ::3] = 0
    np.testing.assert_array_equal(
        fit_heads(seen.head, holes, None, K).rotation, fit_heads(seen.head, seen.points, weights, K).rotation
    )
    assert np.isnan(fit_heads(seen.head, holes, None, K).residuals[:, ::3]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.zeros((2, 3, 2))}, "points: expected"),
        ({"weights": np.ones((2, 5))}, "weights: expected"),
        ({"intrinsics": np.eye(4)}, "intrinsics: expected"),
        ({"frames": 3}, "frames: expected"),
        ({"start": (np.eye(3), np.zeros((2, 3)))}, "start: expected"),
        ({"start": (np.tile(np.eye(3), (2, 1, 1)), np.ones(3))}, "start: expected"),
    ],
)
def test_wrong_shapes_are_errors(procedural, rng, change, message):
    seen = scene(procedural, rng, faces=2)
    arguments = {"points": seen.points, "weights": None, "intrinsics": K} | change
    with pytest.raises(ValueError, match=message):
        fit_heads(seen.head, **arguments)


def test_frames_of_one_person_share_the_shape(flame, rng):
    """Frames that each show a different third of the points: together they know the shape better than alone."""
    seen = scene(flame, rng, faces=6, deviation=1.0)
    shape = seen.coefficients.copy()
    shape[:, :20] = shape[0, :20]
    positions = seen.head.positions(torch.tensor(shape), torch.tensor(seen.joints)).numpy().transpose(0, 2, 1)
    points = project(positions, seen.rotation, seen.translation, np.broadcast_to(K, (6, 3, 3)))
    points += rng.normal(0, 0.01, points.shape) * seen.size[:, None, None]
    weights = np.zeros(points.shape[:2])
    for frame in range(6):
        weights[frame, frame % 3 :: 3] = 1
    alone = fit_heads(seen.head, points, weights, K, config=FitConfig(iterations=30))
    joint = fit_heads(seen.head, points, weights, K, frames=6, config=FitConfig(iterations=30))
    assert np.ptp(joint.shape, axis=0).max() < 1e-9 and np.ptp(alone.shape, axis=0).max() > 0.1
    truth = seen.head.parameters(torch.tensor(shape), torch.tensor(seen.joints))[0]
    assert np.abs(joint.shape - truth).mean() < 0.8 * np.abs(alone.shape - truth).mean()


@pytest.mark.parametrize("depth", [-1.0, 1e-3])
def test_a_bad_frame_does_not_spoil_its_person(procedural, rng, depth):
    """Frames of the same head beside one that starts behind the camera, or has points there."""
    seen = scene(procedural, rng, faces=1)
    points, rotation = np.repeat(seen.points, 4, 0), np.repeat(seen.rotation, 4, 0)
    translation = np.repeat(seen.translation, 4, 0)
    translation[1, 2] = depth
    found = fit_heads(seen.head, points, None, K, start=(rotation, translation), frames=4, config=EXACT)
    assert [reason is None for reason in found.failure] == [True, False, True, True]
    good = [0, 2, 3]
    assert (found.rms[good] < 1e-3 * seen.size).all() and np.isnan(found.shape[1]).all()
    np.testing.assert_allclose(found.rotation[good], seen.rotation.repeat(3, 0), atol=2e-3)


@pytest.mark.parametrize("frames", [2, 8])
def test_equal_frames_are_the_plain_fit(procedural, rng, frames):
    """Equal frames of a person give the fit of one with as much less prior: of 8 frames, 4 count."""
    seen = scene(procedural, rng, faces=1)
    noisy = seen.points + rng.normal(0, 2, seen.points.shape)
    config = FitConfig(tolerance=0, iterations=30)
    double = fit_heads(seen.head, np.repeat(noisy, frames, 0), None, K, frames=frames, config=config)
    strong = replace(config, shape_prior=1 / min(frames, 4))
    plain = fit_heads(seen.head, noisy, None, K, config=strong)
    np.testing.assert_allclose(double.shape[0], plain.shape[0], atol=1e-4)
    np.testing.assert_allclose(double.rotation[1], plain.rotation[0], atol=1e-5)


def test_smoothness_calms_noise_and_keeps_still_faces(flame, rng):
    """Eight noisy frames of a face that does not move."""
    seen = scene(flame, rng, faces=1, points=60)
    points = np.repeat(seen.points, 8, 0) + rng.normal(0, 3, (8, 60, 2))
    config = FitConfig(iterations=30)
    free = fit_heads(seen.head, points, None, K, frames=8, config=config)
    tied = fit_heads(seen.head, points, None, K, frames=8, config=replace(config, smooth=10.0))
    for field in ("expression", "rotation", "joints"):
        calm, loose = (np.abs(np.diff(getattr(found, field), axis=0)).mean() for found in (tied, free))
        assert calm < 0.6 * loose, field
    assert tied.rms.max() < 1.5 * free.rms.max()


def test_camera_of_a_photo_by_hand():
    np.testing.assert_array_equal(photo_camera(400, 300), [[500, 0, 200], [0, 500, 150], [0, 0, 1]])
