"""ICP: planted transforms, its minimum against a generic solver, trimming, and bad input."""

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from facelift.evaluation.metrics.icp import compose, icp, plane_step
from facelift.geometry import Similarity
from facelift.morphable.head import vertex_normals


@pytest.fixture
def planted() -> Similarity:
    """3 degrees and 2 mm."""
    turn = Rotation.from_rotvec(np.radians([1.5, -2, 1.4])).as_matrix()
    return Similarity(np.array(1.0), turn, np.array([1.0, -1.5, 0.8]))


def inverse_of(motion: Similarity, points: np.ndarray) -> np.ndarray:
    return (points - motion.translation) @ motion.rotation / motion.scale


@pytest.mark.parametrize("metric", ["point", "plane"])
def test_planted_motion_is_recovered(bumpy_grid, planted, metric):
    target, triangles = bumpy_grid
    source = inverse_of(planted, target)
    found = icp(source, target, metric=metric, target_normals=vertex_normals(target, triangles))
    assert found.converged and found.kept.all()
    np.testing.assert_allclose(found.transform.rotation, planted.rotation, atol=1e-9)
    np.testing.assert_allclose(found.transform.translation, planted.translation, atol=1e-7)
    np.testing.assert_allclose(found.residuals, 0, atol=1e-7)


def test_planted_scale_is_recovered_only_when_it_is_free(bumpy_grid, planted):
    target, triangles = bumpy_grid
    scaled = Similarity(np.array(1.06), planted.rotation, planted.translation)
    source, normals = inverse_of(scaled, target), vertex_normals(target, triangles)
    free = icp(source, target, metric="plane", target_normals=normals, with_scale=True)
    assert float(free.transform.scale) == pytest.approx(1.06, abs=1e-9)
    rigid = icp(source, target, metric="plane", target_normals=normals)
    assert float(rigid.transform.scale) == 1 and rigid.rmse > 0.1


def test_trimming_ignores_outliers(bumpy_grid, planted):
    target, _ = bumpy_grid
    source = inverse_of(planted, target)
    source[::20] += [0, 0, 30]  # 5 % float above the face
    trimmed, plain = icp(source, target, trim=0.06), icp(source, target)
    np.testing.assert_allclose(trimmed.transform.rotation, planted.rotation, atol=1e-9)
    np.testing.assert_allclose(trimmed.transform.translation, planted.translation, atol=1e-7)
    assert trimmed.rmse < 1e-7 and trimmed.residuals[::20].min() > 5 and not trimmed.kept[::20].any()
    assert (~trimmed.kept).sum() == int(0.06 * 625)
    assert np.linalg.norm(plain.transform.translation - planted.translation) > 0.3 and plain.rmse > 1


@pytest.mark.parametrize("metric", ["point", "plane"])
def test_noisy_end_is_a_minimum_that_a_generic_solver_cannot_better(bumpy_grid, planted, rng, metric):
    target, triangles = bumpy_grid
    normals = vertex_normals(target, triangles)
    source = inverse_of(planted, target) + 0.5 * rng.standard_normal(target.shape)
    found = icp(source, target, metric=metric, target_normals=normals)
    nearest = ((found.transform.apply(source)[:, None] - target) ** 2).sum(-1).argmin(1)

    def residual(parameters):
        turn = Rotation.from_rotvec(parameters[:3]).as_matrix()
        error = found.transform.apply(source) @ turn.T + parameters[3:] - target[nearest]
        return (error * normals[nearest]).sum(1) if metric == "plane" else error.ravel()

    best = least_squares(residual, np.zeros(6), xtol=1e-14, ftol=1e-14, gtol=1e-14)
    np.testing.assert_allclose(best.x, 0, atol=1e-6)
    assert found.rmse == pytest.approx(np.sqrt(2 * best.cost / len(source)), rel=1e-9) and found.rmse > 0.2


def test_swapped_clouds_leave_another_residual(bumpy_grid, rng):
    target, _ = bumpy_grid
    part = (target + 0.3 * rng.standard_normal(target.shape))[target[:, 0] < 10]
    assert icp(target, part).rmse > 3 * icp(part, target).rmse > 0.3


def test_start_is_where_it_begins(bumpy_grid):
    target, _ = bumpy_grid
    turn = Rotation.from_rotvec(np.radians([0, 0, 170.0])).as_matrix()
    start = Similarity(np.array(1.0), Rotation.from_rotvec(np.radians([0, 0, 168.0])).as_matrix(), np.zeros(3))
    source = target @ turn
    assert icp(source, target).rmse > 1
    assert icp(source, target, start=start).rmse < 1e-7


def test_plane_step_is_exact_for_a_shift_and_leaves_free_directions_alone(rng):
    points = rng.standard_normal((30, 3)) * [1, 1, 0]
    normals = np.tile([0.0, 0, 1], (30, 1))
    step = plane_step(points, points + np.array([5, 7, 2]), normals)
    np.testing.assert_allclose(step.rotation, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(step.translation, [0, 0, 2], atol=1e-12)


def test_composition_is_one_after_the_other(planted, rng):
    outer = Similarity(np.array(2.0), Rotation.random(rng=rng).as_matrix(), rng.standard_normal(3))
    points = rng.standard_normal((5, 3))
    np.testing.assert_allclose(compose(outer, planted).apply(points), outer.apply(planted.apply(points)), atol=1e-12)


def test_iterations_end_without_convergence(bumpy_grid, planted):
    target, _ = bumpy_grid
    found = icp(inverse_of(planted, target), target, iterations=2)
    assert found.iterations == 2 and not found.converged


def test_bad_input_is_refused(bumpy_grid):
    target, _ = bumpy_grid
    with pytest.raises(ValueError, match="3 finite points in the source"):
        icp(target[:2], target)
    with pytest.raises(ValueError, match="3 finite points in the target"):
        icp(target, np.where(target > 20, np.nan, target))
    with pytest.raises(ValueError, match=r"share to trim in \[0, 1\), found 1"):
        icp(target, target, trim=1.0)
    with pytest.raises(ValueError, match="expected the target's normals"):
        icp(target, target, metric="plane")
