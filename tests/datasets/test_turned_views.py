"""Turned views: the picture of a rolled camera, to the pixel."""

from dataclasses import replace

import numpy as np
import pytest

from facelift.datasets.turned_views import levelled, mirrored, turned
from facelift.datasets.views import RenderedView
from facelift.geometry import CameraSpace, head_tilt, intrinsics, project
from facelift.landmarks import mean_head

SIZE = 128


def view(seed: int) -> RenderedView:
    """The mean head from anywhere in the camera space; black but for a bright dot of Gaussian shape at landmark 54."""
    rotation, translation = CameraSpace().sample(np.random.default_rng(seed), mean_head())
    seen = np.arange(98) % 2 == 0
    view = RenderedView(np.zeros((SIZE, SIZE, 3), np.uint8), mean_head(), rotation, translation, seen, ~seen)
    away = np.stack(np.meshgrid(*[np.arange(SIZE) + 0.5] * 2), axis=-1) - places(view)[54]
    dot = np.rint(255 * np.exp(-(away**2).sum(-1) / 8)).astype(np.uint8)
    return replace(view, image=np.repeat(dot[..., None], 3, axis=2))


def places(view: RenderedView) -> np.ndarray:
    """px"""
    return project(view.landmarks, view.rotation, view.translation, intrinsics(SIZE))


def brightest(view: RenderedView) -> np.ndarray:
    """Centre of mass of the picture, px."""
    mass = view.image[..., 0].astype(float)
    centres = np.arange(SIZE) + 0.5
    return np.array([(mass.sum(0) * centres).sum(), (mass.sum(1) * centres).sum()]) / mass.sum()


@pytest.mark.parametrize("roll_deg", [-90, -33, 0, 7, 90, 150])
def test_points_turn_about_the_middle_and_pixels_with_them(roll_deg):
    for seed in range(4):
        before = view(seed)
        after = turned(before, np.radians(roll_deg))
        turn = np.exp(1j * np.radians(roll_deg))  # clockwise, as y points down
        expected = ((places(before) - SIZE / 2) @ [1, 1j]) * turn
        np.testing.assert_allclose((places(after) - SIZE / 2) @ [1, 1j], expected, atol=1e-10)
        np.testing.assert_array_equal(before.landmarks, after.landmarks)
        np.testing.assert_array_equal(before.state(), after.state())
        assert np.linalg.det(after.rotation) == pytest.approx(1)
        if (np.abs(places(after)[54] - SIZE / 2) < SIZE / 2 - 8).all():
            np.testing.assert_allclose(brightest(after), places(after)[54], atol=0.5)
    np.testing.assert_array_equal(turned(before, 0.0).image, before.image)


def test_a_quarter_turn_moves_every_pixel_to_its_place():
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), np.uint8)
    found = turned(replace(view(0), image=noise), np.pi / 2).image
    assert np.abs(found.astype(int) - np.rot90(noise, -1)).max() <= 1  # clockwise


def test_the_edge_is_repeated():
    white = replace(view(0), image=np.full((SIZE, SIZE, 3), 200, np.uint8))
    assert (turned(white, 0.7).image == 200).all()


def test_a_levelled_head_is_upright_in_the_picture_whatever_its_pose():
    for seed in range(8):
        before = view(seed)
        assert head_tilt(levelled(before).rotation) == pytest.approx(0, abs=1e-12)
        assert head_tilt(levelled(before, 0.3).rotation) == pytest.approx(0.3)
        root, crown = project(
            np.array([[0.0, 0, 0], [0, 1e-4, 0]]),
            levelled(before).rotation,
            np.array([0.0, 0, 3]),  # on the optical axis
            intrinsics(SIZE),
        )
        assert abs(crown[0] - root[0]) < 1e-9 and crown[1] < root[1]
        assert head_tilt(mirrored(before).rotation) == pytest.approx(-head_tilt(before.rotation))
