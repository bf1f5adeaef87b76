"""MediaPipe's face detectors as a finder, where that package is installed.

Their box is brought to the tight box of the 68 human landmarks (brows to chin) by a shift and a scale: medians over the
1,005 labelled photos of w300_full, measured by `benchmarks/calibrate_finders.py`.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

from facelift.finders.protocol import FoundFaces, distinct, nobody, roll_of, shrunk
from facelift.mediapipe_graphs import face_detection

Look = Literal["full_range", "short_range", "quarters"]


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
    `looks` leaves some of that out. Below a score of 0.6 the short-range model takes many animals and objects for
    faces. Calls from several threads wait for each other.
    """

    name = "mediapipe"
    box_map = BoxMap(0.0, 0.059, 0.930, 0.909)
    _TILED_FROM = 640
    """Longer side, px, from which quarters are searched too: full range sees a photo at 192 px."""

    def __init__(self, *, min_score: float = 0.6, looks: tuple[Look, ...] = ("full_range", "short_range", "quarters")):
        self._min_score, self._looks = min_score, looks
        self._full_range, self._short_range = face_detection(full_range=True), face_detection(full_range=False)
        self._lock = threading.Lock()

    def find(self, image: UInt8[np.ndarray, "h w 3"]) -> FoundFaces:
        """Faces from about 20 px on, of all poses up to profile."""
        small, scale = shrunk(image, 1280)
        with self._lock:
            found = [face for model, tile in self._passes(small) for face in _mediapipe_faces(model, small, tile)]
        found = [(box, score, roll) for box, score, roll in found if score >= self._min_score]
        if not found:
            return nobody()
        boxes, scores, rolls = (np.array(values, np.float64) for values in zip(*found, strict=True))
        boxes = self.box_map.apply(boxes, rolls) * scale
        keep = distinct(boxes, scores)
        return FoundFaces(boxes[keep], scores[keep], rolls[keep])

    def _passes(self, image: np.ndarray) -> Iterator[tuple[Any, tuple[int, int, int, int]]]:
        height, width = image.shape[:2]
        whole = (0, 0, width, height)
        if "full_range" in self._looks:
            yield self._full_range, whole
        if "short_range" in self._looks:
            yield self._short_range, whole
        if "quarters" in self._looks and max(height, width) >= self._TILED_FROM:
            for tile in _quarters(width, height):
                yield self._full_range, tile


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
        left_eye, right_eye, _, mouth = np.array([(p.x, p.y) for p in location.relative_keypoints])[:4] * size
        roll = float(roll_of(right_eye - left_eye, mouth - (left_eye + right_eye) / 2))
        yield np.concatenate([low, high]) + np.tile(origin, 2), float(detection.score[0]), roll


def _cut_by_tile(low: np.ndarray, high: np.ndarray, tile, shape) -> bool:
    """Whether the face touches a border of its tile that is not the picture's: another tile sees it whole."""
    x0, y0, x1, y1 = tile
    left, top = (low < 0.02 * (high - low)) & (np.array([x0, y0]) > 0)
    beyond = high > np.array([x1 - x0, y1 - y0]) - 0.02 * (high - low)
    right, bottom = beyond & (np.array([x1, y1]) < np.array([shape[1], shape[0]]))
    return bool(left or top or right or bottom)
