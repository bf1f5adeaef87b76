"""The held-out development faces (the last 400 of merl_train), for the benchmarks beside this file."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from facelift.datasets.packed import data_root
from facelift.datasets.real_faces import RealFaces
from facelift.datasets.sample import VISIBLE, FaceSample
from facelift.evaluation.metrics.nme import face_nme, point_errors
from facelift.faces.face import Face
from facelift.predictors.predictor import Predictor

DEV = 400


def dev_faces(data: Path | None, limit: int | None = None) -> list[FaceSample]:
    """Faces with human iBUG-68 labels that no training and no test uses."""
    faces = RealFaces(data_root(data), ("merl_train",), dev=DEV)
    return [faces.sets[0][index] for _, index in faces.dev[:limit]]


def calibration_faces(data: Path | None, count: int) -> list[FaceSample]:
    """Faces of the training part, evenly spread."""
    faces = RealFaces(data_root(data), ("merl_train",), dev=DEV)
    return [faces.sets[0][index] for _, index in faces.train[:: max(1, len(faces.train) // count)][:count]]


def predicted(predictor: Predictor, samples: list[FaceSample]) -> list[Face]:
    """One face per sample, in the sample's box."""
    return [predictor.predict(sample.image, [sample.box])[0] for sample in samples]


def visible_nme(faces: list[Face], samples: list[FaceSample]) -> Float[np.ndarray, "n"]:
    """Of the faces' projected landmarks, as `point_nme`."""
    return point_nme(np.stack([face.to("ibug68").points_2d for face in faces]), samples)


def point_nme(points: Float[np.ndarray, "n 68 2"], samples: list[FaceSample]) -> Float[np.ndarray, "n"]:
    """Per face over the visible points, by sqrt(w h) of the labelled points' box; NaN without a visible point."""
    truth = np.stack([sample.points for sample in samples])
    scale = np.sqrt((np.nanmax(truth, axis=1) - np.nanmin(truth, axis=1)).prod(-1))
    errors = point_errors(points, truth, scale)
    return face_nme(errors, np.stack([sample.state for sample in samples]) == VISIBLE)


def yaw_deg(samples: list[FaceSample]) -> Float[np.ndarray, "n"]:
    """Rough absolute yaw, as the set gives it."""
    return np.abs([float(sample.attributes["yaw"]) for sample in samples])
