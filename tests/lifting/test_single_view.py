"""Pose and shape from one view: exact labels of known heads give the known camera back."""

import numpy as np
import pytest

from facelift.geometry import geodesic_distance, intrinsics, look_at_rotation, project, sphere_translation
from facelift.landmarks import WFLW98, normals
from facelift.lifting.single_view import ShapeSpace, fit_single_views, shape_space


@pytest.fixture(scope="module")
def heads() -> np.ndarray:
    from facelift.generators.morphable import MorphableGenerator

    generator = MorphableGenerator(None)
    return np.stack([generator.landmarks(seed) for seed in range(60)])


@pytest.fixture(scope="module")
def space(heads) -> ShapeSpace:
    return shape_space(np.concatenate([heads[:40, :96], np.full((40, 2, 3), np.nan)], axis=1))


def views(heads: np.ndarray):
    """Each head once, from azimuth -80 to 80, rolled; what faces away has no label."""
    azimuth = np.linspace(-80, 80, len(heads))
    rotation = look_at_rotation(azimuth, 20 * np.sin(azimuth), 40 * np.cos(azimuth))
    points = project(heads, rotation, sphere_translation(rotation) * [1, 1, 1.1], intrinsics(1.0))
    hidden = -np.einsum("lj,nj->nl", normals(), rotation[:, 2]) < -0.1
    return rotation, np.where(hidden[..., None], np.nan, points), points


def test_known_heads_give_camera_and_hidden_landmarks(heads, space):
    rotation, labels, exact = views(heads[40:])
    fit = fit_single_views(labels, np.ones(labels.shape[:2]), space)
    assert np.degrees(geodesic_distance(fit.rotation, rotation)).max() < 6
    assert np.median(np.degrees(geodesic_distance(fit.rotation, rotation))) < 2.5
    error = np.linalg.norm(fit.points - exact, axis=-1)
    assert np.nanmax(np.where(np.isfinite(labels[..., 0]), error, np.nan)) < 0.03
    assert error[~np.isfinite(labels[..., 0])].mean() < 0.03 and fit.good().all()


def test_outliers_are_outvoted_and_labels_of_weight_0_unread(heads, space):
    rotation, labels, _ = views(heads[40:])
    labels[:, 60] += 0.4
    labels[:, 8] = 9.0
    weights = np.ones(labels.shape[:2])
    weights[:, 8] = 0
    fit = fit_single_views(labels, weights, space)
    assert np.median(np.degrees(geodesic_distance(fit.rotation, rotation))) < 3


def test_nothing_to_fit_is_no_good(space):
    fit = fit_single_views(np.full((2, 98, 2), np.nan), np.ones((2, 98)), space)
    assert not fit.good().any() and np.isfinite(fit.landmarks).all()


def test_jacobian_is_the_derivative(heads, space):
    from facelift.lifting import single_view as sv

    rotation, labels, _ = views(heads[40:44])
    points = np.nan_to_num(labels, nan=0.5)
    weights = np.isfinite(labels[..., 0]).astype(float)
    shape = np.random.default_rng(0).normal(size=(4, space.basis.shape[-1]))
    state = sv._State(rotation, sphere_translation(rotation), shape)
    _, gradient = sv._normal_equations(state, points, weights, space)
    step = 1e-6
    for i in range(6 + shape.shape[1]):
        move = np.zeros((4, 6 + shape.shape[1]))
        move[:, i] = step
        high, low = (sv._energy(state.moved(sign * move), points, weights, space) for sign in (1, -1))
        np.testing.assert_allclose(gradient[:, i], (high - low) / (4 * step), rtol=2e-3, atol=1e-2)


def test_space_is_symmetric_scaled_to_its_faces_and_needs_two(heads, space):
    np.testing.assert_allclose(space.mean[WFLW98.mirror] * [-1, 1, 1], space.mean, atol=1e-12)
    drawn = np.einsum("lik,nk->nli", space.basis, np.random.default_rng(0).normal(size=(4000, space.basis.shape[-1])))
    faces = np.concatenate([heads[:40], heads[:40, WFLW98.mirror] * [-1, 1, 1]])[:, :96]
    np.testing.assert_allclose(drawn[:, :96].std(0).mean(), faces.std(0, ddof=1).mean(), rtol=0.05)
    with pytest.raises(ValueError, match="at least 2 faces with all landmarks, found 1"):
        shape_space(np.stack([heads[0], np.full((98, 3), np.nan)]))


def test_translation_and_residual(heads, space):
    """The camera stands where it stood, 10 % farther off than the sphere; the residual is what was planted."""
    rotation, labels, _ = views(heads[40:])
    fit = fit_single_views(labels, np.ones(labels.shape[:2]), space)
    expected = sphere_translation(rotation) * [1, 1, 1.1]
    np.testing.assert_allclose(fit.translation[:, 2], expected[:, 2], rtol=0.08)
    assert np.abs(fit.translation - expected)[:, :2].max() < 0.15
    noise = np.random.default_rng(0).normal(size=labels.shape) * 0.02
    noisy = fit_single_views(labels + noise, np.ones(labels.shape[:2]), space)
    planted = np.sqrt(np.nanmean((noise**2).sum(-1) * np.where(np.isfinite(labels[..., 0]), 1, np.nan), axis=1))
    assert (noisy.residual > 0.6 * planted).all() and (noisy.residual < 1.2 * planted).all()
    assert fit.good().all() and not fit_single_views(labels + 5 * noise, np.ones(labels.shape[:2]), space).good().any()
