"""What the benchmarks compute, on planted numbers and on the procedural head."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from facelift.generators.morphable import MorphableGenerator
from facelift.geometry import look_at_rotation, project, sphere_translation
from facelift.geometry.camera import intrinsics
from facelift.landmarks import WFLW98, eye_opening, mean_head
from facelift.onnx_models.lifter import OnnxLifter, weights_path
from facelift.rendering import materials


class Exact:
    """A predictor that knows the head: it adds `shift_px` to its points and scales the 3D landmarks by two."""

    def __init__(self, generator, shift_px=0.0):
        self.generator, self.shift_px, self.seed = generator, shift_px, 0

    def predict(self, image, boxes):
        landmarks = self.generator.landmarks(self.seed)
        rotation = look_at_rotation(0.0, 0.0)
        points = project(landmarks, rotation, sphere_translation(rotation), intrinsics(256))
        assert boxes[0] == pytest.approx([*points[:96].min(0), *points[:96].max(0)])
        return [SimpleNamespace(points_2d=points + np.array([0, self.shift_px]), landmarks_3d=2 * landmarks)]


def test_rendered_errors_by_hand(script):
    """A shift by 3 px is 3 px over sqrt(w h); size is no 3D error, noise is."""
    rendered, generator = script("rendered"), MorphableGenerator(None)
    (head,) = rendered.rendered(Exact(generator, 3.0), generator, 0, *rendered.around([0.0]))
    seen = head.view.visible
    assert 50 < seen.sum() < 98
    box = np.ptp(head.view.points[seen], axis=0)
    assert head.nme == pytest.approx(3 / np.sqrt(box[0] * box[1]), rel=1e-5)
    assert head.error_3d_mm == pytest.approx(0, abs=1e-6)
    noise = np.random.default_rng(2).normal(0, 2 / 360, (98, 3))  # 2 mm in a frame of half the unit: 1 mm
    noisy = rendered.Rendered(head.view, head.landmarks, SimpleNamespace(landmarks_3d=head.face.landmarks_3d + noise))
    assert noisy.error_3d_mm == pytest.approx(np.sqrt(8 / np.pi), rel=0.1)  # mean length of three normal deviates
    unseen = replace(head.view, visible=np.zeros(98, bool))
    assert np.isnan(rendered.Rendered(unseen, head.landmarks, head.face).nme)


def test_a_blinking_head_closes_what_it_is_told_and_nothing_else(script):
    eyes = script("bench_eyes")
    generator = MorphableGenerator(None)
    head = eyes.BlinkingHead(generator.head)
    head.face = 5
    open_, closed = [], []
    for blink, into in ((0.0, open_), (1.0, closed)):
        head.blink = (blink, blink)
        identity, expression = head.sample(np.random.default_rng(99))
        into += [identity, expression, head.vertices(identity, expression)]
    np.testing.assert_array_equal(open_[0], closed[0])
    assert (open_[1] != closed[1]).sum() == 1
    opening = [
        eye_opening((v[head.landmark_vertices] * head.landmark_weights[..., None]).sum(1))
        for v in (open_[2], closed[2])
    ]
    assert opening[0].min() > 0.2 and opening[1].max() < 0.1


def test_winks_move_one_eye(script):
    eyes = script("bench_eyes")

    class Names:
        names = ("eyeBlink_L", "eyeBlink_R", "eyeLookDown_L", "jawOpen")

        def sample(self, rng):
            return np.zeros(2), np.array([0.3, 0.3, 0.8, 0.5])

    head = eyes.BlinkingHead(Names())
    head.blink = (0.25, 1.0)  # the subject's right, left
    np.testing.assert_allclose(head.sample(None)[1], [1.0, 0.25, 0.0, 0.5])


def test_the_table_of_eyes_says_the_planted_line(script):
    eyes = script("bench_eyes")
    rng = np.random.default_rng(0)
    n = 200
    true = rng.uniform(0.05, 0.35, n)
    azimuth = np.resize(eyes.AZIMUTHS_DEG, n)
    blink, wink = (true < 0.1).astype(float), np.resize([0.0, 1.0, 0.0], n)
    planted = eyes.Eyes(azimuth, blink, wink, true, 0.5 * true + 0.1, true, 0.3 - 0.2 * true)
    last = eyes.table(planted).splitlines()[-1]
    assert last.startswith("| all | 200 | 1.000 | 0.500 | -1.000 | -0.200 |")
    assert eyes._dips(np.r_[np.full(40, 0.3), 0.1, np.full(40, 0.3), 0.05, 0.04, np.full(9, np.nan)]) == [40, 82]


def test_skin_tones_run_from_light_to_dark(script):
    groups = script("bench_groups")

    def look(encoded):
        skin = np.tile(np.array(encoded) ** 2.2, (64, 128, 1)).astype(np.float32)
        return SimpleNamespace(skin=skin, flat=np.ones((len(materials.TABLE), 3), np.float32))

    # sRGB of L* 65, a* 13, b* 18: ITA = atan(15 / 18) = 39.8 degrees.
    assert groups.typology_angle_deg(look([0.784, 0.565, 0.494])) == pytest.approx(39.8, abs=4)
    angles = [groups.typology_angle_deg(look(np.array([0.92, 0.78, 0.68]) * level)) for level in (1, 0.8, 0.6, 0.3)]
    assert angles == sorted(angles, reverse=True)
    assert groups.tone(angles[0]).startswith("light") and groups.tone(angles[-1]).startswith("dark")
    assert [groups.tone(angle).split()[0] for angle in (41.1, 41, 28, 10, -30)] == [
        *("light", "intermediate", "tan", "brown", "dark")
    ]


def test_ages_are_read_from_names(script):
    groups = script("bench_groups")
    assert groups.age_of("utkface", "utkface_26_0_1_20170110.jpg") == 26
    assert groups.age_of("aaf", "aaf_07400A02.jpg") == 2
    assert groups.age_of("ytf", "ytf_Adam_Sandler_11.jpg") is None
    assert [groups.band(age) for age in (0, 2, 3, 17, 75, 110)] == ["0 to 2"] * 2 + ["3 to 9", "10 to 17"] + [
        "75 and more"
    ] * 2


def test_flip_distance_is_zero_for_a_symmetric_answer_only(script):
    """The picture's landmarks are those of its mirror image mirrored; then 2 px off over a box of known size."""
    groups = script("bench_groups")
    points = mean_head()[:, :2] * [100, -100] + 60

    class Symmetric:
        drift = 0.0

        def predict(self, image, boxes):
            mirrored = image[0, 0, 0] == 0
            width = image.shape[1]
            answer = points[WFLW98.mirror] * [-1, 1] + [width, 0] if mirrored else points
            assert boxes[0][0] == (width - 30 if mirrored else 10)
            return [SimpleNamespace(points_2d=answer + np.array([0, self.drift * mirrored]), sigmas=np.full(98, 4.0))]

    image = np.zeros((100, 120, 3), np.uint8)
    image[:, :60] = 255
    predictor = Symmetric()
    assert groups.flip_distance(predictor, image, np.array([10.0, 20, 30, 50]))[0] == pytest.approx(0)
    predictor.drift = 2.0
    scale = np.sqrt(np.ptp(points[:96], axis=0).prod())
    assert groups.flip_distance(predictor, image, np.array([10.0, 20, 30, 50])) == pytest.approx((2 / scale, 4 / scale))


def test_groups_are_averaged_apart(script):
    groups = script("bench_groups")
    text = groups.grouped("x", np.array(["b", "a", "b"]), ["a", "b", "c"], ["one"], np.array([[1.0], [5.0], [3.0]]))
    rows = text.splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["a", "b", "all"]
    assert "| 2 | 2.00 [" in rows[1] and "| 3 | 3.00 [" in rows[2]


def test_a_sheet_shows_the_worst(script):
    failures = script("failures")
    image = np.full((100, 100, 3), 90, np.uint8)
    case = failures.Case(0.1, 30.0, image, np.array([20.0, 20, 80, 80]), np.array([[50.0, 50]]), np.array([[60.0, 50]]))
    sheet = failures.sheet([case] * 7)
    assert sheet.shape == (2 * failures.TILE, 6 * failures.TILE, 3)
    scale = failures.TILE / 90
    for place, colour in (((50 - 5) * scale, failures.GREEN), ((60 - 5) * scale, failures.RED)):
        np.testing.assert_array_equal(sheet[round(45 * scale), round(place)], colour)


def test_smaller_networks_answer_alike_and_keep_their_metadata(script, tmp_path):
    """On noise, which no calibration fits, int8 may be rough; float16 may not."""
    quantized = script("bench_quantized")
    crops = np.random.default_rng(0).integers(0, 255, (2, 128, 128, 3), dtype=np.uint8)
    whole = OnnxLifter(weights_path(), threads=1)
    half = OnnxLifter(quantized.to_float16(weights_path(), tmp_path / "half.onnx"), threads=1)
    assert half.metadata == whole.metadata
    assert half.path.stat().st_size < 0.6 * whole.path.stat().st_size
    assert np.abs(half.run(crops).landmarks - whole.run(crops).landmarks).max() < 0.02
    small = OnnxLifter(quantized.to_int8(weights_path(), tmp_path / "int8.onnx", list(crops), ["Conv"]), threads=1)
    assert small.metadata == whole.metadata and list(tmp_path.glob("*.prepared*")) == []
    difference = np.abs(small.run(crops).landmarks - whole.run(crops).landmarks)
    assert 1e-6 < difference.max() < 0.3


def test_memory_of_the_shipped_model_is_measured_by_default(script, monkeypatch, capsys):
    memory = script("bench_memory")
    monkeypatch.setattr("sys.argv", ["bench_memory", "--finders", "auto"])
    assert memory.main() == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "finder auto" in line]
    assert len(rows) == 2 and all(80 < float(row[4]) < 300 and int(row[5]) == 1 for row in rows)
