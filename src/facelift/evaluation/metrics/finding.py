"""How many faces a finder finds, at a stated number of false ones."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from facelift.finders.protocol import FoundFaces, overlaps

LEAST_OVERLAP = 0.4
"""Intersection over union from which a box counts as the face's, both made square by their longer sides: as crops are
cut, and so that a profile, of which people label half, asks no finder for its half."""


class Matches(NamedTuple):
    """One picture's faces and boxes."""

    found: Float[np.ndarray, "f"]
    """Score of the box that each labelled face was found by; 0 where none was."""
    false: Float[np.ndarray, "n"]
    """Scores of the boxes that lie on no face, labelled or ignored."""


def match(found: FoundFaces, boxes: Float[np.ndarray, "f 4"], ignored: Float[np.ndarray, "g 4"]) -> Matches:
    """Boxes, best first, each take the free face that they overlap most. A box whose middle lies in an ignored one, or
    which overlaps a face that was found already, is neither right nor false."""
    scores = np.zeros(len(boxes))
    false = []
    faces = squares(boxes)
    for box, score in zip(squares(found.boxes), found.scores, strict=True):
        shares = overlaps(box, faces) if len(faces) else np.zeros(0)
        free = np.where(scores == 0, shares, 0.0)
        middle = (box[:2] + box[2:]) / 2
        unknown = ((middle > ignored[:, :2]) & (middle < ignored[:, 2:])).all(1).any()
        if free.max(initial=0) >= LEAST_OVERLAP:
            scores[free.argmax()] = score
        elif shares.max(initial=0) < LEAST_OVERLAP and not unknown:
            false.append(float(score))
    return Matches(scores, np.array(false))


def squares(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """The squares about the boxes' middles with their longer sides."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0)[:, None] / 2
    return np.concatenate([middle - half, middle + half], axis=1)


def threshold_at(matches: list[Matches], false_per_picture: float) -> float:
    """The least score at which there are no more false boxes a picture than that."""
    false = np.sort(np.concatenate([part.false for part in matches]))[::-1]
    allowed = int(false_per_picture * len(matches))
    return float(np.nextafter(false[allowed], np.inf)) if len(false) > allowed else 0.0


def recall(scores: Float[np.ndarray, "f"], threshold: float) -> float:
    """Share of faces found at a threshold; NaN without faces."""
    return float(((scores > 0) & (scores >= threshold)).mean()) if len(scores) else float("nan")
