"""Face finders on real photos, and the arithmetic of boxes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from facelift.finders import BoxMap, FoundFaces, HaarFinder, _distinct, _roll, find_finder, overlaps
from facelift.images import load_photo


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
    kept = _distinct(FoundFaces(boxes, np.array([0.5, 0.9, 0.8, 0.3]), np.arange(4.0)))
    np.testing.assert_array_equal(kept.boxes, boxes[[1, 3]])
    np.testing.assert_array_equal(kept.rolls, [1, 3])


@pytest.mark.parametrize("degrees", [-120, 0, 35])
def test_roll_of_keypoints(degrees):
    """An upright face's keypoints, turned clockwise."""
    upright = np.array([[-3, -2], [3, -2], [0, 0], [0, 3], [-6, -1], [6, -1]], float)
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert np.degrees(_roll(upright @ turn.T)) == pytest.approx(degrees)


@pytest.mark.parametrize("shape", [(1, 1, 3), (30, 2000, 3), (300, 300, 3)])
def test_haar_finds_nothing_in_plain_pictures(shape):
    found = HaarFinder().find(np.full(shape, 128, np.uint8))
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,) and found.rolls.shape == (0,)


@pytest.mark.parametrize("name", ["haar", "mediapipe"])
def test_astronaut(data_dir, name):
    """One face, where human eyes see it: brows at 100, chin at 190, cheeks at 175 and 272."""
    if name == "mediapipe":
        pytest.importorskip("mediapipe")
    photo = load_photo(data_dir / "photos" / "astronaut_frontal.jpg")
    found = find_finder(name).find(photo.pixels)
    truth = np.array([176.0, 92.0, 272.0, 190.0])
    assert overlaps(truth, found.boxes).max() > 0.6
    assert ((found.scores > 0) & (found.scores <= 1)).all()


@pytest.mark.parametrize("name", ["haar", "mediapipe"])
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


def test_mediapipe_counts(data_dir):
    """Every photo with few faces has them found; those without, none."""
    pytest.importorskip("mediapipe")
    finder = find_finder("mediapipe")
    expected = {"group_six": 6, "two_men_wide": 2, "no_face_cat": 0, "no_face_landscape": 0, "three_quarter_group": 3}
    assert set(f"{name}.jpg" for name in expected) <= set(json.loads((data_dir / "photos/index.json").read_text()))
    for name, count in expected.items():
        assert len(finder.find(load_photo(data_dir / "photos" / f"{name}.jpg").pixels).boxes) == count, name


def test_rolled_face_is_told(data_dir):
    pytest.importorskip("mediapipe")
    photo = load_photo(data_dir / "photos" / "astronaut_frontal.jpg").pixels[:300, 80:380]
    finder = find_finder("mediapipe")
    upright = finder.find(photo)
    turned = finder.find(np.ascontiguousarray(np.rot90(photo, -1)))  # clockwise
    assert np.degrees(turned.rolls[0] - upright.rolls[0]) == pytest.approx(90, abs=25)  # rough so far from upright


def test_auto_says_what_it_took(caplog):
    pytest.importorskip("mediapipe")
    with caplog.at_level("INFO", "facelift"):
        assert find_finder("auto").name == "mediapipe"
    assert "MediaPipe" in caplog.text


def test_without_mediapipe(monkeypatch, caplog):
    """Not installed, or installed without what it needs: auto goes on with Haar and says why; by name it fails."""
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.face_detection", None)
    with caplog.at_level("INFO", "facelift"):
        assert isinstance(find_finder("auto"), HaarFinder)
    assert "Haar" in caplog.text and "docs/install.md" in caplog.text
    with pytest.raises(ImportError, match="docs/install"):
        find_finder("mediapipe")


def test_mediapipe_starts_without_noise():
    """Nothing on stderr from its native code, in a fresh process."""
    pytest.importorskip("mediapipe")
    code = "from facelift.finders import find_finder; find_finder('mediapipe')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stderr == ""
