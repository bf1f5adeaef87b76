"""WFLW-98 points out of iBUG-68 labels."""

import numpy as np
import pytest

from facelift.datasets.densify import wflw98_from_ibug68
from facelift.landmarks import IBUG68, WFLW98, conversion


def points_on_a_cubic() -> np.ndarray:
    """Jaw labels at x = 0..16 of a cubic curve; the rest anywhere."""
    points = np.random.default_rng(0).normal(size=(68, 2))
    x = np.arange(17.0)
    points[:17] = np.stack([x, 0.01 * x**3 - 0.2 * x**2 + 3], axis=-1)
    return points


def test_shared_points_are_kept():
    points = points_on_a_cubic()
    np.testing.assert_array_equal(conversion("wflw98", "ibug68") @ np.nan_to_num(wflw98_from_ibug68(points)), points)


def test_jaw_points_between_labels_lie_on_the_cubic_through_them():
    dense = wflw98_from_ibug68(points_on_a_cubic())[3:30:2]  # inner ones: four labels about each
    x = np.arange(1.5, 15)
    np.testing.assert_allclose(dense, np.stack([x, 0.01 * x**3 - 0.2 * x**2 + 3], axis=-1), atol=1e-12)


def test_ends_of_the_jaw_are_quadratic():
    points = points_on_a_cubic()
    points[:17, 1] = 0.5 * points[:17, 0] ** 2
    np.testing.assert_allclose(wflw98_from_ibug68(points)[[1, 31]], [[0.5, 0.125], [15.5, 120.125]], atol=1e-12)


def test_what_ibug_does_not_determine_is_nan_and_nothing_else():
    missing = np.flatnonzero(np.isnan(wflw98_from_ibug68(points_on_a_cubic())).any(-1))
    assert missing.tolist() == [38, 39, 40, 41, 47, 48, 49, 50, 96, 97]


def test_a_missing_label_takes_its_neighbours_with_it():
    points = points_on_a_cubic()
    points[4] = np.nan
    missing = np.isnan(wflw98_from_ibug68(points)[:33]).any(-1)
    assert np.flatnonzero(missing).tolist() == [7, 8, 9]


def test_mirrored_labels_give_mirrored_points():
    points = points_on_a_cubic()
    mirrored = points[IBUG68.mirror] * [-1, 1]
    expected = wflw98_from_ibug68(points)[WFLW98.mirror] * [-1, 1]
    np.testing.assert_allclose(wflw98_from_ibug68(mirrored), expected, atol=1e-12)


@pytest.mark.parametrize("index", [62, 66, 70, 74])
def test_middle_lid_point_lies_between_its_neighbours(index):
    """A straight lid with labels at thirds: its middle."""
    points = np.zeros((68, 2))
    points[36:42] = [[0, 0], [1, 0], [2, 0], [3, 0], [2, 1], [1, 1]]
    points[42:48] = points[36:42]
    points[39, 1] = points[36, 1] = 0.5
    points[45, 1] = points[42, 1] = 0.5
    assert wflw98_from_ibug68(points)[index, 0] == pytest.approx(1.5)
