"""2D detections of one face in every view of the rig, from generator and detector."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from facelift.atomic import written_whole
from facelift.detectors2d.protocol import Detector2D
from facelift.geometry import intrinsics, project
from facelift.landmarks import WFLW98, mean_head
from facelift.lifting.identity import IdentityDrift
from facelift.lifting.masks import Competence, MaskConfig, mask
from facelift.lifting.rig import Rig
from facelift.lifting.solver import Lifted, SolverConfig, triangulate

SIZE = 256
"""Pixels of lifting are those of a picture this wide, whatever size was rendered."""


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
    drift: Float[np.ndarray, "b"] | None = None
    """Identity drift, %, where it was measured."""

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
    """One batch of several. Where some have covariances, those of the others are NaN."""
    known = any(face.covariances is not None for face in faces)
    covariances = [_covariances(face) for face in faces] if known else []
    drifts = [np.full(len(f.found), np.nan) if f.drift is None else f.drift for f in faces]
    measured = any(face.drift is not None for face in faces)
    return Observations(
        np.concatenate([face.points for face in faces]),
        np.concatenate([face.confidence for face in faces]),
        np.concatenate([face.found for face in faces]),
        np.concatenate(covariances) if covariances else None,
        np.concatenate([face.truth for face in faces]),
        np.concatenate(drifts) if measured else None,
    )


def _covariances(face: Observations) -> np.ndarray:
    return np.full((*face.points.shape, 2), np.nan) if face.covariances is None else face.covariances


def save_observations(observed: Observations, path: Path, made_by: dict[str, Any]) -> None:
    """One file, with the settings that made them."""
    arrays = {key: value for key, value in vars(observed).items() if value is not None}
    with written_whole(path) as partial:
        np.savez(partial, made_by=json.dumps(made_by, default=str), **arrays)


def load_observations(path: Path, made_by: dict[str, Any]) -> Observations | None:
    """What was saved by the same settings; None where there is none or by others."""
    if not path.exists():
        return None
    with np.load(path) as file:
        if str(file["made_by"]) != json.dumps(made_by, default=str):
            return None
        names = ("points", "confidence", "found", "covariances", "truth", "drift")
        return Observations(**{name: file.get(name) for name in names})


@dataclass(frozen=True)
class RigViews:
    """One face seen from all cameras of the rig."""

    images: Sequence[UInt8[np.ndarray, "s s 3"]]
    truth: Float[np.ndarray, "98 3"]
    """Exact landmarks; NaN where the generator does not know them."""


def render_rig(source: ViewSource, seed: int, rig: Rig, *, size: int = SIZE) -> RigViews:
    """The rig's views of one face."""
    truth = source.landmarks(seed)
    images = [view.image for view in source.render(seed, rig.rotations, rig.translations, size)]
    return RigViews(images, np.full((98, 3), np.nan) if truth is None else np.asarray(truth, float))


def observe(
    detector: Detector2D,
    seen: RigViews,
    rig: Rig,
    *,
    second_look: bool = True,
    identity: IdentityDrift | None = None,
) -> Observations:
    """Detects a face's landmarks in the rig's views; a batch of one.

    The first look is at the mean head's box. With `second_look`, its landmarks are triangulated and projected into each
    view, and the detector looks again at the tight box that they give, as large in its crop as the faces that it was
    trained on. With `identity`, the drift is measured in the last boxes.
    """
    images, size = seen.images, len(seen.images[0])
    boxes = _boxes(mean_head(), rig)
    observed = _detect(detector, images, boxes * size / SIZE, seen.truth, size)
    if second_look:
        boxes = face_boxes(observed, rig, boxes)
        observed = _detect(detector, images, boxes * size / SIZE, seen.truth, size)
    if identity is None:
        return observed
    return replace(observed, drift=np.array([identity(list(images), boxes * size / SIZE, rig)]))


def unobserved(views: int) -> Observations:
    """Stands for a face that could not be rendered or looked at: found in no view; a batch of one."""
    nowhere = np.full((1, views, WFLW98.size, 2), np.nan)
    return Observations(
        nowhere, np.zeros(nowhere.shape[:3]), np.zeros((1, views), bool), None, np.full((1, 98, 3), np.nan)
    )


def _detect(detector: Detector2D, images: Sequence, boxes: np.ndarray, truth: np.ndarray, size: int) -> Observations:
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
    boxes = _boxes(points, rig)
    sane = np.isfinite(boxes).all(-1) & (boxes[:, 2:] - boxes[:, :2] > 8).all(-1) & (np.abs(boxes) < 2 * SIZE).all(-1)
    return np.where(sane[:, None], boxes, fallback)


def _boxes(points: np.ndarray, rig: Rig) -> Float[np.ndarray, "views 4"]:
    """Tight boxes of these 3D points in each view, px at 256 px."""
    projected = project(np.tile(points, (len(rig), 1, 1)), rig.rotations, rig.translations, intrinsics(SIZE))
    return np.concatenate([projected.min(1), projected.max(1)], axis=-1)


def solve(observed: Observations, rig: Rig, masks: MaskConfig, competence: Competence, solver: SolverConfig) -> Lifted:
    """Lifted landmarks of the batch under these masks.

    Weights: mask times inverse covariance where the detector gives covariances (1 px^2 added), mask times
    confidence where it does not. With masks off, every detection counts alike.
    """
    weights = np.where(observed.found[..., None], mask(rig, masks, competence), 0.0)
    covariances = observed.covariances
    if not masks.enabled:
        covariances = None
    elif covariances is None:
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
