"""Procrustes: planted similarities, an optimum found without SVD, reflections, weights, and bad input."""

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial import procrustes as scipy_procrustes
from scipy.spatial.transform import Rotation

from facelift.geometry import procrustes


def planted(rng, *, scale: float) -> tuple[np.ndarray, np.ndarray, Rotation, np.ndarray]:
    """Source points, their image under a random similarity, and that similarity's parts."""
    source, rotation, shift = rng.standard_normal((20, 3)), Rotation.random(rng=rng), rng.standard_normal(3)
    return source, scale * rotation.apply(source) + shift, rotation, shift


def test_planted_similarity_is_found(rng):
    source, target, rotation, shift = planted(rng, scale=2.5)
    found = procrustes(source, target, with_scale=True)
    np.testing.assert_allclose(found.rotation, rotation.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(found.translation, shift, atol=1e-12)
    assert float(found.scale) == pytest.approx(2.5)
    np.testing.assert_allclose(found.apply(source), target, atol=1e-12)


def test_without_scale_the_scale_is_one(rng):
    source, target, rotation, _ = planted(rng, scale=2.5)
    found = procrustes(source, target, with_scale=False)
    assert float(found.scale) == 1
    np.testing.assert_allclose(found.rotation, rotation.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(found.apply(source).mean(axis=0), target.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("with_scale", [False, True])
def test_alignment_is_the_optimum_that_a_generic_solver_finds(mirror, with_scale):
    """No SVD here: least squares over seven parameters from 12 starts. Mirrored points cannot fit."""
    rng = np.random.default_rng(11)
    source, target, _, _ = planted(rng, scale=1.3)
    target = target + 0.3 * rng.standard_normal(target.shape)
    if mirror:
        source = source * [-1, 1, 1]
    weights = rng.uniform(0.1, 2, len(source))

    def residual(parameters):
        scale = np.exp(parameters[6]) if with_scale else 1.0
        moved = scale * Rotation.from_rotvec(parameters[:3]).apply(source) + parameters[3:6]
        return (np.sqrt(weights)[:, None] * (moved - target)).ravel()

    starts = [np.concatenate([Rotation.random(rng=rng).as_rotvec(), np.zeros(4)]) for _ in range(12)]
    best = min(2 * least_squares(residual, start, xtol=1e-12, ftol=1e-12, gtol=1e-12).cost for start in starts)
    found = procrustes(source, target, with_scale=with_scale, weights=weights)
    ours = (weights[:, None] * (found.apply(source) - target) ** 2).sum()
    assert ours == pytest.approx(best, rel=1e-8) and ours > 0.5
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_reflection_is_found_only_when_asked_for(rng):
    source, target, _, _ = planted(rng, scale=1.5)
    mirrored = source * [-1, 1, 1]
    proper = procrustes(mirrored, target, with_scale=True)
    mirror = procrustes(mirrored, target, with_scale=True, with_reflection=True)
    assert np.linalg.det(proper.rotation) == pytest.approx(1) and np.linalg.det(mirror.rotation) == pytest.approx(-1)
    np.testing.assert_allclose(mirror.apply(mirrored), target, atol=1e-12)
    assert np.abs(proper.apply(mirrored) - target).max() > 0.5
    same = procrustes(source, target, with_scale=True, with_reflection=True)
    np.testing.assert_allclose(same.apply(source), target, atol=1e-12)


def test_disparity_is_scipys(rng):
    """SciPy standardises both sets and may reflect; noise this small never needs to."""
    source, target, _, _ = planted(rng, scale=0.7)
    target = target + 0.05 * rng.standard_normal(target.shape)
    expected = scipy_procrustes(target, source)[2]
    residual = procrustes(source, target, with_scale=True).apply(source) - target
    centred = target - target.mean(axis=0)
    assert (residual**2).sum() / (centred**2).sum() == pytest.approx(expected, rel=1e-9)


def test_direction_matters_on_noisy_points(rng):
    """Swapped arguments do not give the inverse: the error is measured in the target's unit."""
    source, target, _, _ = planted(rng, scale=2.0)
    target = target + 0.5 * rng.standard_normal(target.shape)
    there, back = procrustes(source, target, with_scale=True), procrustes(target, source, with_scale=True)
    assert float(there.scale * back.scale) < 0.99


def test_points_without_weight_do_not_count(rng):
    source, target, rotation, _ = planted(rng, scale=1.0)
    target[3] += 100
    weights = np.ones(len(source))
    weights[3] = 0
    found = procrustes(source, target, with_scale=True, weights=weights)
    np.testing.assert_allclose(found.rotation, rotation.as_matrix(), atol=1e-12)


def test_batches_equal_single_calls(rng):
    source, target = rng.standard_normal((2, 4, 3, 9, 3))
    found = procrustes(source, target, with_scale=True)
    assert found.scale.shape == (4, 3) and found.rotation.shape == (4, 3, 3, 3)
    for i in np.ndindex(4, 3):
        single = procrustes(source[i], target[i], with_scale=True)
        np.testing.assert_allclose(found.apply(source)[i], single.apply(source[i]), atol=1e-12)


def test_plane_points_align_in_two_dimensions(rng):
    source = rng.standard_normal((6, 2))
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    found = procrustes(source, 3 * source @ turn.T + 1, with_scale=True)
    np.testing.assert_allclose(found.rotation, turn, atol=1e-12)


def test_flat_source_in_space_gives_a_proper_rotation(rng):
    """All points in a plane: two reflections fit equally well, only the rotation may come back."""
    source = rng.standard_normal((8, 3)) * [1, 1, 0]
    rotation = Rotation.random(rng=rng).as_matrix()
    found = procrustes(source, source @ rotation.T, with_scale=True)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-9)


def test_bad_input_is_refused(rng):
    points = rng.standard_normal((5, 3))
    with pytest.raises(ValueError, match="at least 3 points"):
        procrustes(points[:2], points[:2], with_scale=True)
    with pytest.raises(ValueError, match="at least 3 points"):
        procrustes(points, points, with_scale=True, weights=np.array([1.0, 1, 0, 0, 0]))
    with pytest.raises(ValueError, match="NaN"):
        procrustes(points, np.where(points > 1e9, points, np.nan), with_scale=True)
