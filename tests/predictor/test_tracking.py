"""Following faces: bright discs on black stand for faces, and a network that sees discs for the real one."""

import cv2
import numpy as np
import pytest

from facelift.finders import FoundFaces
from facelift.geometry import FOCAL, look_at_rotation, sphere_translation
from facelift.landmarks import mean_head
from facelift.onnx_models.lifter import OnnxOutput
from facelift.predictors.predictor import Predictor
from facelift.tracking import Follow, Tracker

ROTATION = look_at_rotation(0, 0)
SURE, FAINT = 255, 150
"""Brightness of a disc of which the network is sure, and of one that only the finder sees well."""


def frame(*discs, brightness: int = SURE) -> np.ndarray:
    """Discs (x, y, radius) px on black."""
    picture = np.zeros((240, 320, 3), np.uint8)
    for x, y, radius in discs:
        cv2.circle(picture, (x, y), radius, (brightness,) * 3, -1)
    return picture


def discs_of(picture: np.ndarray) -> list[np.ndarray]:
    """Boxes of the discs, px."""
    _, _, stats, _ = cv2.connectedComponentsWithStats((picture[..., 0] > 100).astype(np.uint8))
    return [np.array([x, y, x + w, y + h], float) for x, y, w, h, area in stats[1:] if area > 20]


class DiscNetwork:
    """Landmarks of which the tight box is the disc nearest to the crop's middle; unsure of faint and of no discs."""

    input_size = 64

    def __init__(self):
        self.looks = 0

    def run(self, crops):
        self.looks += len(crops)
        parts = [self._one(crop) for crop in crops]
        return OnnxOutput(**{name: np.stack([part[name] for part in parts]) for name in parts[0]})

    def _one(self, crop):
        boxes = discs_of(crop)
        box = min(
            boxes, key=lambda box: np.linalg.norm(box.reshape(2, 2).mean(0) - 32), default=np.array([8, 8, 56, 56])
        )
        shape = mean_head()[:, :2] * [1, -1]
        low, high = shape[:96].min(0), shape[:96].max(0)
        points = ((shape - low) / (high - low) * (box[2:] - box[:2]) + box[:2]) / 64
        camera = np.column_stack([(points - 0.5) / FOCAL * 2.7, np.full(98, 2.7)])
        translation = sphere_translation(ROTATION)
        sigma = 0.01 if boxes and crop.max() > 200 else 0.2
        return {
            "landmarks": (camera - translation) @ ROTATION,
            "rotation": ROTATION,
            "translation": translation,
            "covariance": np.tile(np.eye(2) * sigma**2, (98, 1, 1)),
            "visibility": np.ones(98),
            "marks": points,
            "marks_covariance": np.tile(np.eye(2) * sigma**2, (98, 1, 1)),
        }


class DiscFinder:
    """Finds every disc; `frames` counts how often it was asked."""

    name = "discs"

    def __init__(self):
        self.frames = 0

    def find(self, image):
        self.frames += 1
        boxes = np.array(discs_of(image)).reshape(-1, 4)
        return FoundFaces(boxes, np.full(len(boxes), 0.7), np.zeros(len(boxes)))


@pytest.fixture
def predictor(weights) -> Predictor:
    predictor = Predictor(weights, finder=DiscFinder(), threads=1)
    predictor.network = DiscNetwork()
    return predictor


def centres(faces) -> dict[int, list[float]]:
    return {number: [*face.landmark_box.reshape(2, 2).mean(0)] for number, face in faces.items()}


def test_a_moving_face_is_followed_with_one_look_a_frame(predictor):
    """15 frames without the finder, 8 px each and growing; the score is the finder's, the number stays."""
    tracker = Tracker(predictor)
    places = [(60 + 8 * i, 80 + 3 * i, 30 + i // 2) for i in range(20)]
    for index, place in enumerate(places):
        before = predictor.network.looks
        faces = tracker.update(frame(place))
        assert list(faces) == [0] and faces[0].score == 0.7
        np.testing.assert_allclose(centres(faces)[0], np.array(place[:2]) + 0.5, atol=1.0)
        np.testing.assert_allclose(np.ptp(faces[0].points_2d[:96], axis=0), 2 * place[2] + 1, atol=2.5)
        assert predictor.network.looks - before == (3 if index == 0 else 1)  # first: two looks and the mirrored one
    assert predictor.finder.frames == 2  # frames 0 and 15; there the face is followed on, not looked at anew


def test_mirrored_looks_are_asked_for(predictor):
    tracker = Tracker(predictor, Follow(mirror=True))
    tracker.update(frame((100, 100, 30)))
    before = predictor.network.looks
    faces = tracker.update(frame((104, 100, 30)))
    assert predictor.network.looks - before == 2
    np.testing.assert_allclose(centres(faces)[0], [104.5, 100.5], atol=1.0)


def test_a_face_that_leaves_is_lost_at_once_and_is_another_when_it_comes_back(predictor):
    tracker = Tracker(predictor)
    for _ in range(3):
        tracker.update(frame((60, 60, 30)))
    assert tracker.update(frame()) == {} and predictor.finder.frames == 2
    assert tracker.update(frame()) == {} and predictor.finder.frames == 3  # nobody to follow: it looks in every frame
    assert list(tracker.update(frame((250, 150, 30)))) == [1]
    assert predictor.finder.frames == 4


def test_a_new_face_is_seen_when_the_finder_looks_and_the_others_keep_their_numbers(predictor):
    tracker = Tracker(predictor, Follow(every=4))
    seen = [sorted(tracker.update(frame((60, 60, 30), (220, 150, 40)) if i else frame((60, 60, 30)))) for i in range(6)]
    assert seen == [[0]] * 4 + [[0, 1]] * 2
    faces = tracker.update(frame((224, 150, 40)))  # the first leaves
    assert list(faces) == [1]
    np.testing.assert_allclose(centres(faces)[1], [224.5, 150.5], atol=1.0)


def test_a_face_of_which_the_network_is_unsure_keeps_its_number_while_the_finder_sees_it(predictor):
    tracker = Tracker(predictor)
    tracker.update(frame((100, 100, 30)))
    for _ in range(2):
        (face,) = tracker.update(frame((102, 100, 30), brightness=FAINT)).values()
        assert face.sigmas.mean() > 0.08 * 60
    assert predictor.finder.frames == 3
    assert list(tracker.update(frame((104, 100, 30)))) == [0]
    tracker.update(frame((104, 100, 30)))
    assert predictor.finder.frames == 4  # after the last unsure frame once, then it rests


def test_what_the_network_takes_for_no_face_gets_no_number(predictor):
    """The finder alone sees the faint disc, as long as nobody was there; the face that comes later is the first."""
    tracker = Tracker(predictor)
    assert tracker.update(frame((100, 100, 30), brightness=FAINT)) == {}
    assert list(tracker.update(frame((100, 100, 30)))) == [0]


def test_a_face_that_jumps_is_another(predictor):
    """The crop still shows the disc, 50 px further on, but that is no movement within one frame."""
    jump = [frame((100, 100, 32)), frame((146, 100, 32))]
    tracker = Tracker(predictor)
    assert [list(tracker.update(picture)) for picture in jump] == [[0], [1]]
    patient = Tracker(predictor, Follow(min_overlap=0.1))
    assert [list(patient.update(picture)) for picture in jump] == [[0], [0]]


def test_two_faces_that_become_one_are_one(predictor):
    """One smaller disc between where the two were: the network sees it from both places."""
    tracker = Tracker(predictor, Follow(min_overlap=0.01))
    assert sorted(tracker.update(frame((100, 80, 30), (100, 142, 30)))) == [0, 1]
    assert len(tracker.update(frame((100, 111, 22)))) == 1


def test_frames_larger_than_what_is_loaded(weights):
    """Frames above 4,096 px are shrunk while they are read; the faces are told in their own pixels."""
    predictor = Predictor(weights, finder=DiscFinder(), threads=1)
    predictor.network = DiscNetwork()
    tracker = Tracker(predictor)
    for x in (2000, 2040):
        picture = np.zeros((400, 8192, 3), np.uint8)
        cv2.circle(picture, (x, 200), 100, (255, 255, 255), -1)
        faces = tracker.update(picture)
        np.testing.assert_allclose(centres(faces)[0], [x + 0.5, 200.5], atol=4)
    assert predictor.finder.frames == 1
