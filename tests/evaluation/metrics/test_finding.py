"""Recall at a number of false boxes, by hand."""

import numpy as np
import pytest

from facelift.evaluation.metrics.finding import Matches, match, recall, squares, threshold_at
from facelift.finders.protocol import FoundFaces

NOWHERE = np.zeros((0, 4))


def found(*boxes: list[float]) -> FoundFaces:
    """Boxes with scores 0.9, 0.8, ..."""
    return FoundFaces(np.array(boxes, float).reshape(-1, 4), 0.9 - 0.1 * np.arange(len(boxes)), np.zeros(len(boxes)))


def test_squares_by_hand():
    np.testing.assert_allclose(squares(np.array([[10.0, 0.0, 14.0, 10.0]])), [[7, 0, 17, 10]])
    assert squares(NOWHERE).shape == (0, 4)


def test_right_false_and_neither():
    """The first face is found by the second box, again by the third (neither), the second face by none; one box lies on
    an ignored place, one on nothing."""
    faces = np.array([[0.0, 0, 10, 10], [50.0, 50, 60, 60]])
    boxes = found([80, 80, 90, 90], [1, 0, 11, 10], [0, 1, 10, 11], [30, 30, 34, 34])
    result = match(boxes, faces, np.array([[29.0, 29, 35, 35]]))
    np.testing.assert_allclose(result.found, [0.8, 0])
    np.testing.assert_allclose(result.false, [0.9])


def test_each_face_needs_its_own_box():
    faces = np.array([[0.0, 0, 10, 10], [3.0, 0, 13, 10]])
    assert match(found([1, 0, 11, 10]), faces, NOWHERE).found.tolist() == pytest.approx([0.9, 0])


def test_overlap_is_asked_for():
    """Squares of 10: moved by 4, 60 of 140 is enough; moved by 5, 50 of 150 is not."""
    face = np.array([[0.0, 0, 10, 10]])
    assert match(found([4, 0, 14, 10]), face, NOWHERE).found[0] > 0
    assert match(found([5, 0, 15, 10]), face, NOWHERE).found[0] == 0


def test_threshold_and_recall():
    """Twenty pictures, three false boxes: two are allowed, so the threshold is just above the third."""
    parts = [Matches(np.array([0.3]), np.array([s])) for s in (0.9, 0.7, 0.4)] + [
        Matches(np.zeros(0), np.zeros(0))
    ] * 17
    threshold = threshold_at(parts, 0.1)
    assert 0.4 < threshold < 0.41
    assert recall(np.array([0.0, 0.3, 0.4, 0.5]), threshold) == 0.25
    assert threshold_at(parts, 0.2) == 0 and recall(np.array([0.0, 0.3]), 0.0) == 0.5
    assert np.isnan(recall(np.zeros(0), 0.5))
