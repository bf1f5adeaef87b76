"""Face finders on real photos, and the arithmetic of boxes."""

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest

from facelift.finders import NetworkFinder, find_finder, overlaps
from facelift.finders.mediapipe import BoxMap
from facelift.finders.network import faces_of_cells, padded
from facelift.finders.protocol import distinct, roll_of
from facelift.geometry import roll_rotation
from facelift.images import load_photo
from facelift.predictors.predictor import Predictor

OURS_AND_MEDIAPIPE = pytest.mark.parametrize("name", ["auto", "mediapipe"])
ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.jpg"


def test_box_map_by_hand():
    """Side 40: shift 0.1 x 40 = 4 down, size 20 x 32; a head turned by 90 degrees is shifted to its left."""
    boxes = np.array([[10.0, 10.0, 50.0, 50.0]] * 2)
    moved = BoxMap(0.0, 0.1, 0.5, 0.8).apply(boxes, np.array([0.0, np.pi / 2]))
    np.testing.assert_allclose(moved, [[20, 18, 40, 50], [16, 14, 36, 46]], atol=1e-12)


def test_overlap_by_hand():
    box = np.array([0.0, 0.0, 10.0, 10.0])
    others = np.array([[5.0, 0.0, 15.0, 10.0], [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    np.testing.assert_allclose(overlaps(box, others), [1 / 3, 1, 0])


def test_distinct_keeps_the_best():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [4, 4, 8, 8], [30, 0, 40, 10]], float)
    assert distinct(boxes, np.array([0.5, 0.9, 0.8, 0.3])) == [1, 3]


def test_the_surest_box_is_her_face():
    """What the finder must know at the very least."""
    image, truth = astronaut()
    assert overlaps(truth, NetworkFinder().find(image).boxes)[0] > 0.5


@pytest.mark.parametrize("degrees", [-120, 0, 35])
def test_roll_of_keypoints(degrees):
    """An upright face's eyes and mouth, turned clockwise."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert np.degrees(roll_of(turn @ [6, 0], turn @ [0, 5])) == pytest.approx(degrees)


def test_roll_of_a_profile_is_that_of_the_longer_line():
    """Eyes one above the other by 1 px, the mouth 10 px below them."""
    assert np.degrees(roll_of(np.array([0.0, 1.0]), np.array([0.0, 10.0]))) == pytest.approx(5.71, abs=0.01)


def test_one_face_of_many_cells_by_hand():
    """Of two cells on one face the surer one's box, points and turn; a cell below the threshold says nothing."""
    boxes = np.array([[0, 0, 40, 40], [1, 1, 41, 41], [100, 0, 140, 40], [200, 0, 240, 40]], np.float32)
    points = np.tile(np.array([[10, 20], [30, 20], [20, 25], [15, 35], [25, 35]], np.float32), (4, 1, 1))
    points[2] = points[2] @ np.array([[0, 1], [-1, 0]], np.float32)  # a quarter clockwise
    found = faces_of_cells(np.array([0.7, 0.8, 0.6, 0.4], np.float32), boxes, points, min_score=0.5)
    np.testing.assert_allclose(found.boxes, boxes[[1, 2]])
    np.testing.assert_allclose(found.scores, [0.8, 0.6], atol=1e-6)
    np.testing.assert_allclose(np.degrees(found.rolls), [0, 90], atol=1e-4)
    assert faces_of_cells(np.zeros(4, np.float32), boxes, points, min_score=0.5).boxes.shape == (0, 4)


def test_pictures_are_filled_up_below_and_to_the_right():
    image = np.full((33, 64, 3), 7, np.uint8)
    full = padded(image)
    assert full.shape == (64, 64, 3) and (full[:33] == 7).all() and (full[33:] == 128).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (30, 2000, 3), (300, 300, 3)])
def test_nobody_in_plain_pictures(shape):
    found = NetworkFinder().find(np.full(shape, 128, np.uint8))
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,) and found.rolls.shape == (0,)


def astronaut(*, degrees: float = 0.0, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The shipped photo, turned clockwise about her face and scaled, and the tight box of that face by eye."""
    image = load_photo(ASTRONAUT).pixels
    middle, half = np.array([224.0, 141.0]), np.array([48.0, 49.0])
    matrix = cv2.getRotationMatrix2D(tuple(middle), -degrees, scale)
    matrix[:, 2] += 256 - middle
    return cv2.warpAffine(image, matrix, (512, 512)), np.concatenate([256 - half * scale, 256 + half * scale])


@OURS_AND_MEDIAPIPE
def test_astronaut(name):
    """One face, where human eyes see it: brows at 100, chin at 190, cheeks at 175 and 272."""
    if name == "mediapipe":
        pytest.importorskip("mediapipe")
    image, truth = astronaut()
    found = find_finder(name).find(image)
    assert len(found.boxes) == 1 and overlaps(truth, found.boxes)[0] > 0.6
    assert ((found.scores > 0) & (found.scores <= 1)).all() and abs(np.degrees(found.rolls[0])) < 15


@pytest.mark.parametrize("degrees", [-60, -30, 30, 60])
def test_turned_faces_are_found_and_their_landmarks_turn_with_them(degrees):
    """The shipped finder tells no turn; the lifter's first look does."""
    upright, _ = astronaut()
    image, truth = astronaut(degrees=degrees)
    assert overlaps(truth, NetworkFinder().find(image).boxes).max() > 0.5
    predictor = Predictor()
    (before,), (after,) = predictor.predict(upright), predictor.predict(image)
    turn = roll_rotation(np.array(np.radians(degrees)))[:2, :2]
    expected = (before.points_2d - 256) @ turn.T + 256
    face_px = 98
    assert np.linalg.norm(after.points_2d - expected, axis=-1).mean() < 0.02 * face_px
    assert after.euler_deg[2] - before.euler_deg[2] == pytest.approx(degrees, abs=5)


@pytest.mark.parametrize("scale", [0.22, 0.5, 2.0, 4.0])
def test_small_and_large_faces_are_found(scale):
    """From 21 px on, up to one that fills the picture."""
    image, truth = astronaut(scale=scale)
    assert overlaps(truth, NetworkFinder().find(image).boxes).max(initial=0) > 0.6


def test_the_mirror_picture_has_the_mirrored_face():
    image, _ = astronaut(degrees=20)
    once, mirrored = NetworkFinder().find(image), NetworkFinder().find(np.ascontiguousarray(image[:, ::-1]))
    assert overlaps(once.boxes[0], mirrored.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [512, 0, 512, 0]).max() > 0.8
    assert mirrored.rolls[0] == pytest.approx(-once.rolls[0], abs=0.1)


@OURS_AND_MEDIAPIPE
def test_box_follows_the_photo(data_dir, name):
    """The photo enlarged by two gives boxes twice as large."""
    if name == "mediapipe":
        pytest.importorskip("mediapipe")
    photo = load_photo(data_dir / "photos" / "two_half_profile.jpg").pixels
    finder = find_finder(name)
    once, twice = finder.find(photo), finder.find(photo.repeat(2, 0).repeat(2, 1))
    assert len(once.boxes) >= 1
    for box in once.boxes:
        assert overlaps(2 * box, twice.boxes).max() > 0.75


def test_other_files_are_named(weights, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.onnx: expected weights in ONNX format"):
        NetworkFinder(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("nothing")
    with pytest.raises(ValueError, match=r"text\.onnx: expected weights in ONNX format, found"):
        NetworkFinder(tmp_path / "text.onnx")
    with pytest.raises(ValueError, match=r"tiny\.onnx: expected a face finder with scores, boxes and points"):
        NetworkFinder(weights)


def test_shipped_finder_is_small_and_says_where_it_is_from():
    import onnxruntime

    path = Path(str(resources.files("facelift") / "weights" / "facelift-finder.onnx"))
    assert path.stat().st_size < 1e6
    metadata = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert metadata["task"] == "finder" and metadata["name"] == "facelift-finder"
    assert json.loads(metadata["card"]) == path.with_suffix(".md").read_text(encoding="utf-8")


@OURS_AND_MEDIAPIPE
def test_counts(data_dir, name):
    """Few faces are all found, and where there is none, none: the lifter refuses what the finder takes for one."""
    if name == "mediapipe":
        pytest.importorskip("mediapipe")
    predictor = Predictor(finder=name)
    expected = {"group_six": 6, "two_men_wide": 2, "no_face_cat": 0, "no_face_landscape": 0, "three_quarter_group": 3}
    assert set(f"{name}.jpg" for name in expected) <= set(json.loads((data_dir / "photos/index.json").read_text()))
    for name, count in expected.items():
        assert len(predictor.predict(data_dir / "photos" / f"{name}.jpg")) == count, name


def test_mediapipe_tells_a_roll(data_dir):
    pytest.importorskip("mediapipe")
    photo = load_photo(data_dir / "photos" / "astronaut_frontal.jpg").pixels[:300, 80:380]
    finder = find_finder("mediapipe")
    upright = finder.find(photo)
    turned = finder.find(np.ascontiguousarray(np.rot90(photo, -1)))  # clockwise
    assert np.degrees(turned.rolls[0] - upright.rolls[0]) == pytest.approx(90, abs=25)  # rough so far from upright


def test_auto_is_our_own():
    assert isinstance(find_finder("auto"), NetworkFinder)


def test_without_mediapipe(monkeypatch):
    """Not installed, or installed without what it needs: by name it fails, and says where to read on."""
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.face_detection", None)
    with pytest.raises(ImportError, match="docs/install"):
        find_finder("mediapipe")


def test_mediapipe_starts_without_noise():
    """Nothing on stderr from its native code, in a fresh process."""
    pytest.importorskip("mediapipe")
    code = "from facelift.finders import find_finder; find_finder('mediapipe')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stderr == ""
