"""The quality gate of GAN faces and the fit of their cameras, on planted faults."""

from dataclasses import replace

import numpy as np
import pytest

from facelift.geometry import intrinsics, project
from facelift.landmarks import mean_head
from facelift.lifting.consistency import fit_cameras, residual_px
from facelift.lifting.gate import as_markdown, judge, judgement, succeeded, write_gate
from facelift.lifting.identity import drift_of
from facelift.lifting.masks import NETWORK_COMPETENCE, MaskConfig
from facelift.lifting.observations import Observations, solve, stack
from facelift.lifting.quality import QualityConfig, face_residual_px
from facelift.lifting.rig import Rig, rig
from facelift.lifting.shards import load_shards, make_shard, shard_bytes, shard_name
from facelift.lifting.solver import SolverConfig


def seen(views: Rig, *, factor=1.0, mirrored=False, noise=0.0, scale=1.0, seed=0) -> Observations:
    """Exact projections of a head by cameras of another focal length or yaw than the rig's."""
    real = Rig(-views.azimuth_deg, views.elevation_deg) if mirrored else views
    K = intrinsics(256) * [[factor, 1, 1], [1, factor, 1], [1, 1, 1]]
    head = np.tile(mean_head() * scale, (len(views), 1, 1))
    points = project(head, real.rotations, real.translations, K)
    points = points + np.random.default_rng(seed).normal(0, noise, points.shape)
    count = len(views)
    sure, nowhere = np.ones((1, count, 98)), np.full((1, 98, 3), np.nan)
    return Observations(points[None], sure, np.ones((1, count), bool), None, nowhere, np.array([2.0]))


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.2])
def test_focal_lengths_are_found(factor):
    views = rig(21)
    observed = stack([seen(views, factor=factor, scale=s) for s in (0.9, 1.0, 1.1)])
    fit = fit_cameras(observed, views, np.ones((21, 98)))
    assert fit.focal == pytest.approx(factor, abs=4e-3) and fit.residual_px < 0.01 and fit.yaw_sign == 1
    assert (fit.taken_px < 0.01) == (factor == 1.0) and fit.focal_error < 1e-3
    assert fit.mirrored_px > 1


def test_uncertain_focal_lengths_say_so():
    views = rig(9)
    exact = stack([seen(views, seed=s) for s in range(4)])
    rough = stack([seen(views, noise=1.5, seed=s) for s in range(4)])
    errors = [fit_cameras(observed, views, np.ones((9, 98))).focal_error for observed in (exact, rough)]
    assert errors[0] < 1e-3 < errors[1] < 0.2


def test_yaw_of_the_wrong_sign_is_found():
    views = rig(21)
    fit = fit_cameras(seen(views, mirrored=True), views, np.ones((21, 98)))
    assert fit.yaw_sign == -1 and fit.mirrored_px < 0.01 < fit.residual_px


def test_nothing_to_fit_is_said():
    views = rig(5)
    nothing = replace(seen(views), found=np.zeros((1, 5), bool))
    assert residual_px(nothing, views, np.ones((5, 98)), 1.0) == np.inf
    with pytest.raises(ValueError, match="expected detections that can be lifted"):
        fit_cameras(nothing, views, np.ones((5, 98)))


def test_the_gate_rejects_what_it_is_for(tmp_path):
    """Good; views that disagree; another person in some views; a detector that sees nothing, or is not sure."""
    views, config = rig(21), QualityConfig(max_residual_px=3.0)
    good = seen(views)
    faces = [good, seen(views, noise=12.0), *(replace(good, drift=np.array([drift])) for drift in (30.0, np.nan))]
    faces.append(replace(good, found=np.arange(21)[None] < 8))
    observed = stack(faces)
    lifted = solve(observed, views, MaskConfig(), NETWORK_COMPETENCE, SolverConfig())
    good = judge(lifted, observed, config)
    measured = {"detected": succeeded(observed).mean(-1), "drift": observed.drift}
    shard = make_shard(np.arange(5), lifted, good, observed.truth, **measured)
    (tmp_path / shard_name(0)).write_bytes(shard_bytes(shard))
    found = judgement(load_shards(tmp_path))
    np.testing.assert_allclose(found.residual_px, face_residual_px(lifted), rtol=1e-6)
    assert found.accepted.tolist() == [True, False, False, False, False]
    assert found.residual_px[0] < 0.01 and found.region_px[0].max() < 0.01
    assert found.residual_px[1] > 3 and found.detected[4] == pytest.approx(8 / 21)
    write_gate(f"file://{tmp_path}", config)
    text = (tmp_path / "gate.md").read_text()
    assert text.startswith("# 1 of 5 faces accepted") and text == as_markdown(found, config)
    assert "| identity drift, % | 2.00 |" in text and (tmp_path / "gate.json").is_file()


def test_a_detector_succeeds_where_it_is_sure():
    observed = seen(rig(5))
    side = (observed.points.max(2) - observed.points.min(2)).max()
    sure = np.tile(np.eye(2) * (0.02 * side) ** 2, (1, 5, 98, 1, 1))
    sure[0, 3] *= 100
    assert succeeded(observed).all()
    assert succeeded(replace(observed, covariances=sure)).tolist() == [[True, True, True, False, True]]


def test_drift_is_of_shape_alone():
    """Not of place, size or turn; and, hand-computed: two shapes apart by +-d along one axis."""
    head = mean_head()
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    assert drift_of(np.stack([head, 1.3 * head @ turn.T + 0.2, head])) < 1e-6
    deep, deeper = (np.stack([head, head * [1, 1, depth]]) for depth in (1.05, 1.10))
    assert 0.2 < drift_of(deep) < 3
    assert drift_of(deeper) == pytest.approx(2 * drift_of(deep), rel=0.1)
