"""Where the faces of a photo are: MediaPipe's detectors where they are installed, else OpenCV's Haar cascades.

Every finder's box is brought to the tight box of the 68 human landmarks (brows to chin) by a shift and a scale: medians
over the 1,005 labelled photos of w300_full, measured by `benchmarks/calibrate_finders.py`.
"""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from facelift.mediapipe_graphs import face_detection

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """Faces of one photo, best first."""

    boxes: Float[np.ndarray, "n 4"]
    """Tight box of the landmarks, brows to chin, x0 y0 x1 y1 px."""
    scores: Float[np.ndarray, "n"]
    """0..1; comparable within one finder only."""
    rolls: Float[np.ndarray, "n"]
    """In-plane turn of the head in rad, clockwise positive; 0 where the finder cannot tell."""


@runtime_checkable
class FaceFinder(Protocol):
    """Finds the faces of a photo."""

    name: str

    def find(self, image: UInt8[np.ndarray, "h w 3"]) -> FoundFaces: ...


@dataclass(frozen=True)
class BoxMap:
    """A finder's box -> the tight landmark box, in units of the longer side of the finder's box."""

    shift_x: float
    shift_y: float
    width: float
    height: float

    def apply(self, boxes: Float[np.ndarray, "n 4"], rolls: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 4"]:
        """The shift turns with the head."""
        side = (boxes[:, 2:] - boxes[:, :2]).max(1)
        cos, sin = np.cos(rolls), np.sin(rolls)
        shift = np.stack([cos * self.shift_x - sin * self.shift_y, sin * self.shift_x + cos * self.shift_y], 1)
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + shift * side[:, None]
        half = side[:, None] * np.array([self.width, self.height]) / 2
        return np.concatenate([centre - half, centre + half], 1)


class MediaPipeFinder:
    """BlazeFace (Bazarevsky et al. 2019), full and short range, as MediaPipe 0.10.21 carries it.

    The whole photo goes through both models: full range sees small faces, short range those that fill the picture and
    profiles. Then overlapping quarters of a photo large enough to hide small faces go through the full-range one.
    Below a score of 0.6 the short-range model takes many animals and objects for faces. Calls from several threads
    wait for each other.
    """

    name = "mediapipe"
    box_map = BoxMap(0.0, 0.059, 0.930, 0.909)
    _TILED_FROM = 640
    """Longer side, px, from which quarters are searched too: full range sees a photo at 192 px."""

    def __init__(self, *, min_score: float = 0.6):
        self._min_score = min_score
        self._full_range, self._short_range = face_detection(full_range=True), face_detection(full_range=False)
        self._lock = threading.Lock()

    def find(self, image: UInt8[np.ndarray, "h w 3"]) -> FoundFaces:
        """Faces from about 20 px on, of all poses up to profile."""
        small, scale = _shrunk(image, 1280)
        with self._lock:
            found = [face for model, tile in self._passes(small) for face in _mediapipe_faces(model, small, tile)]
        found = [(box, score, roll) for box, score, roll in found if score >= self._min_score]
        if not found:
            return _nobody()
        boxes, scores, rolls = (np.array(values, np.float64) for values in zip(*found, strict=True))
        return _distinct(FoundFaces(self.box_map.apply(boxes, rolls) * scale, scores, rolls))

    def _passes(self, image: np.ndarray) -> Iterator[tuple[Any, tuple[int, int, int, int]]]:
        height, width = image.shape[:2]
        whole = (0, 0, width, height)
        yield self._full_range, whole
        yield self._short_range, whole
        if max(height, width) >= self._TILED_FROM:
            for tile in _quarters(width, height):
                yield self._full_range, tile


class HaarFinder:
    """OpenCV's cascades (Viola & Jones 2001): frontal faces, and profiles to both sides. Upright faces only.

    Needs nothing beyond OpenCV, and misses more than MediaPipe does.
    """

    name = "haar"
    frontal_map = BoxMap(0.0, 0.160, 0.871, 0.850)
    profile_map = BoxMap(0.0, 0.158, 0.733, 0.714)

    def __init__(self) -> None:
        self._frontal = _cascade("haarcascade_frontalface_alt2.xml")
        self._profile = _cascade("haarcascade_profileface.xml")
        self._lock = threading.Lock()

    def find(self, image: UInt8[np.ndarray, "h w 3"]) -> FoundFaces:
        """Faces from about 1/16 of the photo's longer side on."""
        with self._lock:
            found = [(self.frontal_map, _cascade_boxes(self._frontal, image, side=640, step=1.1))]
            for mirror in (False, True):  # the cascade knows faces that look to the image's left
                profiles = _cascade_boxes(self._profile, image, side=400, step=1.2, mirror=mirror)
                found.append((self.profile_map, (profiles[0], 0.8 * profiles[1])))
        boxes = np.concatenate([mapping.apply(boxes, np.zeros(len(boxes))) for mapping, (boxes, _) in found])
        scores = np.concatenate([scores for _, (_, scores) in found])
        return _distinct(FoundFaces(boxes, scores, np.zeros(len(boxes))))


def find_finder(name: str = "auto") -> FaceFinder:
    """The finder `name`: "mediapipe", "haar", or "auto", which takes MediaPipe if it is installed and logs its choice.

    Raises ValueError for another name, ImportError if "mediapipe" is asked for and does not import.
    """
    if name == "mediapipe":
        return MediaPipeFinder()
    if name == "haar":
        return HaarFinder()
    if name != "auto":
        raise ValueError(f"face finder: expected 'auto', 'mediapipe' or 'haar', found {name!r}")
    try:
        finder: FaceFinder = MediaPipeFinder()
    except ImportError as error:
        logger.info("faces are found by OpenCV's Haar cascades, which miss many: %s", error)
        return HaarFinder()
    logger.info("faces are found by MediaPipe")
    return finder


def overlaps(box: Float[np.ndarray, "4"], boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n"]:
    """Intersection over union of one box with each of several."""
    sides = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None)
    shared = sides.prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return shared / (areas + (box[2:] - box[:2]).prod() - shared)


def _nobody() -> FoundFaces:
    return FoundFaces(np.zeros((0, 4)), np.zeros(0), np.zeros(0))


def _distinct(found: FoundFaces, *, overlap: float = 0.35) -> FoundFaces:
    """Best first, without boxes that overlap a better one, or that mostly lie inside it."""
    keep: list[int] = []
    for index in np.argsort(-found.scores, kind="stable"):
        box = found.boxes[index]
        kept = found.boxes[keep]
        if not keep or (overlaps(box, kept).max() < overlap and _inside(box, kept).max() < 0.7):
            keep.append(int(index))
    return FoundFaces(found.boxes[keep], found.scores[keep], found.rolls[keep])


def _inside(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over the smaller of the two areas."""
    sides = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None)
    return sides.prod(1) / np.minimum((box[2:] - box[:2]).prod(), (boxes[:, 2:] - boxes[:, :2]).prod(1))


def _shrunk(image: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """The picture with its longer side at most `side`, and original px per px."""
    scale = max(image.shape[:2]) / side
    if scale <= 1:
        return image, 1.0
    size = (max(1, round(image.shape[1] / scale)), max(1, round(image.shape[0] / scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def _quarters(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Overlapping parts x0 y0 x1 y1, each 0.6 of the picture wide and high."""
    w, h = round(0.6 * width), round(0.6 * height)
    return [(x, y, x + w, y + h) for y in (0, height - h) for x in (0, width - w)]


def _mediapipe_faces(
    model: Any, image: np.ndarray, tile: tuple[int, int, int, int]
) -> Iterator[tuple[np.ndarray, float, float]]:
    """(box, score, roll) of each face that the model finds in a part of the picture."""
    x0, y0, x1, y1 = tile
    origin, size = np.array([x0, y0]), np.array([x1 - x0, y1 - y0])
    part = np.ascontiguousarray(image[y0:y1, x0:x1])
    for detection in model.process(part).detections or []:
        location = detection.location_data
        relative = location.relative_bounding_box
        low = np.array([relative.xmin, relative.ymin]) * size
        high = low + np.array([relative.width, relative.height]) * size
        if tile != (0, 0, *image.shape[1::-1]) and _cut_by_tile(low, high, tile, image.shape):
            continue
        keypoints = np.array([(p.x, p.y) for p in location.relative_keypoints]) * size
        yield np.concatenate([low, high]) + np.tile(origin, 2), float(detection.score[0]), _roll(keypoints)


def _cut_by_tile(low: np.ndarray, high: np.ndarray, tile, shape) -> bool:
    """Whether the face touches a border of its tile that is not the picture's: another tile sees it whole."""
    x0, y0, x1, y1 = tile
    left, top = (low < 0.02 * (high - low)) & (np.array([x0, y0]) > 0)
    beyond = high > np.array([x1 - x0, y1 - y0]) - 0.02 * (high - low)
    right, bottom = beyond & (np.array([x1, y1]) < np.array([shape[1], shape[0]]))
    return bool(left or top or right or bottom)


def _roll(keypoints: Float[np.ndarray, "6 2"]) -> float:
    """In-plane turn from the eyes' line and the line from eyes to mouth, each by its length: in profile the first is
    short and says little. Keypoints: image-left eye, image-right eye, nose, mouth, ears."""
    across = keypoints[1] - keypoints[0]
    down = keypoints[3] - (keypoints[0] + keypoints[1]) / 2
    x, y = across + np.array([down[1], -down[0]])  # `down` turned back by 90 degrees
    return float(np.arctan2(y, x))


def _cascade(name: str) -> cv2.CascadeClassifier:
    path = Path(cv2.__file__).parent / "data" / name
    cascade = cv2.CascadeClassifier(str(path))
    if cascade.empty():
        raise FileNotFoundError(f"{path}: expected OpenCV's Haar cascade, found none (OpenCV 5 has no cascades)")
    return cascade


def _cascade_boxes(
    cascade: cv2.CascadeClassifier, image: np.ndarray, *, side: int, step: float, mirror: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) px of the image and scores (n,) in 0..1, searched at `side` px in scales of `step`."""
    small, scale = _shrunk(image, side)
    grey = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
    grey = np.ascontiguousarray(grey[:, ::-1]) if mirror else grey
    smallest = max(20, max(grey.shape) // 16)
    if cascade.empty() or min(grey.shape) < smallest:
        return np.zeros((0, 4)), np.zeros(0)
    found, _, weights = cascade.detectMultiScale3(
        grey, scaleFactor=step, minNeighbors=4, minSize=(smallest, smallest), outputRejectLevels=True
    )
    boxes = np.asarray(found, np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    if mirror:
        boxes[:, [0, 2]] = grey.shape[1] - boxes[:, [2, 0]]
    return boxes * scale, 1 / (1 + np.exp(-np.asarray(weights, np.float64).reshape(-1) / 2))
