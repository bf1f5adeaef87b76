import numpy as np
import pytest

from facelift.landmarks import WFLW98
from facelift.lifting.masks import (
    MEDIAPIPE_COMPETENCE,
    NETWORK_COMPETENCE,
    SIDE,
    Competence,
    MaskConfig,
    RegionLimits,
    competence_mask,
    mask,
    visibility_mask,
)
from facelift.lifting.rig import Rig, rig

LEFT, RIGHT = np.flatnonzero(SIDE < 0), np.flatnonzero(SIDE > 0)


def _template():
    """Sides face sideways, the middle faces forward."""
    return np.stack([SIDE, np.zeros(98), 0.5 + (SIDE == 0)], -1) / np.hypot(SIDE, 0.5 + (SIDE == 0))[:, None]


def _view(azimuth, elevation=0.0):
    return Rig(np.array([float(azimuth)]), np.array([float(elevation)]))


def test_sides_are_mirror_images_and_the_middle_is_the_midline():
    np.testing.assert_array_equal(SIDE[WFLW98.mirror], -SIDE)
    np.testing.assert_array_equal(np.flatnonzero(SIDE == 0), np.flatnonzero(WFLW98.mirror == np.arange(98)))


def test_visibility_is_a_ramp_of_the_cosine():
    """Seen from the front, a normal 60 degrees off the axis has cosine 0.5."""
    template = np.zeros((98, 3))
    template[:, 2] = 1
    template[0] = np.sin(np.pi / 3), 0, np.cos(np.pi / 3)
    template[1] = 1, 0, 0
    weights = visibility_mask(_view(0), threshold=0.2, ramp=0.4, template=template)[0]
    np.testing.assert_allclose(weights[:3], [0.75, 0, 1], atol=1e-12)
    hard = visibility_mask(_view(0), threshold=0.2, ramp=0, template=template)[0]
    np.testing.assert_array_equal(hard[:3], [1, 0, 1])


@pytest.mark.parametrize("competence", [MEDIAPIPE_COMPETENCE, NETWORK_COMPETENCE])
def test_the_far_side_is_out_in_profile(competence):
    config = MaskConfig()
    from_left = mask(_view(90), config, competence, _template())[0]
    from_right = mask(_view(-90), config, competence, _template())[0]
    assert not from_left[LEFT].any() and not from_right[RIGHT].any()
    np.testing.assert_array_equal(from_left, from_right[WFLW98.mirror])


def test_half_profile_masks_far_contour_and_eye_but_not_the_near_ones():
    competence = Competence(near=RegionLimits(60, 60, 60, 60, 60), far=RegionLimits(25, 45, 60, 45, 60))
    trusted = competence_mask(_view(50), competence)[0]
    assert trusted[RIGHT[RIGHT < 96]].all()
    for region, limit in (("contours", False), ("brows", False), ("eyes", False), ("mouth", True)):
        assert (trusted[np.intersect1d(WFLW98.regions[region], LEFT)] == limit).all(), region


def test_far_contour_goes_before_the_far_eye_for_every_detector():
    for competence in (MEDIAPIPE_COMPETENCE, NETWORK_COMPETENCE):
        trusted = competence_mask(_view(30), competence)[0]
        assert trusted[RIGHT[RIGHT < 96]].all() and trusted[np.intersect1d(WFLW98.regions["eyes"], LEFT)].all()
        assert not trusted[np.intersect1d(WFLW98.regions["contours"], LEFT)].any()


def test_elevation_limit():
    assert competence_mask(_view(0, 44), NETWORK_COMPETENCE)[0, :96].all()
    assert not competence_mask(_view(0, 46), NETWORK_COMPETENCE).any()


def test_masks_of_the_rig_are_symmetric_and_every_landmark_keeps_views():
    from facelift.landmarks import normals

    views = rig()
    weights = mask(views, MaskConfig(), MEDIAPIPE_COMPETENCE)
    mirrored = [
        int(np.flatnonzero((views.azimuth_deg == -a) & (views.elevation_deg == e))[0])
        for a, e in zip(views.azimuth_deg, views.elevation_deg, strict=True)
    ]
    assert np.linalg.norm(normals() - normals()[WFLW98.mirror] * [-1, 1, 1], axis=-1).max() < 0.1
    assert np.abs(weights - weights[mirrored][:, WFLW98.mirror]).max() < 0.5
    assert weights.min() >= 0 and weights.max() <= 1
    assert ((weights[:, :96] > 0.2).sum(0) >= 5).all()


def test_pupils_are_never_lifted():
    for config in (MaskConfig(), MaskConfig(enabled=False)):
        weights = mask(rig(), config, NETWORK_COMPETENCE, _template())
        assert not weights[:, 96:].any() and weights[:, :96].any()
    assert (mask(rig(), MaskConfig(enabled=False), NETWORK_COMPETENCE)[:, :96] == 1).all()
