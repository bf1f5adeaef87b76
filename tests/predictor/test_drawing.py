"""Overlays: drawn where the points are, and only there."""

import numpy as np
import pytest

from facelift.drawing import COLOURS, Overlay, draw_faces, draw_photo, draw_points, ellipse
from facelift.images import load_photo
from facelift.landmarks import SCHEMES

NOTHING = Overlay(points=False, lines=False, ellipses=False, axes=False, box=False)


def test_ellipse_by_hand():
    """Variances 9 and 4 along axes turned by 30 degrees: half axes 6 and 4 at two sigma; by default, 90 % of the
    points that the network's Laplacian draws lie within."""
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    half, degrees = ellipse(turn @ np.diag([9.0, 4.0]) @ turn.T, sigmas=2.0)
    np.testing.assert_allclose(half, [6, 4])
    assert degrees % 180 == pytest.approx(30)
    rng = np.random.default_rng(0)
    radius = rng.gamma(2, 1 / np.sqrt(3), 200_000)  # of density r exp(-sqrt(3) r) over the plane's radius
    assert (radius < ellipse(np.eye(2))[0][0]).mean() == pytest.approx(0.9, abs=0.003)


def test_parts_are_drawn_where_they_belong(predictor):
    image = np.full((400, 400, 3), 128, np.uint8)
    face = predictor.predict(image, [[100, 100, 300, 300]])[0]
    assert (draw_faces(image, [face], NOTHING) == 128).all()
    for part in ("points", "lines", "ellipses", "axes", "box"):
        only = Overlay(**{name: name == part for name in ("points", "lines", "ellipses", "axes", "box")})
        assert (draw_faces(image, [face], only) != 128).any(), part
    dots = draw_faces(image, [face], Overlay(lines=False, ellipses=False, axes=False, box=False))
    x, y = np.floor(face.points_2d[97]).astype(int)
    assert tuple(dots[y, x]) == COLOURS["pupils"]  # visibility 1: filled
    assert (image == 128).all()


def test_far_outside_and_not_finite(predictor):
    image = np.full((50, 50, 3), 128, np.uint8)
    far = predictor.predict(image, [[90000, 90000, 90100, 90100]])
    assert (draw_faces(image, far) == 128).all()
    points = np.full((1, 68, 2), np.nan)
    assert draw_points(image, points, SCHEMES["ibug68"], np.ones((1, 68))).shape == image.shape


def test_other_schemes(predictor):
    image = np.full((200, 200, 3), 128, np.uint8)
    face = predictor.predict(image, [[50, 50, 150, 150]])[0]
    for scheme in ("ibug68", "aflw21"):
        assert (draw_faces(image, [face.to(scheme)]) != 128).any()


def test_small_faces_are_enlarged_and_large_photos_are_not(predictor):
    small = load_photo(np.full((100, 120, 3), 128, np.uint8))
    faces = predictor.predict_photo(small, [[30, 30, 60, 60]])
    assert draw_photo(small, faces).shape == (400, 480, 3)
    large = load_photo(np.full((3000, 200, 3), 128, np.uint8))
    assert draw_photo(large, predictor.predict_photo(large, [[30, 30, 60, 60]])).shape == (3000, 200, 3)
    assert draw_photo(small, []).shape == (100, 120, 3)
