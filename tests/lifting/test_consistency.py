"""The focal length and the sign of yaw under which views agree, on detections with planted errors, and the command."""

import json

import numpy as np
import pytest

from facelift.geometry import intrinsics, project
from facelift.geometry.gan_cameras import with_focal
from facelift.landmarks import mean_head
from facelift.lifting.consistency import CheckConfig, check_generator, detector_bias, fit_cameras
from facelift.lifting.observations import Observations
from facelift.lifting.rig import Rig, rig

VIEWS = rig(21)
WEIGHTS = np.ones((21, 98))


def seen(count, seed, *, focal=1.0, views=VIEWS, bias=0.0, noise_px=0.5):
    """Detections on random heads by cameras of `focal` times ours, each off by `bias` and noise."""
    rng = np.random.default_rng(seed)
    heads = mean_head() * rng.normal(1, 0.05, (count, 1, 3)) + rng.normal(0, 0.01, (count, 98, 3))
    K = with_focal(intrinsics(256.0), focal)
    points = np.stack([project(np.tile(h, (len(views), 1, 1)), views.rotations, views.translations, K) for h in heads])
    points = points + bias + rng.normal(0, noise_px, points.shape)
    return Observations(points, np.ones(points.shape[:3]), np.ones(points.shape[:2], bool), None, heads)


def own_errors():
    """Of a detector: what it sees is nearer to the middle of the head than it is, the more so the more it is turned."""
    exact = seen(1, 0, noise_px=0.0).points[0]
    turned = np.abs(VIEWS.azimuth_deg)[:, None, None] / 45
    return 0.03 * turned * (exact.mean(1, keepdims=True) - exact)


@pytest.mark.parametrize("focal", [0.9, 1.0, 1.12])
def test_the_focal_length_is_found(focal):
    """4 % of it with 0.5 px of noise on 8 faces, within three of its own standard deviations."""
    fit = fit_cameras(seen(8, 1, focal=focal), VIEWS, WEIGHTS)
    assert fit.focal == pytest.approx(focal, abs=0.04) and abs(fit.focal - focal) < 3 * fit.focal_error + 0.005
    assert 0.001 < fit.focal_error < 0.04 and fit.yaw_sign == 1
    assert 0.5 < fit.residual_px < 1.0 and fit.mirrored_px > 2 * fit.residual_px
    if focal != 1:
        assert fit.taken_px > fit.residual_px


def test_yaw_the_other_way_is_found():
    fit = fit_cameras(seen(4, 1, views=Rig(-VIEWS.azimuth_deg, VIEWS.elevation_deg)), VIEWS, WEIGHTS)
    assert fit.yaw_sign == -1


def test_what_the_detector_sees_elsewhere_is_taken_away():
    """Its own errors look like another focal length; known from heads with exact cameras they do not."""
    faces, heads = seen(8, 1, focal=1.1, bias=own_errors()), seen(8, 2, bias=own_errors())
    found = detector_bias(heads, VIEWS)
    np.testing.assert_allclose(found.shift, own_errors(), atol=1.2)
    assert 0.7 < np.median(found.spread) < 1.2  # noise of 0.5 px, and 0.5 px
    assert abs(fit_cameras(faces, VIEWS, WEIGHTS).focal - 1.1) > 0.1
    fit = fit_cameras(faces, VIEWS, WEIGHTS, heads)
    assert fit.focal == pytest.approx(1.1, abs=0.05) and fit.focal_error < 0.05


def test_faces_that_nobody_finds_are_an_error():
    nobody = seen(2, 1)
    nobody.found[:] = False
    with pytest.raises(ValueError, match="cameras: expected detections that can be lifted, found none"):
        fit_cameras(nobody, VIEWS, WEIGHTS)


def test_the_command_measures_the_procedural_head(tmp_path, monkeypatch):
    """Its cameras are exact; the detector's errors on the same kind of head are known."""
    monkeypatch.delenv("FACELIFT_ASSETS", raising=False)
    path = check_generator(CheckConfig("procedural", tmp_path, faces=3, heads=3, views=9, size=128))
    noted = json.loads(path.read_text())
    assert path == tmp_path / "cameras.json" and noted["generator"] == "procedural" and noted["heads"] == 3
    assert noted["yaw_sign"] == 1 and noted["residual_px"] <= noted["taken_px"] + 0.1 < noted["mirrored_px"]
    assert 0.7 < noted["focal"] < 1.4 and noted["focal_error"] > 0
