"""NME, its masks, tables and curves: values by hand, loops and quadrature, never only where they are zero."""

import numpy as np
import pytest
from scipy.integrate import quad

from facelift.boxes import tight_box
from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED, UNKNOWN, VISIBLE
from facelift.evaluation.metrics.nme import (
    AFLW2000_YAW_EDGES,
    by_yaw,
    cumulative_curve,
    curve_score,
    face_nme,
    landmark_mask,
    mean_error,
    point_errors,
    region_nme,
)
from facelift.evaluation.metrics.normalisers import box_size
from facelift.landmarks import IBUG68, SCHEMES

NAN, INF = float("nan"), float("inf")
FACES = np.array([0.02, 0.05, INF, 0.09, NAN, 0.04, INF])
"""Two faces not found and one without a label."""


def random_set(rng: np.random.Generator, d: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, truth with unlabelled points, and normalisers of 20 faces of 68 points."""
    truth = rng.normal(size=(20, 68, d)) * 50 + 200
    predicted = truth + rng.normal(size=truth.shape) * 4
    truth[rng.uniform(size=(20, 68)) < 0.2] = np.nan
    return predicted, truth, rng.uniform(50, 150, 20)


@pytest.mark.parametrize("d", [2, 3])
def test_point_errors_are_distances_over_the_normaliser(d, rng):
    predicted, truth, scale = random_set(rng, d)
    errors = point_errors(predicted, truth, scale)
    for i, j in np.ndindex(errors.shape):
        expected = np.sqrt(sum((predicted[i, j, k] - truth[i, j, k]) ** 2 for k in range(d))) / scale[i]
        np.testing.assert_allclose(errors[i, j], expected, rtol=1e-12)
    np.testing.assert_array_equal(np.isnan(errors), np.isnan(truth).any(-1))
    assert np.isnan(errors).any()


def test_errors_by_hand():
    predicted = np.array([[[3.0, 4.0], [1.0, 1.0]]])
    truth = np.array([[[0.0, 0.0], [1.0, 3.0]]])
    errors = point_errors(predicted, truth, np.array([10.0]))
    np.testing.assert_allclose(errors, [[0.5, 0.2]])
    np.testing.assert_allclose(face_nme(errors), [0.35])


def test_float32_is_measured_in_float64(rng):
    predicted, truth, scale = (array.astype(np.float32) for array in random_set(rng))
    errors = point_errors(predicted, truth, scale)
    assert errors.dtype == np.float64
    wide = point_errors(predicted.astype(float), truth.astype(float), scale.astype(float))
    np.testing.assert_array_equal(errors, wide)


def test_a_face_not_found_is_infinite_where_it_is_labelled(rng):
    predicted, truth, scale = random_set(rng)
    predicted[4] = np.nan
    truth[5] = np.nan
    errors = point_errors(predicted, truth, scale)
    np.testing.assert_array_equal(np.isinf(errors[4]), ~np.isnan(truth[4, :, 0]))
    per_face = face_nme(errors)
    assert np.isinf(per_face[4]) and np.isnan(per_face[5]) and np.isfinite(np.delete(per_face, [4, 5])).all()


def test_a_prediction_may_be_missing_where_the_truth_is(rng):
    predicted, truth, scale = random_set(rng)
    expected = point_errors(predicted, truth, scale)
    np.testing.assert_array_equal(point_errors(np.where(np.isnan(truth), np.nan, predicted), truth, scale), expected)


def test_a_prediction_may_not_be_missing_elsewhere(rng):
    predicted, truth, scale = random_set(rng)
    truth[3, 7] = 100.0
    predicted[3, 7] = np.nan
    with pytest.raises(ValueError, match=r"face 3: expected a finite prediction, found \[nan nan\] at point 7"):
        point_errors(predicted, truth, scale)


@pytest.mark.parametrize("wrong", [0.0, -1.0, NAN, INF])
def test_a_normaliser_is_positive(wrong, rng):
    predicted, truth, scale = random_set(rng)
    scale[2] = wrong
    with pytest.raises(ValueError, match=f"face 2: expected a positive normaliser, found {wrong}"):
        point_errors(predicted, truth, scale)


def test_swapping_prediction_and_truth_changes_the_nme_by_the_truths_box(rng):
    predicted, truth = rng.normal(size=(2, 5, 68, 2)) * [[[[40]]], [[[60]]]]
    there = face_nme(point_errors(predicted, truth, box_size(tight_box(truth))))
    back = face_nme(point_errors(truth, predicted, box_size(tight_box(predicted))))
    assert (there > 0).all() and (np.abs(there / back - 1) > 0.1).all()


def test_swapping_prediction_and_truth_turns_no_label_into_no_face(rng):
    predicted, truth, scale = random_set(rng)
    truth[0] = np.nan
    assert np.isnan(face_nme(point_errors(predicted, truth, scale))[0])
    assert np.isinf(face_nme(point_errors(truth[:1], predicted[:1], scale[:1]))[0])


def test_face_nme_is_the_mean_over_counted_points(rng):
    predicted, truth, scale = random_set(rng)
    errors = point_errors(predicted, truth, scale)
    mask = rng.uniform(size=errors.shape) < 0.5
    mask[6] = False
    for given, rows in ((None, np.ones_like(mask)), (mask, mask), (mask[0], np.tile(mask[0], (20, 1)))):
        expected = []
        for i in range(len(errors)):
            values = [errors[i, j] for j in range(68) if rows[i, j] and not np.isnan(errors[i, j])]
            expected.append(sum(values) / len(values) if values else NAN)
        np.testing.assert_allclose(face_nme(errors, given), expected, rtol=1e-12)
    assert np.isnan(face_nme(errors, mask)[6])


def test_visible_points_alone():
    state = np.array([[VISIBLE, OCCLUDED, SELF_OCCLUDED, UNKNOWN]], np.int8)
    errors = np.array([[0.1, 0.7, NAN, 0.4]])
    assert face_nme(errors, state == VISIBLE)[0] == pytest.approx(0.1)


def test_masks_by_name():
    np.testing.assert_array_equal(np.flatnonzero(landmark_mask("ibug68", "inner51")), np.arange(17, 68))
    assert landmark_mask("wflw98", "all").sum() == 98 and landmark_mask("aflw21", "all").sum() == 21
    for name, scheme in SCHEMES.items():
        for region, indices in scheme.regions.items():
            np.testing.assert_array_equal(np.flatnonzero(landmark_mask(name, region)), np.sort(indices))


@pytest.mark.parametrize(
    ("scheme", "which", "message"),
    [
        ("ibug67", "all", r"landmark scheme: expected one of \['aflw21', 'ibug68', .*\], found 'ibug67'"),
        ("ibug68", "ears", r"landmarks of ibug68: expected one of \[.*'inner51'.*\], found 'ears'"),
        ("wflw98", "inner51", "landmarks of wflw98: expected one of .*, found 'inner51'"),
    ],
)
def test_masks_by_a_wrong_name(scheme, which, message):
    with pytest.raises(ValueError, match=message):
        landmark_mask(scheme, which)


def test_regions_are_face_means_of_their_points(rng):
    predicted, truth, scale = random_set(rng)
    errors = point_errors(predicted, truth, scale)
    visible = rng.uniform(size=errors.shape) < 0.7
    table = region_nme(errors, IBUG68.regions, visible)
    assert list(table) == ["full", *IBUG68.regions]
    np.testing.assert_array_equal(table["full"], face_nme(errors, visible))
    for region, part in IBUG68.regions.items():
        np.testing.assert_allclose(table[region], face_nme(errors[:, part], visible[:, part]), rtol=1e-12)
        np.testing.assert_allclose(
            region_nme(errors, IBUG68.regions)[region], np.nanmean(errors[:, part], axis=1), rtol=1e-12
        )
    assert np.abs(table["brows"] - table["mouth"]).max() > 1e-3


def test_faces_not_found_are_counted_both_ways():
    mean = mean_error(FACES)
    assert mean.found == pytest.approx(0.05)
    assert mean.failed == pytest.approx((0.2 + 2) / 6)
    assert (mean.faces, mean.not_found, mean.unlabelled) == (6, 2, 1)
    assert mean_error(FACES, failure=0.4).failed == pytest.approx((0.2 + 0.8) / 6)


def test_means_of_no_face_are_not_a_number():
    nothing = mean_error(np.array([NAN, NAN]))
    assert np.isnan([nothing.found, nothing.failed]).all() and (nothing.faces, nothing.unlabelled) == (0, 2)
    missed = mean_error(np.array([INF, INF]))
    assert np.isnan(missed.found) and missed.failed == 1.0 and missed.not_found == 2


def test_yaw_bins_are_half_open_and_symmetric():
    yaw = np.array([0.0, -29.9, 30.0, -30.0, 60.0, -90.0, 90.1, NAN])
    per_face = np.array([0.01, 0.03, 0.04, 0.06, 0.1, 0.2, 0.9, 0.9])
    table = by_yaw(per_face, yaw)
    np.testing.assert_allclose([part.found for part in table.bins], [0.02, 0.05, 0.15])
    assert [part.faces for part in table.bins] == [2, 2, 2] and table.outside == 2
    assert table.over_bins.found == pytest.approx(0.22 / 3)
    assert table.over_faces.found == pytest.approx(0.44 / 6)
    wide = by_yaw(per_face, yaw, edges=AFLW2000_YAW_EDGES)
    assert [part.faces for part in wide.bins] == [2, 2, 3] and wide.outside == 1
    assert wide.bins[2].found == pytest.approx(0.4)


def test_both_means_differ_where_bins_are_uneven():
    """Nine frontal faces at 2 %, one profile at 12 %, one profile not found, one frontal without labels."""
    per_face = np.array([0.02] * 9 + [0.12, INF, NAN])
    yaw = np.array([5.0] * 9 + [80.0, -70.0, 1.0])
    table = by_yaw(per_face, yaw, edges=(0.0, 45.0, 90.0), failure=0.5)
    assert table.over_faces.found == pytest.approx(0.03) and table.over_bins.found == pytest.approx(0.07)
    assert table.over_bins.failed == pytest.approx((0.02 + 0.31) / 2)
    assert table.over_faces.failed == pytest.approx((0.18 + 0.12 + 0.5) / 11)
    assert (table.over_bins.faces, table.over_bins.not_found, table.over_bins.unlabelled) == (11, 1, 1)


def test_an_empty_bin_has_no_mean():
    table = by_yaw(np.array([0.1, 0.2]), np.array([5.0, 10.0]))
    assert np.isnan(table.bins[2].found) and np.isnan(table.over_bins.found)
    assert table.over_faces.found == pytest.approx(0.15)


def test_curve_counts_faces_up_to_each_error(rng):
    per_face = np.concatenate([rng.uniform(0, 0.1, 50), FACES])
    at = np.array([0.0, 0.02, 0.03, 0.09, 1.0])
    labelled = per_face[~np.isnan(per_face)]
    np.testing.assert_allclose(cumulative_curve(per_face, at), [(labelled <= e).mean() for e in at], rtol=1e-12)
    found = per_face[np.isfinite(per_face)]
    np.testing.assert_allclose(
        cumulative_curve(per_face, at, found_only=True), [(found <= e).mean() for e in at], rtol=1e-12
    )
    assert cumulative_curve(FACES, np.array([0.05]))[0] == pytest.approx(0.5)
    assert np.isnan(cumulative_curve(np.array([NAN]), at)).all()


@pytest.mark.parametrize("found_only", [False, True])
def test_area_is_the_integral_of_the_curve(found_only, rng):
    per_face = np.concatenate([rng.uniform(0, 0.12, 12), FACES])
    score = curve_score(per_face, 0.08, found_only=found_only)
    corners = np.sort(per_face[per_face < 0.08])

    def curve(error: float) -> float:
        return cumulative_curve(per_face, np.array([error]), found_only=found_only)[0]

    area, _ = quad(curve, 0, 0.08, points=corners, limit=200)
    assert score.auc == pytest.approx(area / 0.08, rel=1e-9) and 0.1 < score.auc < 0.9
    faces = per_face[np.isfinite(per_face) if found_only else ~np.isnan(per_face)]
    assert score.failure_rate == pytest.approx((faces > 0.08).mean()) and score.faces == len(faces)


def test_curve_score_by_hand():
    """At 0.08: 0.75, 0.375, 0.5 of a face's area and three failures (0.09 and two not found) among six."""
    score = curve_score(FACES, 0.08)
    assert score.auc == pytest.approx(1.625 / 6) and score.failure_rate == pytest.approx(0.5) and score.faces == 6
    alone = curve_score(FACES, 0.08, found_only=True)
    assert alone.auc == pytest.approx(1.625 / 4) and alone.failure_rate == pytest.approx(0.25) and alone.faces == 4


def test_an_error_at_the_threshold_is_no_failure():
    assert curve_score(np.array([0.08]), 0.08).failure_rate == 0.0
    assert curve_score(np.array([0.0801]), 0.08).failure_rate == 1.0


def test_curve_score_of_no_face():
    score = curve_score(np.array([NAN]), 0.08)
    assert np.isnan([score.auc, score.failure_rate]).all() and score.faces == 0


@pytest.mark.parametrize("threshold", [0.0, -0.1, NAN])
def test_threshold_is_positive(threshold):
    with pytest.raises(ValueError, match=f"threshold: expected a positive fraction, found {threshold}"):
        curve_score(FACES, threshold)
