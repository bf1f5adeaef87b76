"""Triangulation against planted points, SciPy's optimum and Monte Carlo."""

import numpy as np
import pytest

from facelift.geometry import intrinsics, project, rotation_from_euler
from facelift.lifting.rig import rig
from facelift.lifting.solver import SolverConfig, triangulate

optimize = pytest.importorskip("scipy.optimize")

K = intrinsics(256)
EXACT = SolverConfig(iterations=200, tolerance=1e-14)
LEAST_SQUARES = SolverConfig(cauchy=np.inf, iterations=50, tolerance=1e-14)
BACKENDS = ["numpy"]
try:
    import numba  # noqa: F401
except ImportError:
    pass
else:
    BACKENDS.append("numba")


def _views(size=41):
    views = rig(size)
    return views.rotations, views.translations


def _problem(rng, faces=3, landmarks=7, size=41, noise_px=0.0):
    R, t = _views(size)
    X = rng.normal(size=(faces, landmarks, 3)) * 0.12
    x = np.stack([project(np.tile(face, (size, 1, 1)), R, t, K) for face in X])
    return X, x + rng.normal(size=x.shape) * noise_px, np.ones((faces, size, landmarks)), R, t


def _covariances(rng, shape):
    factor = np.tril(rng.normal(size=(*shape, 2, 2))) + 1.5 * np.eye(2)
    return factor @ np.swapaxes(factor, -1, -2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [5, 41])
@pytest.mark.parametrize("config", [SolverConfig(), LEAST_SQUARES])
def test_exact_projections_give_the_points_back(rng, backend, size, config):
    X, x, w, R, t = _problem(rng, size=size)
    lifted = triangulate(x, w, R, t, K, config=config, backend=backend)
    np.testing.assert_allclose(lifted.points, X, atol=1e-9)
    assert lifted.solved.all() and (lifted.views_used == size).all()
    assert lifted.residual_px.max() < 1e-6 and np.abs(lifted.covariance).max() < 1e-12


def test_two_orthogonal_views_by_hand():
    """Cameras on +z and +x at distance 2, focal 100 px, centre 50: (0.1, 0.2, 0.4) by similar triangles."""
    R = np.array([[[1, 0, 0], [0, -1, 0], [0, 0, -1]], [[0, 0, -1], [0, -1, 0], [-1, 0, 0]]], float)
    t = np.array([[0, 0, 2], [0, 0, 2]], float)
    K = np.array([[100, 0, 50], [0, 100, 50], [0, 0, 1.0]])
    x = np.array([[50 + 100 * 0.1 / 1.6, 50 - 100 * 0.2 / 1.6], [50 - 100 * 0.4 / 1.9, 50 - 100 * 0.2 / 1.9]])
    lifted = triangulate(x[None, :, None], np.ones((1, 2, 1)), R, t, K, backend="numpy")
    np.testing.assert_allclose(lifted.points[0, 0], [0.1, 0.2, 0.4], atol=1e-12)


@pytest.mark.parametrize("with_covariances", [False, True])
@pytest.mark.parametrize("cauchy", [4.0, np.inf])
def test_fast_and_plain_solver_agree(rng, with_covariances, cauchy):
    pytest.importorskip("numba")
    _, x, w, R, t = _problem(rng, faces=5, landmarks=20, noise_px=2)
    w = rng.uniform(size=w.shape) * (rng.uniform(size=w.shape) < 0.6)
    x[rng.uniform(size=w.shape) < 0.1] += 30
    x[rng.uniform(size=w.shape) < 0.05] = np.nan
    w[0, :, 0], w[0, :, 1] = 0, np.eye(41)[3]
    S = _covariances(rng, w.shape) if with_covariances else None
    config = SolverConfig(cauchy=cauchy)
    fast, plain = (triangulate(x, w, R, t, K, covariances=S, config=config, backend=b) for b in ("numba", "numpy"))
    np.testing.assert_array_equal(fast.solved, plain.solved)
    np.testing.assert_array_equal(fast.views_used, plain.views_used)
    assert not fast.solved[0, :2].any() and fast.solved.sum() >= 97
    for name in ("points", "residual_px"):
        np.testing.assert_allclose(getattr(fast, name), getattr(plain, name), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(fast.covariance, plain.covariance, rtol=1e-8, atol=1e-15)


def _distances(X, x, w, R, t, S):
    """Whitened length of each view's residual, px or standard deviations."""
    error = project(np.tile(X, (len(R), 1, 1)), R, t, K)[:, 0] - x
    return np.sqrt(w * np.einsum("vi,vij,vj->v", error, np.linalg.inv(S), error))


def test_least_squares_is_the_optimum_that_scipy_finds(rng):
    _, x, w, R, t = _problem(rng, faces=1, landmarks=5, noise_px=2)
    w = rng.uniform(size=w.shape)
    S = _covariances(rng, w.shape)
    lifted = triangulate(x, w, R, t, K, covariances=S, config=LEAST_SQUARES, backend=BACKENDS[-1])
    for n in range(5):
        factor = np.linalg.cholesky(np.linalg.inv(S[0, :, n]))

        def residuals(X, n=n, factor=factor):
            error = project(np.tile(X, (41, 1, 1)), R, t, K)[:, 0] - x[0, :, n]
            return (np.sqrt(w[0, :, n])[:, None] * np.einsum("vji,vj->vi", factor, error)).ravel()

        best = optimize.least_squares(residuals, np.zeros(3), xtol=1e-15, ftol=1e-15, gtol=1e-15)
        np.testing.assert_allclose(lifted.points[0, n], best.x, atol=1e-9)
        unit_variance = 2 * best.cost / (2 * 41 - 3)
        expected = unit_variance * np.linalg.inv(best.jac.T @ best.jac)
        np.testing.assert_allclose(lifted.covariance[0, n], expected, rtol=1e-4, atol=1e-9 * expected.max())


def test_cauchy_is_the_optimum_that_scipy_finds(rng):
    """SciPy's Cauchy loss on the lengths of the views' residuals, from where the points really are."""
    X, x, w, R, t = _problem(rng, faces=1, landmarks=6, noise_px=2)
    x[0, ::5] += rng.normal(size=x[0, ::5].shape) * 30
    S = np.tile(np.eye(2), (41, 1, 1))
    lifted = triangulate(x, w, R, t, K, config=EXACT, backend=BACKENDS[-1])
    for n in range(6):
        best = optimize.least_squares(
            lambda point, n=n: _distances(point, x[0, :, n], np.ones(41), R, t, S),
            X[0, n], loss="cauchy", f_scale=4.0, xtol=1e-15, ftol=1e-15, gtol=1e-15,
        )  # fmt: skip
        np.testing.assert_allclose(lifted.points[0, n], best.x, atol=2e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_planted_outlier_view_does_not_count(rng, backend):
    X, x, w, R, t = _problem(rng, noise_px=0.2)
    x[:, 7] += [60, -40]
    robust = triangulate(x, w, R, t, K, backend=backend)
    plain = triangulate(x, w, R, t, K, config=LEAST_SQUARES, backend=backend)
    w[:, 7] = 0
    without = triangulate(x, w, R, t, K, backend=backend)
    assert (robust.views_used == 40).all()
    assert np.linalg.norm(robust.points - without.points, axis=-1).max() < 1e-4
    assert np.linalg.norm(plain.points - X, axis=-1).min() > 20 * np.linalg.norm(robust.points - X, axis=-1).max()


@pytest.mark.parametrize("cauchy", [np.inf, 4.0, 2.0])
def test_covariance_is_that_of_many_noisy_repeats(rng, cauchy):
    """3,000 repeats with noise of 2 px: the spread has 2.6 % standard error a variance; the Cauchy form is exact only
    for many views, so 12 % tolerance over the 3x3 matrix."""
    _, x, w, R, t = _problem(rng, faces=1, landmarks=2)
    repeats = x + rng.normal(size=(3000, *x.shape[1:])) * 2
    w = np.tile(rng.uniform(0.99, 1, (1, 41, 2)), (3000, 1, 1))
    lifted = triangulate(repeats, w, R, t, K, config=SolverConfig(cauchy=cauchy, iterations=30), backend=BACKENDS[-1])
    for n in range(2):
        spread = np.cov(lifted.points[:, n].T)
        stated = lifted.covariance[:, n].mean(0)
        np.testing.assert_allclose(stated, spread, atol=0.12 * np.abs(spread).max())
        np.testing.assert_allclose(np.diag(stated), np.diag(spread), rtol=0.12)


def test_covariances_weigh_directions(rng):
    """Noise along x alone, and stated so: far better than with equal weights, and the optimum follows y."""
    X, x, w, R, t = _problem(rng, faces=20, landmarks=5)
    x[..., 0] += rng.normal(size=x.shape[:-1]) * 4
    x[..., 1] += rng.normal(size=x.shape[:-1]) * 0.1
    S = np.broadcast_to(np.diag([16.0, 0.01]), (*x.shape, 2))
    told = triangulate(x, w, R, t, K, covariances=S, backend=BACKENDS[-1]).points
    untold = triangulate(x, w, R, t, K, config=LEAST_SQUARES, backend=BACKENDS[-1]).points
    assert np.abs(told - X).mean() < 0.4 * np.abs(untold - X).mean()


@pytest.mark.parametrize("backend", BACKENDS)
def test_moving_world_and_cameras_together_moves_the_points(rng, backend):
    _, x, w, R, t = _problem(rng, noise_px=1)
    Q = rotation_from_euler(np.array([20.0, -35.0, 50.0]))
    shift = np.array([0.3, -0.2, 0.4])
    before = triangulate(x, w, R, t, K, config=EXACT, backend=backend)
    moved = triangulate(x, w, R @ Q.T, t - R @ Q.T @ shift, K, config=EXACT, backend=backend)
    np.testing.assert_allclose(moved.points, before.points @ Q.T + shift, atol=1e-9)
    np.testing.assert_allclose(moved.covariance, Q @ before.covariance @ Q.T, rtol=1e-5, atol=1e-13)
    np.testing.assert_allclose(moved.residual_px, before.residual_px, rtol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
class TestDegenerate:
    def test_bad_landmarks_do_not_touch_the_others(self, rng, backend):
        X, x, w, R, t = _problem(rng, faces=1, landmarks=6)
        w[0, :, 0] = 0
        x[0, :, 1] = np.nan
        w[0, 1:, 2] = 0
        x[0, 2:, 3] = np.inf
        x[0, 30, 4] = np.nan
        lifted = triangulate(x, w, R, t, K, backend=backend)
        np.testing.assert_array_equal(lifted.solved[0], [False, False, False, True, True, True])
        np.testing.assert_array_equal(lifted.views_used[0], [0, 0, 0, 2, 40, 41])
        np.testing.assert_allclose(lifted.points[0, 3:], X[0, 3:], atol=1e-9)
        for array in (lifted.points, lifted.covariance, lifted.residual_px):
            assert np.isnan(array[0, :3]).all() and np.isfinite(array[0, 3:]).all()

    def test_the_same_view_twice_has_no_depth(self, rng, backend):
        _, x, _, R, t = _problem(rng, faces=1, landmarks=3)
        same = [4, 4]
        lifted = triangulate(x[:, same], np.ones((1, 2, 3)), R[same], t[same], K, backend=backend)
        assert not lifted.solved.any() and np.isnan(lifted.points).all()

    def test_a_view_whose_camera_looks_away_is_left_out(self, rng, backend):
        X, x, w, R, t = _problem(rng, faces=1, landmarks=4, size=9)
        behind = R.copy(), t.copy()
        flip = np.diag([1.0, -1.0, -1.0])
        behind[0][5], behind[1][5] = flip @ R[5], flip @ t[5]
        x[:, 5] = 128
        lifted = triangulate(x, w, *behind, K, backend=backend)
        assert lifted.solved.all() and (lifted.views_used == 8).all()
        np.testing.assert_allclose(lifted.points, X, atol=1e-3)

    def test_covariances_that_are_none_take_their_view_out(self, rng, backend):
        X, x, w, R, t = _problem(rng, faces=1, landmarks=2)
        S = np.tile(np.eye(2), (1, 41, 2, 1, 1))
        S[:, 3], S[:, 4] = 0, np.nan
        x[:, [3, 4]] += 500
        lifted = triangulate(x, w, R, t, K, covariances=S, backend=backend)
        assert (lifted.views_used == 39).all()
        np.testing.assert_allclose(lifted.points, X, atol=1e-9)

    def test_views_that_do_not_agree(self, rng, backend):
        _, _, w, R, t = _problem(rng, faces=1, landmarks=1, size=5)
        x = rng.uniform(-4000, 4000, (1, 5, 1, 2))
        assert not triangulate(x, w, R, t, K, backend=backend).solved.any()

    def test_no_faces(self, backend):
        R, t = _views()
        lifted = triangulate(np.zeros((0, 41, 98, 2)), np.zeros((0, 41, 98)), R, t, K, backend=backend)
        assert lifted.points.shape == (0, 98, 3)
