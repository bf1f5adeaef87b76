"""Faces that need no network: a red square is a face, its green level says how unsure the detector is."""

import cv2
import numpy as np

from facelift.detectors2d.protocol import Detections
from facelift.finders import FoundFaces
from facelift.landmarks import WFLW98, mean_head

SHAPE = mean_head()[:, :2] * [1, -1]
SHAPE = (SHAPE - SHAPE[:96].min(0)) / np.ptp(SHAPE[:96], axis=0).max()
"""A frontal face in a box whose longer side is 1."""


def draw_face(x, y, *, side=60, unsure=0, seed=0, width=160, height=120):
    """RGB picture with a face whose box starts at (x, y), on a background of its own."""
    scene = np.random.default_rng(seed).integers(0, 120, (height // 8, width // 8, 3), dtype=np.uint8)
    image = cv2.resize(scene, (width, height), interpolation=cv2.INTER_NEAREST)
    image[..., 0] //= 2
    image[y : y + side, x : x + side] = (255, unsure, 0)
    return image


def face_box(image):
    """x0 y0 x1 y1 of the red square; None without one."""
    ys, xs = np.nonzero((image[..., 0] > 200) & (image[..., 2] < 60))
    if len(xs) < 50:
        return None
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], float)


class SquareDetector:
    """Puts the frontal face into the red square; sigma is 1 % of its side, and as many more as the green level / 10."""

    scheme = WFLW98

    def __init__(self, stop_after=None):
        self.calls, self._stop_after = 0, stop_after

    def detect(self, images, boxes):
        self.calls += 1
        if self._stop_after is not None and self.calls > self._stop_after:
            raise KeyboardInterrupt
        points, sigma = [], []
        for image, box in zip(images, boxes, strict=True):
            square = face_box(image)
            square = box if square is None else square
            side = max(square[2:] - square[:2])
            points.append(square[:2] + SHAPE * side)
            middle = ((square[:2] + square[2:]) / 2).astype(int)
            sigma.append(side * (0.01 + image[middle[1], middle[0], 1] / 1000))
        sigma = np.array(sigma)[:, None]
        covariances = sigma[..., None, None] ** 2 * np.tile(np.eye(2), (1, 98, 1, 1))
        one = np.ones((len(points), 98))
        return Detections(np.stack(points), one, one[:, 0] > 0, covariances, visibility=one, disagreement=0.2 * one)


class SquareFinder:
    """Finds the red square."""

    name = "square"

    def find(self, image):
        box = face_box(image)
        boxes = np.zeros((0, 4)) if box is None else box[None]
        return FoundFaces(boxes, np.ones(len(boxes)), np.zeros(len(boxes)))


def write_video(path, pictures, fps=10):
    """Motion JPEG, which every OpenCV writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, pictures[0].shape[1::-1])
    for picture in pictures:
        writer.write(picture[..., ::-1])
    writer.release()
