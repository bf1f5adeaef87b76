"""Scores by hand, and the report of a fake detector whose faults are known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fake_views import FakeDetector, FakeGenerator

from facelift.geometry import UNIT_CM
from facelift.lifting.masks import MEDIAPIPE_COMPETENCE, MaskConfig
from facelift.lifting.report import REGIONS, as_markdown, score, settings
from facelift.lifting.rig import rig
from facelift.lifting.solver import SolverConfig
from facelift.lifting.stage import LiftConfig, lift, lifting_report

MM = 10 * UNIT_CM


def test_score_by_hand():
    """Outer eye corners 100 mm apart; every nose 3 mm off; one mouth 4 mm off."""
    truth = np.zeros((4, 98, 3))
    truth[:, 60, 0], truth[:, 72, 0] = -50 / MM, 50 / MM
    lifted = truth.copy()
    lifted[:, REGIONS["nose"], 0] += 3 / MM
    lifted[3, REGIONS["mouth"], 1] += 4 / MM
    lifted[:, 96:] = np.nan
    mm, percent, held_out = score(lifted, truth)
    assert mm["nose"] == pytest.approx(3) and percent["nose"] == pytest.approx(3)
    assert mm["mouth"] == pytest.approx(1) and mm["eyes"] == 0
    assert mm["all"] == pytest.approx((9 * 3 + 20 * 1) / 96)
    assert held_out["nose"] == pytest.approx(0, abs=1e-12)
    assert held_out["mouth"] == pytest.approx(2), "offset of faces 0 and 2 is none; of faces 1 and 3 one is 4 mm off"


def test_what_has_no_solution_does_not_count():
    truth = np.zeros((2, 98, 3))
    truth[:, 60, 0] = 0.3
    lifted = truth + 1 / MM
    lifted[:, REGIONS["brows"]] = np.nan
    lifted[0, 54] = np.nan
    mm, _, _ = score(lifted, truth)
    assert np.isnan(mm["brows"]) and mm["nose"] == pytest.approx(np.sqrt(3)) == mm["all"]


def test_settings_compare_masks_losses_and_rigs():
    compared = settings(MaskConfig(), MEDIAPIPE_COMPETENCE, SolverConfig())
    assert len({setting.name for setting in compared}) == len(compared) == 12
    assert {setting.views for setting in compared} == {5, 9, 21, 41}
    assert compared[0].mask.enabled and not compared[1].mask.enabled
    assert [setting.views for setting in settings(MaskConfig(), MEDIAPIPE_COMPETENCE, SolverConfig(), views=9)][-1] == 5


class BadProfiles(FakeDetector):
    """Beyond 60 degrees all its points lie 40 px to the right."""

    def detect(self, images, boxes):
        found = super().detect(images, boxes)
        view = np.array([image[0, 0, 0] for image in images])
        found.points[np.abs(rig().azimuth_deg[view]) > 60] += [40, 0]
        return found


def test_report_shows_that_masks_help_where_profiles_are_bad(tmp_path):
    pytest.importorskip("numba")
    config = LiftConfig(tmp_path, faces=4, workers=1, report=True)
    detector = BadProfiles(rig(), noise_px=1)
    path = lift(config, generator=FakeGenerator(), detector=detector)
    scores = {entry["setting"]: entry for entry in json.loads((tmp_path / "report.json").read_text())["scores"]}
    masked, unmasked = scores["41 views, masked, least squares"], scores["41 views, unmasked, least squares"]
    assert masked["mm"]["nose"] < 1 < 2 < unmasked["mm"]["nose"]
    assert scores["41 views, unmasked"]["mm"]["nose"] < 1, "the robust loss takes them out as well"
    assert scores["5 views, unmasked"]["mm"]["all"] > scores["21 views, unmasked"]["mm"]["all"]
    text = path.read_text()
    assert f"| 41 views, masked | {scores['41 views, masked']['mm']['all']:.2f} |" in text
    looks = len(detector.boxes)
    lifting_report(replace(config, mask=MaskConfig(normal_threshold=0.3)), generator=FakeGenerator(), detector=detector)
    assert len(detector.boxes) == looks == 8, "the same detections, lifted again"
    lifting_report(replace(config, faces=2), generator=FakeGenerator(), detector=detector)
    assert len(detector.boxes) == looks + 4


def test_a_generator_without_truth_is_refused(tmp_path):
    class Secret(FakeGenerator):
        def landmarks(self, seed):
            return None

    pytest.importorskip("numba")
    with pytest.raises(ValueError, match="expected a generator that knows exact landmarks"):
        lifting_report(LiftConfig(tmp_path, faces=1, workers=1), generator=Secret(), detector=FakeDetector(rig()))


def test_markdown_names_what_was_measured():
    assert as_markdown([], {"faces": 3}).startswith("# Lifted landmarks against exact ones\n\n- faces: 3")
