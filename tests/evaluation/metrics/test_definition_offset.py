"""DC-NME: offsets by SciPy's least squares, planted steps, halves, masks, faces not found, and how it is no NMLC."""

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from facelift.evaluation.metrics.definition_offset import corrected_points, dc_nme, fit_offsets, identity_halves
from facelift.evaluation.metrics.nme import face_nme, mean_error, point_errors

M, N = 24, 5


class Set:
    """Faces whose labels lie a constant step (head frame, face sizes) away from the predictions, and noise."""

    def __init__(self, rng: np.random.Generator, d: int = 2, noise: float = 0.02):
        self.rotation = Rotation.random(M, random_state=int(rng.integers(1 << 30))).as_matrix()
        self.size = rng.uniform(80, 300, M)
        self.scale = rng.uniform(60, 200, M)
        self.step = rng.normal(size=(N, 3)) * 0.2
        self.half = np.arange(M) % 2 == 1
        steps = np.stack([(R @ self.step.T).T[:, :d] for R in self.rotation])
        self.truth = rng.normal(size=(M, N, d)) * 100
        self.predicted = self.truth + self.size[:, None, None] * (steps + rng.normal(size=steps.shape) * noise)

    def fit(self, part: np.ndarray | slice = slice(None), counted: np.ndarray | None = None) -> np.ndarray:
        return fit_offsets(
            self.predicted[part], self.truth[part], self.rotation[part], self.size[part], counted=counted
        )

    def score(self, **changes):
        given = {"rotation": self.rotation, "size": self.size, "scale": self.scale, "half": self.half, **changes}
        return dc_nme(self.predicted, self.truth, **given)


def scipys_offset(faces: Set, j: int, used: np.ndarray, d: int) -> np.ndarray:
    """The step of landmark j by a generic solver of the equation in the module's docstring."""

    def residuals(o: np.ndarray) -> np.ndarray:
        rows = []
        for i in np.flatnonzero(used):
            difference = (faces.predicted[i, j] - faces.truth[i, j]) / faces.size[i]
            rows.extend(difference - (faces.rotation[i] @ o)[:d])
        return np.array(rows)

    return least_squares(residuals, np.full(3, 0.3), xtol=1e-15, ftol=1e-15, gtol=1e-15).x


@pytest.mark.parametrize("d", [2, 3])
def test_offsets_are_those_of_a_generic_solver(d, rng):
    faces = Set(rng, d)
    counted = rng.uniform(size=(M, N)) < 0.7
    faces.truth[rng.uniform(size=(M, N)) < 0.1] = np.nan
    used = counted & np.isfinite(faces.truth).all(-1)
    found = faces.fit(counted=counted)
    for j in range(N):
        np.testing.assert_allclose(found[j], scipys_offset(faces, j, used[:, j], d), atol=1e-9)
    assert np.abs(found).max() > 0.1 and np.abs(found - faces.fit()).max() > 1e-4


@pytest.mark.parametrize("d", [2, 3])
def test_a_planted_step_is_found_and_taken_off(d, rng):
    faces = Set(rng, d, noise=0.0)
    np.testing.assert_allclose(faces.fit(), faces.step, atol=1e-12)
    np.testing.assert_allclose(
        corrected_points(faces.predicted, faces.rotation, faces.size, faces.step), faces.truth, atol=1e-9
    )


def test_corrected_points_by_hand():
    """A head turned so that its x points down and its y to the left: a step (1, 2, 3) is (-2, 1) in the picture."""
    rotation = np.array([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    points = np.array([[[100.0, 100.0]]])
    moved = corrected_points(points, rotation, np.array([10.0]), np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_allclose(moved, [[[120, 90]]])


def test_each_half_is_scored_by_the_other(rng):
    faces = Set(rng)
    found = faces.score()
    of_false, of_true = faces.fit(~faces.half), faces.fit(faces.half)
    np.testing.assert_array_equal(found.offsets, [of_false, of_true])
    for i in range(M):
        o = of_false if faces.half[i] else of_true
        for j in range(N):
            corrected = faces.predicted[i, j] - faces.size[i] * (faces.rotation[i] @ o[j])[:2]
            expected = np.sqrt(sum((corrected - faces.truth[i, j]) ** 2)) / faces.scale[i]
            assert found.errors[i, j] == pytest.approx(expected, rel=1e-9)


def test_scoring_the_fitted_faces_would_flatter(rng):
    """Predictions with noise alone: fitted on themselves the squares can only fall, by the other half they rise."""
    faces = Set(rng, noise=0.1)
    faces.predicted -= np.stack([faces.size[i] * (faces.rotation[i] @ faces.step.T)[:2].T for i in range(M)])
    plain = point_errors(faces.predicted, faces.truth, faces.size)
    own = corrected_points(faces.predicted, faces.rotation, faces.size, faces.fit())
    flattered = point_errors(own, faces.truth, faces.size)
    crossed = faces.score(scale=faces.size).errors
    assert (flattered**2).mean() < (plain**2).mean() < (crossed**2).mean()


def test_takes_off_a_step_that_nme_holds_against_the_system(rng):
    faces = Set(rng)
    nme = mean_error(face_nme(point_errors(faces.predicted, faces.truth, faces.scale))).found
    assert 0.005 < mean_error(face_nme(faces.score().errors)).found < nme / 3


def test_does_not_follow_an_error_that_is_constant_in_the_picture(rng):
    """A shift by the same pixels in all pictures is no step on the head: views from all sides average it out."""
    faces = Set(rng, noise=0.0)
    faces.predicted = faces.truth + 0.1 * faces.size[:, None, None] * [1.0, 0.0]
    found = faces.score(scale=faces.size).errors
    assert np.linalg.norm(faces.fit(), axis=-1).max() < 0.06
    assert found.mean() > 0.08


def test_turning_the_camera_about_its_axis_changes_nothing(rng):
    faces = Set(rng)
    before = faces.score()
    turn = Rotation.from_euler("z", rng.uniform(0, 360, (M, 1)), degrees=True).as_matrix()
    faces.rotation = turn @ faces.rotation
    faces.predicted = np.einsum("mkd,mnd->mnk", turn[:, :2, :2], faces.predicted)
    faces.truth = np.einsum("mkd,mnd->mnk", turn[:, :2, :2], faces.truth)
    after = faces.score()
    np.testing.assert_allclose(after.errors, before.errors, rtol=1e-9)
    np.testing.assert_allclose(after.offsets, before.offsets, atol=1e-9)


def test_swapping_prediction_and_truth_turns_the_offsets_round(rng):
    faces = Set(rng)
    there = faces.fit()
    faces.predicted, faces.truth = faces.truth, faces.predicted
    np.testing.assert_allclose(faces.fit(), -there, atol=1e-12)
    assert np.abs(there).max() > 0.1


def test_what_does_not_count_shapes_no_offset_but_is_scored(rng):
    faces = Set(rng)
    counted = np.ones((M, N), bool)
    counted[::3, 1] = False
    before = faces.score(counted=counted)
    faces.predicted[::3, 1] += 500.0
    after = faces.score(counted=counted)
    np.testing.assert_array_equal(after.offsets, before.offsets)
    assert (after.errors[::3, 1] > 1).all()
    np.testing.assert_array_equal(after.errors[counted], before.errors[counted])
    assert np.abs(faces.score().offsets - before.offsets).max() > 0.1


def test_faces_not_found_shape_no_offset_and_are_infinite(rng):
    """They have no rotation and no size either."""
    faces = Set(rng)
    missed = np.isin(np.arange(M), [2, 7])
    expected = faces.fit(~faces.half & ~missed), faces.fit(faces.half & ~missed)
    faces.predicted[missed], faces.rotation[missed], faces.size[missed] = np.nan, np.nan, np.nan
    faces.truth[3, 1] = np.nan
    found = faces.score()
    np.testing.assert_allclose(found.offsets[0], expected[0], atol=1e-12)
    assert np.isinf(found.errors[missed]).all() and np.isfinite(np.delete(found.errors, [2, 3, 7], axis=0)).all()
    np.testing.assert_array_equal(np.isnan(found.errors[3]), np.arange(N) == 1)


def test_a_landmark_that_never_counts_keeps_its_place(rng):
    faces = Set(rng)
    counted = np.tile(np.arange(N) != 2, (M, 1))
    found = faces.score(counted=counted)
    assert (found.offsets[:, 2] == 0).all() and (found.offsets[:, 0] != 0).all()
    plain = point_errors(faces.predicted, faces.truth, faces.scale)
    np.testing.assert_array_equal(found.errors[:, 2], plain[:, 2])


def test_of_one_view_direction_the_step_is_the_shortest(rng):
    """Pictures from one direction, however rolled, say nothing about depth: its step is 0, the others are the mean
    difference in the head's axes."""
    faces = Set(rng)
    roll = Rotation.from_euler("z", rng.uniform(0, 360, (M, 1)), degrees=True).as_matrix()
    view = Rotation.random(random_state=5).as_matrix()
    faces.rotation = roll @ view
    found = faces.fit()
    difference = (faces.predicted - faces.truth) / faces.size[:, None, None]
    mean = np.einsum("mdk,mnd->nk", roll[:, :2, :2], difference) / M
    np.testing.assert_allclose(found, mean @ view[:2], atol=1e-12)
    assert np.abs(mean).max() > 0.01


def test_halves_hold_whole_persons():
    half = identity_halves(["eve", "ann", "bob", "ann", "dan", "eve", "bob"])
    assert half.tolist() == [True, False, True, False, False, True, True]


def test_refuses_an_empty_half(rng):
    faces = Set(rng)
    with pytest.raises(ValueError, match="expected faces in both halves, found 0 of 24 in one"):
        faces.score(half=identity_halves([""] * M))
    with pytest.raises(ValueError, match="expected faces in both halves, found 24 of 24 in one"):
        faces.score(half=np.ones(M, bool))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rotation", np.nan, "face 9: expected the predicted rotation of a face found, found NaN or infinity"),
        ("size", np.nan, "face 9: expected a positive size of a face found, found nan"),
        ("size", 0.0, "face 9: expected a positive size of a face found, found 0.0"),
        ("scale", 0.0, "face 9: expected a positive normaliser, found 0.0"),
    ],
)
def test_names_the_face_at_fault(name, value, message, rng):
    faces = Set(rng)
    getattr(faces, name)[9] = value
    with pytest.raises(ValueError, match=message):
        faces.score()
    if name != "scale":
        with pytest.raises(ValueError, match=message):
            faces.fit()
