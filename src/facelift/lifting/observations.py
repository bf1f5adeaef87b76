"""2D detections of one face in every view of the rig, from generator and detector."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from facelift.detectors2d.protocol import Detector2D
from facelift.geometry import intrinsics, project
from facelift.landmarks import WFLW98
from facelift.lifting.masks import Competence, MaskConfig, mask
from facelift.lifting.rig import Rig
from facelift.lifting.solver import Lifted, SolverConfig, triangulate

SIZE = 256
"""Pixels of lifting are those of a picture this wide, whatever size was rendered."""
FIRST_BOX = 0.8
"""Side of the first face box, centred, picture widths: the crop of 1.5 boxes shows the picture and a margin."""


@runtime_checkable
class ViewSource(Protocol):
    """What lifting needs of a generator."""

    name: str

    def landmarks(self, seed: int) -> Float[np.ndarray, "98 3"] | None: ...

    def render(self, seed: int, rotations, translations, size: int = 256) -> Sequence: ...


@dataclass(frozen=True)
class Observations:
    """Detections of b faces in all views; px at 256 px."""

    points: Float[np.ndarray, "b views 98 2"]
    confidence: Float[np.ndarray, "b views 98"]
    found: Bool[np.ndarray, "b views"]
    covariances: Float[np.ndarray, "b views 98 2 2"] | None
    truth: Float[np.ndarray, "b 98 3"]
    """Exact landmarks, canonical; NaN where the generator does not know them."""

    def take(self, views: np.ndarray) -> "Observations":
        """The same faces in these views alone."""
        covariances = None if self.covariances is None else self.covariances[:, views]
        return replace(
            self,
            points=self.points[:, views],
            confidence=self.confidence[:, views],
            found=self.found[:, views],
            covariances=covariances,
        )


def stack(faces: Sequence[Observations]) -> Observations:
    """One batch of several."""
    covariances = [face.covariances for face in faces if face.covariances is not None]
    return Observations(
        np.concatenate([face.points for face in faces]),
        np.concatenate([face.confidence for face in faces]),
        np.concatenate([face.found for face in faces]),
        np.concatenate(covariances) if covariances else None,
        np.concatenate([face.truth for face in faces]),
    )


def observe(
    source: ViewSource, detector: Detector2D, seed: int, rig: Rig, *, size: int = SIZE, second_look: bool = True
) -> Observations:
    """Renders the rig's views of one face and detects its landmarks; a batch of one.

    With `second_look`, the landmarks of the first look are triangulated and projected into each view, and the detector
    looks again at the tight box that they give, as large in its crop as the faces that it was trained on.
    """
    if detector.scheme.name != WFLW98.name:
        raise ValueError(f"lifting expects a detector of {WFLW98.name}, found one of {detector.scheme.name}")
    images = [view.image for view in source.render(seed, rig.rotations, rig.translations, size)]
    boxes = np.tile(np.array([1 - FIRST_BOX, 1 - FIRST_BOX, 1 + FIRST_BOX, 1 + FIRST_BOX]) * size / 2, (len(rig), 1))
    truth = source.landmarks(seed)
    truth = np.full((98, 3), np.nan) if truth is None else np.asarray(truth, float)
    observed = _detect(detector, images, boxes, truth, size)
    if second_look:
        boxes = face_boxes(observed, rig, boxes * SIZE / size) * size / SIZE
        observed = _detect(detector, images, boxes, truth, size)
    return observed


def _detect(detector: Detector2D, images: list, boxes: np.ndarray, truth: np.ndarray, size: int) -> Observations:
    found = detector.detect(images, boxes)
    scale = SIZE / size
    covariances = None if found.covariances is None else (found.covariances * scale**2)[None]
    return Observations(found.points[None] * scale, found.confidence[None], found.found[None], covariances, truth[None])


def face_boxes(
    observed: Observations, rig: Rig, fallback: Float[np.ndarray, "views 4"]
) -> Float[np.ndarray, "views 4"]:
    """Tight boxes of one face's landmarks in each view, px at 256 px; `fallback` where few landmarks are solved."""
    weights = np.where(observed.found[..., None], observed.confidence, 0.0)
    weights = weights * (np.abs(rig.azimuth_deg) <= 45)[:, None]
    K = intrinsics(SIZE)
    points = triangulate(observed.points, weights, rig.rotations, rig.translations, K, backend="numpy").points[0]
    points = points[np.isfinite(points).all(-1)]
    if len(points) < WFLW98.size // 2:
        return fallback
    projected = project(np.tile(points, (len(rig), 1, 1)), rig.rotations, rig.translations, K)
    boxes = np.concatenate([projected.min(1), projected.max(1)], axis=-1)
    sane = np.isfinite(boxes).all(-1) & (boxes[:, 2:] - boxes[:, :2] > 8).all(-1) & (np.abs(boxes) < 2 * SIZE).all(-1)
    return np.where(sane[:, None], boxes, fallback)


def solve(observed: Observations, rig: Rig, masks: MaskConfig, competence: Competence, solver: SolverConfig) -> Lifted:
    """Lifted landmarks of the batch under these masks.

    Weights: mask times inverse covariance where the detector gives covariances (1 px^2 added), mask times
    confidence where it does not.
    """
    weights = np.where(observed.found[..., None], mask(rig, masks, competence), 0.0)
    covariances = observed.covariances
    if covariances is None:
        weights = weights * np.clip(np.nan_to_num(observed.confidence), 0.0, 1.0)
    else:
        covariances = np.nan_to_num(covariances) + np.eye(2)
    return triangulate(
        observed.points,
        weights,
        rig.rotations,
        rig.translations,
        intrinsics(SIZE),
        covariances=covariances,
        config=solver,
    )
