"""Normalisers: by hand, which landmarks they take, and every face they must refuse."""

import numpy as np
import pytest

from facelift.boxes import tight_box
from facelift.evaluation.metrics.normalisers import box_diagonal, box_size, inter_ocular, inter_pupil
from facelift.landmarks import conversion, mean_head

BOXES = np.array([[10.0, 20.0, 40.0, 60.0], [0.0, 0.0, 5.0, 12.0]])


def test_box_of_no_point_is_refused_where_it_is_used():
    points = np.array([[[1.0, 2.0], [4.0, 6.0]], [[np.nan, np.nan], [np.nan, np.nan]]])
    boxes = tight_box(points)
    np.testing.assert_array_equal(boxes, [[1, 2, 4, 6], [np.nan] * 4])
    with pytest.raises(ValueError, match=r"expected a box with area .* in every face, found none in 1: 1$"):
        box_size(boxes)


def test_sizes_by_hand():
    np.testing.assert_allclose(box_size(BOXES), [np.sqrt(30 * 40), np.sqrt(60)], rtol=1e-15)
    np.testing.assert_allclose(box_diagonal(BOXES), [50, 13], rtol=1e-15)


def test_sizes_of_float32_boxes_are_float64():
    assert box_size(BOXES.astype(np.float32)).dtype == np.float64


@pytest.mark.parametrize("measure", [box_size, box_diagonal])
@pytest.mark.parametrize(
    "box", [[0, 0, 0, 5], [0, 0, 5, 0], [5, 0, 0, 5], [5, 5, 0, 0], [0, 0, np.nan, 5], [0, 0, np.inf, 5]]
)
def test_refuses_boxes_without_area(measure, box):
    """Also the box with both sides negative, whose area would be positive."""
    with pytest.raises(ValueError, match=r"normaliser: expected a box with area \(x0 < x1, y0 < y1\) .* in 1: 2$"):
        measure(np.array([*BOXES, box], float))


def test_names_ten_faces_at_most():
    with pytest.raises(ValueError, match=r"found none in 12: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.$"):
        box_size(np.zeros((12, 4)))


@pytest.mark.parametrize(("scheme", "size", "left", "right"), [("wflw98", 98, 60, 72), ("ibug68", 68, 36, 45)])
@pytest.mark.parametrize("d", [2, 3])
def test_inter_ocular_is_between_the_outer_corners(scheme, size, left, right, d, rng):
    points = rng.normal(size=(5, size, d)) * 50
    expected = [np.sqrt(sum((face[left, k] - face[right, k]) ** 2 for k in range(d))) for face in points]
    np.testing.assert_allclose(inter_ocular(points, scheme), expected, rtol=1e-12)


def test_outer_corners_are_the_outermost_eye_landmarks():
    """Of the mean head, so that no index list is compared with itself."""
    head = mean_head()[None]
    eyes = mean_head()[60:76, 0]
    assert inter_ocular(head, "wflw98")[0] == pytest.approx(eyes.max() - eyes.min(), rel=0.02)
    assert inter_ocular(conversion("wflw98", "ibug68") @ head, "ibug68")[0] == inter_ocular(head, "wflw98")[0]


def test_inter_pupil_by_hand(rng):
    points = rng.normal(size=(3, 98, 2))
    points[:, 96], points[:, 97] = [0.0, 0.0], [3.0, 4.0]
    np.testing.assert_allclose(inter_pupil(points, "wflw98"), [5, 5, 5], rtol=1e-15)
    points = rng.normal(size=(3, 68, 2))
    points[:, 36:42] += [10.0, 20.0] - points[:, 36:42].mean(1, keepdims=True)
    points[:, 42:48] += [22.0, 25.0] - points[:, 42:48].mean(1, keepdims=True)
    np.testing.assert_allclose(inter_pupil(points, "ibug68"), [13, 13, 13], rtol=1e-12)


def test_pupils_of_both_schemes_are_nearly_one_distance():
    head = mean_head()[None]
    pupils = inter_pupil(head, "wflw98")[0]
    assert inter_pupil(conversion("wflw98", "ibug68") @ head, "ibug68")[0] == pytest.approx(pupils, rel=0.05)
    assert pupils < 0.8 * inter_ocular(head, "wflw98")[0]


@pytest.mark.parametrize(
    ("measure", "what", "landmark"),
    [(inter_ocular, "distance between the outer eye corners", 45), (inter_pupil, "distance between the pupils", 47)],
)
def test_refuses_eyes_that_are_unlabelled_or_coincide(measure, what, landmark, rng):
    points = rng.normal(size=(4, 68, 2))
    points[1, landmark] = np.nan
    points[3] = 7.0
    with pytest.raises(ValueError, match=f"normaliser: expected a {what} in every face, found none in 2: 1, 3$"):
        measure(points, "ibug68")
    points[[1, 3]] = rng.normal(size=(2, 68, 2))
    points[2, 8] = np.nan  # the chin is not asked for
    assert (measure(points, "ibug68") > 0).all()


@pytest.mark.parametrize(("measure", "what"), [(inter_ocular, "outer eye corners"), (inter_pupil, "pupils")])
def test_refuses_schemes_and_sizes(measure, what):
    with pytest.raises(
        ValueError, match=rf"{what}: expected one of the schemes \['ibug68', 'lapa106', 'wflw98'\], found 'aflw21'"
    ):
        measure(np.zeros((1, 21, 2)), "aflw21")
    with pytest.raises(ValueError, match=f"{what}: expected 68 points of ibug68, found 98"):
        measure(np.zeros((1, 98, 2)), "ibug68")
