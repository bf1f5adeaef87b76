"""Boxes of points: by hand, one face at a time, and OpenCV's."""

import cv2
import numpy as np

from facelift.boxes import tight_box


def test_box_is_the_extent_of_the_labelled_points(rng):
    points = rng.normal(size=(12, 68, 2)) * 60
    points[rng.uniform(size=(12, 68)) < 0.3, 0] = np.nan
    boxes = tight_box(points)
    for box, face in zip(boxes, points, strict=True):
        labelled = [tuple(point) for point in face if not np.isnan(point[0])]
        xs, ys = zip(*labelled, strict=True)
        np.testing.assert_array_equal(box, [min(xs), min(ys), max(xs), max(ys)])


def test_box_is_opencvs(rng):
    """OpenCV's holds whole pixels, so that its width of integer points is one more."""
    points = rng.integers(0, 200, (6, 98, 2))
    for box, face in zip(tight_box(points.astype(float)), points, strict=True):
        x, y, w, h = cv2.boundingRect(face.astype(np.int32))
        np.testing.assert_array_equal(box, [x, y, x + w - 1, y + h - 1])


def test_one_face_and_a_face_without_points():
    np.testing.assert_array_equal(tight_box(np.array([[3.0, 8], [np.nan, 0], [1, 9], [2, 4]])), [1, 4, 3, 9])
    assert np.isnan(tight_box(np.full((2, 2), np.nan))).all() and np.isnan(tight_box(np.zeros((0, 2)))).all()


def test_depth_is_no_side_of_the_box_but_a_point_without_it_does_not_count():
    points = np.array([[[3.0, 8, 50], [1, 9, -7], [0, 0, np.nan]]])
    np.testing.assert_array_equal(tight_box(points), [[1, 8, 3, 9]])
