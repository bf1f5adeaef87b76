"""Adapters: a system that takes a picture and a face box and says where the landmarks are."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from facelift import __version__
from facelift.onnx_models.dense import is_dense
from facelift.onnx_models.m3lrn import is_m3lrn


@dataclass(frozen=True, eq=False)
class Answer:
    """What a system says about one face; the fields of `Predictions`, one face each."""

    points_2d: Float[np.ndarray, "l 2"]
    points_3d: Float[np.ndarray, "l 3"] | None = None
    rotation: Float[np.ndarray, "3 3"] | None = None
    covariance: Float[np.ndarray, "l 2 2"] | None = None
    visibility: Float[np.ndarray, "l"] | None = None
    marks_2d: Float[np.ndarray, "l 2"] | None = None
    marks_covariance: Float[np.ndarray, "l 2 2"] | None = None


@runtime_checkable
class System(Protocol):
    """One landmark system."""

    scheme: str
    about: dict[str, str]

    def answer(self, image: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"]) -> Answer | None:
        """`image` RGB, `box` x0 y0 x1 y1 px; None where the system finds no face there."""
        ...


class PredictorSystem:
    """A lifter, by name or exported, on the given box."""

    scheme = "wflw98"

    def __init__(self, model: str):
        from facelift.predictors.predictor import Predictor

        self._predictor = Predictor(model)
        self.about = _about(self._predictor.network.path, self._predictor.network.metadata)

    def answer(self, image: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"]) -> Answer | None:
        """See `System`."""
        face = self._predictor.predict(image, box[None])[0]
        return Answer(
            face.points_2d,
            face.landmarks_3d,
            face.rotation,
            face.covariances,
            face.visibility,
            face.marks_2d,
            face.marks_covariances,
        )


class MeshSystem:
    """An M3-LRN on the given box: its refined landmarks, in 3D in the frame of the head and in px."""

    scheme = "ibug68"

    def __init__(self, model: str):
        from facelift.predictors.mesh_predictor import MeshPredictor

        self._predictor = MeshPredictor(model)
        self.about = _about(self._predictor.network.path, self._predictor.network.metadata)

    def answer(self, image: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"]) -> Answer | None:
        """See `System`."""
        face = self._predictor.predict(image, box[None])[0]
        return Answer(face.landmarks[:, :2], face.landmarks @ face.rotation, face.rotation)


class DenseSystem:
    """Dense landmarks on the given box: the 68 landmarks on their mesh."""

    scheme = "ibug68"

    def __init__(self, model: str):
        from facelift.predictors.dense_predictor import DensePredictor

        self._predictor = DensePredictor(model)
        self.about = _about(self._predictor.network.path, self._predictor.network.metadata)

    def answer(self, image: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"]) -> Answer | None:
        """See `System`."""
        return Answer(self._predictor.predict(image, box[None])[0].landmarks)


def _about(path: Path, carried: Mapping[str, str]) -> dict[str, str]:
    """What a predictions file says of an exported network."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    name = carried.get("name") or path.stem
    return {"system": name, "version": __version__, "weights": f"{path.name} sha256:{digest}"}


class DetectorSystem:
    """A 2D detector of `facelift.detectors2d`: MediaPipe's face mesh, or our own network."""

    def __init__(self, detector: str):
        from facelift.detectors2d.factory import build_detector

        self._detector = build_detector(detector)
        self.scheme = self._detector.scheme.name
        mediapipe = detector == "mediapipe"
        version = metadata.version("mediapipe") if mediapipe else __version__
        self.about = {"system": "MediaPipe face mesh" if mediapipe else detector, "version": version}

    def answer(self, image: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"]) -> Answer | None:
        """See `System`."""
        found = self._detector.detect([image], box[None])
        if not found.found[0]:
            return None
        covariance = None if found.covariances is None else found.covariances[0]
        return Answer(found.points[0], covariance=covariance)


SYSTEMS: dict[str, Callable[[], System]] = {
    "mediapipe": lambda: DetectorSystem("mediapipe"),
}
"""By the name that `--model` takes; anything else is a lifter, an M3-LRN or dense landmarks, by name or path."""


def build_system(model: str) -> System:
    """A system by name, or an .onnx file. Raises FileNotFoundError, ValueError or ImportError with what is missing."""
    if model in SYSTEMS:
        return SYSTEMS[model]()
    if is_dense(model):
        return DenseSystem(model)
    return MeshSystem(model) if is_m3lrn(model) else PredictorSystem(model)
