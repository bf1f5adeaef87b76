"""Our own face finder in ONNX Runtime: `models/finder.py`, trained by `facelift train finder`."""

import os
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from facelift.finders.protocol import FoundFaces, distinct, roll_of, shrunk
from facelift.onnx_models.session import open_session

MULTIPLE = 32
"""The network takes pictures whose sides are multiples of this, px."""
SIDES = (640, 224)
"""Longer sides, px, at which a photo is searched: the first for small faces, the second for those that fill it."""
MIN_SCORE = 0.42
_GREY = 128
_CANDIDATES = 1500
"""Best cells of a picture that are looked at: a face has about nine."""


class NetworkFinder:
    """Faces from about 20 px at a longer side of 640 px up to the whole picture, turned by up to 60 degrees, up to
    profile. `rolls` are near 0 with the shipped weights, whose points are upright on turned heads too. Safe to share
    between threads.

    `weights`: an .onnx file of `facelift export`; None takes those of the package. Raises FileNotFoundError, or
    ValueError for a file that is no exported face finder.
    """

    name = "facelift"

    def __init__(
        self,
        weights: str | os.PathLike[str] | None = None,
        *,
        min_score: float = MIN_SCORE,
        sides: tuple[int, ...] = SIDES,
        threads: int = 1,
    ):
        path = Path(weights) if weights else Path(str(resources.files("facelift") / "weights" / "facelift-finder.onnx"))
        self._session = open_session(path, threads=threads)
        outputs = [output.name for output in self._session.get_outputs()]
        if outputs != ["scores", "boxes", "points"]:
            raise ValueError(f"{path}: expected a face finder with scores, boxes and points, found outputs {outputs}")
        self._min_score, self._sides = min_score, sides

    def find(self, image: UInt8[np.ndarray, "h w 3"]) -> FoundFaces:
        """The faces of the photo, best first; a box may reach beyond the photo where the face does."""
        parts, seen = [], set()
        for side in self._sides:
            small, scale = shrunk(image, side)
            if small.shape not in seen:
                seen.add(small.shape)
                scores, boxes, points = self._look(small)
                parts.append((scores, boxes * scale, points * scale))
        scores, boxes, points = (np.concatenate(values) for values in zip(*parts, strict=True))
        return faces_of_cells(scores, boxes, points, min_score=self._min_score)

    def _look(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tensor = padded(image).transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
        scores, boxes, points = self._session.run(None, {"image": tensor})
        return scores[0], boxes[0], points[0]


def padded(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The picture with grey below and to the right, its sides multiples of MULTIPLE."""
    bottom, right = (-image.shape[0] % MULTIPLE, -image.shape[1] % MULTIPLE)
    return cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=(_GREY, _GREY, _GREY))


def faces_of_cells(
    scores: Float[np.ndarray, "n"],
    boxes: Float[np.ndarray, "n 4"],
    points: Float[np.ndarray, "n 5 2"],
    *,
    min_score: float,
) -> FoundFaces:
    """One face of the cells that answer for it: the surest one's."""
    chosen = np.flatnonzero(scores >= min_score)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")][:_CANDIDATES]
    chosen = chosen[distinct(boxes[chosen], scores[chosen])]
    across = points[chosen, 1] - points[chosen, 0]
    down = points[chosen, 3:].mean(1) - points[chosen, :2].mean(1)
    found = (boxes[chosen], scores[chosen], roll_of(across, down))
    return FoundFaces(*(values.astype(np.float64) for values in found))
