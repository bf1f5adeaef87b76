import numpy as np
import pytest

from facelift.geometry import LOOK_AT, RADIUS, intrinsics, project
from facelift.lifting.rig import RIG_SIZES, rig, rig_picture


@pytest.mark.parametrize("size", RIG_SIZES)
def test_rig_is_symmetric_and_starts_with_the_smaller_ones(size):
    views = rig(size)
    places = set(zip(views.azimuth_deg, views.elevation_deg, strict=True))
    assert len(views) == len(places) == size
    assert places == {(-a, e) for a, e in places} == {(a, -e) for a, e in places}
    assert (views.azimuth_deg[0], views.elevation_deg[0]) == (0, 0)
    np.testing.assert_array_equal(rig().take(np.arange(size)).rotations, views.rotations)


def test_full_rig_spans_its_range_and_is_densest_in_front():
    views = rig()
    assert len(views) == 41
    assert (views.azimuth_deg.min(), views.azimuth_deg.max()) == (-90, 90)
    assert (views.elevation_deg.min(), views.elevation_deg.max()) == (-30, 30)
    level = np.sort(views.azimuth_deg[views.elevation_deg == 0])
    gaps = np.diff(level[level >= 0])
    assert (np.diff(gaps) >= 0).all() and gaps[0] < gaps[-1]


def test_cameras_stand_where_their_names_say():
    views = rig()
    azimuth, elevation = np.radians(views.azimuth_deg), np.radians(views.elevation_deg)
    eyes = RADIUS * np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], axis=-1
    )
    found = -np.einsum("vji,vj->vi", views.rotations, views.translations)
    np.testing.assert_allclose(found, eyes, atol=1e-12)
    middle = project(np.tile(LOOK_AT, (41, 1, 1)), views.rotations, views.translations, intrinsics(256))
    np.testing.assert_allclose(middle, 128, atol=1e-9)


def test_unknown_size():
    with pytest.raises(ValueError, match="found 40"):
        rig(40)


def test_picture_shows_something():
    pytest.importorskip("matplotlib")
    picture = rig_picture((600, 300))
    assert picture.shape == (300, 600, 3)
    colours = {tuple(colour) for colour in picture.reshape(-1, 3)}
    assert {(209, 73, 91), (237, 174, 73), (0, 121, 140), (92, 103, 125)} <= colours
