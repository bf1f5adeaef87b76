"""What a face finder is, and the arithmetic of the boxes that it finds."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8


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


def nobody() -> FoundFaces:
    """No face."""
    return FoundFaces(np.zeros((0, 4)), np.zeros(0), np.zeros(0))


def overlaps(box: Float[np.ndarray, "4"], boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n"]:
    """Intersection over union of one box with each of several."""
    shared = _shared(box, boxes)
    return shared / (_areas(boxes) + _areas(box) - shared)


def distinct(boxes: Float[np.ndarray, "n 4"], scores: Float[np.ndarray, "n"], *, overlap: float = 0.35) -> list[int]:
    """Indices, best first, of the boxes that neither overlap a better one nor mostly lie inside one, or around it."""
    keep: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        box, kept = boxes[index], boxes[keep]
        if not keep or (overlaps(box, kept).max() < overlap and _inside(box, kept).max() < 0.7):
            keep.append(int(index))
    return keep


def roll_of(across: Float[np.ndarray, "*n 2"], down: Float[np.ndarray, "*n 2"]) -> Any:
    """In-plane turn, rad, from the line between the eyes (image left to right) and the line from eyes to mouth, each by
    its length: in profile the first is short and says little."""
    sum_x, sum_y = across[..., 0] + down[..., 1], across[..., 1] - down[..., 0]  # `down` turned back by 90 degrees
    return np.arctan2(sum_y, sum_x)


def shrunk(image: UInt8[np.ndarray, "h w 3"], side: int) -> tuple[UInt8[np.ndarray, "h2 w2 3"], float]:
    """The picture with its longer side at most `side`, and original px per px."""
    scale = max(image.shape[:2]) / side
    if scale <= 1:
        return image, 1.0
    size = (max(1, round(image.shape[1] / scale)), max(1, round(image.shape[0] / scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def _inside(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over the smaller of the two areas."""
    return _shared(box, boxes) / np.minimum(_areas(box), _areas(boxes))


def _areas(boxes: Float[np.ndarray, "*n 4"]) -> Any:
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)


def _shared(box: Float[np.ndarray, "4"], boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n"]:
    """Areas of the intersections."""
    sides = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None)
    return sides.prod(1)
