"""Both heads: where their landmarks are and how they move."""

import cv2
import numpy as np
import pytest

from facelift.datasets.packed import tar_files
from facelift.geometry import UNIT_CM
from facelift.landmarks import WFLW98, mean_head, normals
from facelift.morphable.expressions import ExpressionSampler
from facelift.morphable.head import Head, landmarks, vertex_normals
from facelift.morphable.open_head import OpenHead
from facelift.morphable.procedural_head import ProceduralHead
from facelift.morphable.template import mean_head as measured_mean_head
from facelift.morphable.wflw98 import BROW_UV

_OPEN: list[OpenHead] = []


@pytest.fixture
def open_head(assets_dir) -> OpenHead:
    if not _OPEN:
        _OPEN.append(OpenHead(assets_dir))
    return _OPEN[0]


def test_template_is_symmetric_and_points_outward():
    mirrored = normals()[WFLW98.mirror] * [-1, 1, 1]
    np.testing.assert_allclose(mirrored, normals(), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(normals(), axis=-1), 1, atol=1e-6)
    outward = mean_head() - [0, 0, 0]
    rim = WFLW98.regions["contours"]
    assert ((normals()[rim] * outward[rim]).sum(-1) > 0).all()
    assert mean_head()[60, 0] < 0 < mean_head()[72, 0]  # image-left eye is the subject's right


def test_packed_template_is_what_the_head_gives(assets_dir):
    measured = measured_mean_head(assets_dir)
    np.testing.assert_allclose(measured["points"], mean_head(), atol=1e-6)
    np.testing.assert_allclose(measured["normals"], normals(), atol=1e-5)


def test_procedural_head_passes_through_the_template():
    head = ProceduralHead()
    assert isinstance(head, Head)
    found = landmarks(head, head.vertices(np.zeros(5), np.zeros(3)))
    assert np.linalg.norm(found - mean_head(), axis=-1).max() < 0.025
    for identity in (np.zeros(5), np.ones(5)):
        outward = vertex_normals(head.vertices(identity, np.zeros(3)), head.topology.faces)
        assert (outward[head.landmark_vertices[[16, 54]], 2] > 0).all()


def blink(head, expression) -> tuple[float, float]:
    """(left, right) lid distance over eye width."""
    marks = landmarks(head, head.vertices(np.zeros(100 if isinstance(head, OpenHead) else 5), expression))
    opening = lambda up, down, a, b: np.linalg.norm(marks[up] - marks[down]) / np.linalg.norm(marks[a] - marks[b])  # noqa: E731
    return opening(62, 66, 60, 64), opening(70, 74, 68, 72)


def test_procedural_expressions_move_the_right_landmarks():
    head = ProceduralHead()
    neutral = landmarks(head, head.vertices(np.zeros(5), np.zeros(3)))
    jaw = landmarks(head, head.vertices(np.zeros(5), np.array([1.0, 0, 0])))
    assert neutral[16, 1] - jaw[16, 1] > 0.03 and np.abs(jaw[96:] - neutral[96:]).max() < 1e-3
    assert max(blink(head, np.array([0, 1.0, 0]))) < 0.5 * min(blink(head, np.zeros(3)))


def test_open_head_blinks_one_eye_at_a_time(open_head):
    expression = np.zeros(len(open_head.names))
    neutral = blink(open_head, expression)
    expression[open_head.names.index("eyeBlink_R")] = 1
    closed = blink(open_head, expression)
    assert closed[0] < 0.4 * neutral[0] and closed[1] == pytest.approx(neutral[1], abs=1e-3)


def test_open_head_opens_its_jaw_and_looks_to_its_left(open_head):
    expression = np.zeros(len(open_head.names))
    identity = np.zeros(100)
    neutral = landmarks(open_head, open_head.vertices(identity, expression))
    expression[open_head.names.index("jawOpen")] = 1
    expression[[open_head.names.index(n) for n in ("eyeLookOut_L", "eyeLookIn_R")]] = 0.5
    moved = landmarks(open_head, open_head.vertices(identity, expression))
    assert (neutral[16, 1] - moved[16, 1]) * UNIT_CM > 1.5
    assert ((moved[96:, 0] - neutral[96:, 0]) * UNIT_CM > 0.2).all()


def test_lids_never_sink_into_the_eyeballs(open_head):
    rng = np.random.default_rng(0)
    identity, _ = open_head.sample(rng)
    expression = np.zeros(len(open_head.names))
    expression[[open_head.names.index(n) for n in ("eyeBlink_L", "eyeBlink_R")]] = 1
    vertices = open_head.vertices_cm(identity, expression)
    for _, ball, skin in open_head._eyes:
        centre = (vertices[ball].min(0) + vertices[ball].max(0)) / 2
        outside = vertices[skin] - centre
        distance = np.linalg.norm(outside, axis=-1)
        surface = vertices[ball] - centre
        radius = np.linalg.norm(surface, axis=-1)
        cosine = (outside / distance[:, None]) @ (surface / radius[:, None]).T
        lids = (outside[:, 2] > 0.5 * distance) & (distance > 0.85 * radius[cosine.argmax(1)])
        assert lids.sum() > 50 and (distance > radius[cosine.argmax(1)])[lids].all()


def test_expressions_are_plausible_and_blinks_are_common():
    names = ["eyeBlink_L", "eyeBlink_R", "jawOpen", "mouthSmile_L", "eyeLookOut_L", "eyeLookIn_L", "eyeLookOut_R"]
    names += ["eyeLookIn_R", "eyeLookUp_L", "eyeLookUp_R", "eyeLookDown_L", "eyeLookDown_R", "PupilDilate_L"]
    sampler = ExpressionSampler(names)
    rng = np.random.default_rng(1)
    drawn = np.stack([sampler.sample(rng) for _ in range(400)])
    assert drawn.min() >= 0 and drawn.max() <= 1.1
    assert 0.2 < (drawn[:, 0] > 0.3).mean() < 0.45
    assert (drawn[:, names.index("PupilDilate_L")] == 0).all()
    assert (np.minimum(drawn[:, 4], drawn[:, 5]) < 0.2).all()  # an eye looks to one side only


def test_gaze_angle_has_the_subject_s_left_positive():
    names = ["eyeLookOut_L", "eyeLookIn_L", "eyeLookUp_L", "eyeLookDown_L"]
    left, up = ExpressionSampler(names).gaze_rad(np.array([1.0, 0, 0, 0.5]), "L")
    assert np.degrees([left, up]) == pytest.approx([30, -15])


def test_the_open_mean_head_is_its_own_mirror_image(open_head):
    """Points at the mirror landmarks of the scheme, not those of the file: a swapped index would show."""
    marks = landmarks(open_head, open_head.mean_cm)
    np.testing.assert_allclose(marks[WFLW98.mirror] * [-1, 1, 1], marks, atol=0.02)  # cm


def test_brows_follow_the_paint(open_head, assets_dir):
    """Column by column, the middle of the painted masks lies between the edges of the brow; brows are upright."""
    files = [file for name, file in tar_files(assets_dir / "textures.tar").items() if name.startswith("brows/")]
    masks = [cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE) for file in files]
    paint = cv2.resize(np.mean(masks, axis=0), (1024, 1024))[:, :512]
    columns = np.arange(270, 440)
    middle = (np.arange(1024.0) @ paint)[columns] / paint[:, columns].sum(0)
    edge = lambda marks: np.interp(columns, *zip(*(BROW_UV[mark] for mark in marks), strict=True))  # noqa: E731
    upper, lower = edge([33, 34, 35, 36, 37]), edge([33, 41, 40, 39, 38])
    assert ((upper < middle) & (middle < lower)).mean() > 0.95
    marks = landmarks(open_head, open_head.mean_cm)
    assert (marks[[34, 35, 36], 1] - marks[[41, 40, 39], 1] > 0.2).all()  # upper edge above lower, cm
    np.testing.assert_allclose(open_head.landmark_weights.sum(1), 1, atol=1e-12)
    assert (open_head.landmark_weights[33:51] >= 0).all()


def test_a_look_down_does_not_push_closed_lids_past_each_other(open_head, rng):
    for _ in range(60):
        expression = open_head.expressions.sample(rng)
        for side in "LR":
            blink = expression[open_head.names.index(f"eyeBlink_{side}")]
            down = expression[open_head.names.index(f"eyeLookDown_{side}")]
            assert down <= max(1 - blink, 0) + 0.4 and (blink < 1 or down < 0.2)


def test_a_blink_of_one_closes_the_eyes_of_any_identity(open_head, rng):
    """The file's own blink leaves lids up to a tenth of the eye's width apart, or lets them pass each other."""
    names = open_head.names
    expression = np.zeros(len(names))
    expression[[names.index(n) for n in ("eyeBlink_L", "eyeBlink_R")]] = 1
    squeezed = expression.copy()
    squeezed[[names.index(n) for n in ("eyeSquint_L", "eyeSquint_R", "cheekSquint_L", "cheekSquint_R")]] = 1
    for _ in range(8):
        identity = open_head.sample(rng)[0]
        for closed in (expression, squeezed):
            marks = landmarks(open_head, open_head.vertices(identity, closed))
            gap = marks[[61, 62, 63, 69, 70, 71], 1] - marks[[67, 66, 65, 75, 74, 73], 1]
            assert np.abs(gap).max() < 0.02 * np.linalg.norm(marks[60] - marks[64])


def test_hard_expressions_are_common(open_head):
    """Of each hundred faces: shut eyes, a single shut eye, puckers, one-sided mouths, wide-open mouths."""
    rng, names = np.random.default_rng(3), open_head.names
    drawn = np.stack([open_head.expressions.sample(rng) for _ in range(600)])
    value = lambda name: drawn[:, names.index(name)]  # noqa: E731
    left, right = value("eyeBlink_L") >= 1, value("eyeBlink_R") >= 1
    assert 0.09 < (left & right).mean() < 0.2 and 0.02 < (left ^ right).mean() < 0.09
    assert (left & right & (value("eyeSquint_L") >= 0.4) & (value("browDown_L") >= 0.4)).mean() > 0.02
    assert (value("mouthPucker") > 0.5).mean() > 0.05
    assert (np.abs(value("mouthSmile_L") - value("mouthSmile_R")) > 0.4).mean() > 0.05
    assert (value("jawOpen") > 0.6).mean() > 0.09
    assert drawn.min() >= 0 and drawn.max() <= 1.1
