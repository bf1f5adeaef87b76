"""Faces followed from frame to frame: where a face was says where to look for it, so that the finder may rest.

A followed face costs one look of the network, at the crop that its landmarks of the last frame framed and turned
upright. A face that the network is no longer sure of, or that jumped, is lost; then, and every few frames, the finder
looks for faces that nobody follows.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facelift.faces.face import Face
from facelift.finders import FoundFaces, overlaps
from facelift.images import ImageSource, Photo, load_photo
from facelift.predictors.predictor import Predictor


@dataclass(frozen=True)
class Follow:
    """When a face of the last frame is trusted to say where it is now."""

    every: int = 15
    """The finder looks for new faces after so many frames; 1 for every frame."""
    max_sigma: float = 0.08
    """A face is lost when its points' mean sigma exceeds this share of its longer side."""
    min_overlap: float = 0.3
    """A face is lost when its box overlaps that of the last frame less (intersection over union)."""
    max_overlap: float = 0.5
    """Two faces that overlap more are one: of two followed ones the less certain is lost."""
    mirror: bool = False
    """Average each look at a followed face with that at the mirrored crop: takes twice as long."""


class Tracker:
    """The faces of a video's frames, given one after the other."""

    def __init__(self, predictor: Predictor, follow: Follow | None = None):
        self._predictor, self._follow = predictor, follow or Follow()
        self._last: dict[int, Face] = {}
        self._next, self._since = 0, 0

    def update(self, image: ImageSource) -> dict[int, Face]:
        """Number -> face, for the faces of the next frame. A face keeps its number as long as it is followed.

        `image` as for `Predictor.predict`; all frames must have one size.
        """
        frame = load_photo(image)
        trusted = {number: face for number, face in self._last.items() if _is_good(face, self._follow)}
        faces = self._followed(frame, trusted)
        self._since += 1
        if not faces or len(faces) < len(self._last) or self._since >= self._follow.every:
            faces |= self._found(frame, faces)
            self._since = 0
        self._last = faces
        return dict(faces)

    def _followed(self, frame: Photo, last: dict[int, Face]) -> dict[int, Face]:
        """Those of the last faces that are still there."""
        now = self._predictor.predict_next(frame, list(last.values()), mirror=self._follow.mirror)
        kept: dict[int, Face] = {}
        for number, face in sorted(zip(last, now, strict=True), key=lambda pair: pair[1].relative_sigma):
            if not _is_good(face, self._follow):
                continue
            stays = _overlap(face.landmark_box, [last[number]]) >= self._follow.min_overlap
            if stays and _overlap(face.landmark_box, kept.values()) <= self._follow.max_overlap:
                kept[number] = face
        return {number: kept[number] for number in last if number in kept}

    def _found(self, frame: Photo, followed: dict[int, Face]) -> dict[int, Face]:
        """What the finder sees beside the followed faces. A face that lies where one was just lost is that one, however
        unsure the network is of it; a new one must be sure."""
        lost = {number: face for number, face in self._last.items() if number not in followed}
        new: dict[int, Face] = {}
        for face in self._predictor.predict_found(frame, self._beside(frame, followed)):
            if _overlap(face.landmark_box, [*followed.values(), *new.values()]) > self._follow.max_overlap:
                continue
            places = {number: _overlap(face.landmark_box, [old]) for number, old in lost.items()}
            number = max(places, key=places.__getitem__, default=None)
            if number is None or places[number] < self._follow.min_overlap:
                if not _is_good(face, self._follow):
                    continue
                number, self._next = self._next, self._next + 1
            lost.pop(number, None)
            new[number] = face
        return new

    def _beside(self, frame: Photo, followed: dict[int, Face]) -> FoundFaces:
        """What the finder sees where no followed face is."""
        found = self._predictor.finder.find(frame.pixels)
        free = [_overlap(box, followed.values()) < self._follow.min_overlap for box in found.boxes * frame.scale]
        return FoundFaces(found.boxes[free], found.scores[free], found.rolls[free])


def _overlap(box: Float[np.ndarray, "4"], faces: Iterable[Face]) -> float:
    """Largest intersection over union with the landmarks' boxes of faces; 0 without any."""
    boxes = [face.landmark_box for face in faces]
    return float(overlaps(box, np.array(boxes)).max()) if boxes else 0.0


def _side(face: Face) -> float:
    """Longer side of the landmarks' box, px."""
    return float(np.ptp(face.points_2d, axis=0).max())


def _is_good(face: Face, follow: Follow) -> bool:
    """Whether the network is sure enough that it saw a face, of 8 px or more."""
    return bool(np.isfinite(face.points_2d).all() and _side(face) > 8 and face.relative_sigma < follow.max_sigma)
