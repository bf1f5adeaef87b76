"""What is fitted: faces of the predictor, or of files of points, as arrays that `fit_heads` takes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from facelift.faces.face import Face
from facelift.faces.face_io import FORMAT, read_faces
from facelift.fitting.config import FitConfig
from facelift.fitting.fit import photo_camera
from facelift.fitting.observed import face_size
from facelift.fitting.start import moved_camera, pose_of_face
from facelift.landmarks import SCHEMES
from facelift.morphable.skinned import SkinnedModel

OURS = {"open-head": "openhead", "procedural": "procedural"}
"""Names of our heads in files of dense landmarks -> as models of a fit."""
CameraKind = Literal["photo", "predictor"]


@dataclass(frozen=True, eq=False)
class GivenPoints:
    """Points of n faces of one picture, or of one face in n frames."""

    points: Float[np.ndarray, "n l 2"]
    """px; NaN where a face has none."""
    weights: Float[np.ndarray, "n l 2"]
    """As `fit_heads` takes them."""
    intrinsics: Float[np.ndarray, "n 3 3"]
    scheme: str | None
    """Name of the landmark order; None for vertices."""
    vertices: Int[np.ndarray, "l"] | None = None
    """The model's vertices that the points are, if they are no landmarks."""
    start: tuple[Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 3"]] | None = None
    """(rotation, translation), cam_from_model; None: to be found."""

    def only(self, chosen: Int[np.ndarray, "m"]) -> "GivenPoints":
        """Without the weights of all other points."""
        kept = np.isin(np.arange(self.points.shape[1]), chosen)
        return GivenPoints(
            self.points, self.weights * kept[:, None], self.intrinsics, self.scheme, self.vertices, self.start
        )


def of_faces(
    faces: Sequence[Face], model: SkinnedModel, image_wh: tuple[int, int], config: FitConfig, camera: CameraKind,
    focal_px: float | None = None,
) -> GivenPoints:  # fmt: skip
    """Of the predictor's faces: a point's weight is the inverse of its deviation, the start is the face's own pose.

    `camera`: the photo's (f = sqrt(w^2 + h^2), or `focal_px`), or each face's own of its crop.
    """
    scheme = "wflw98" if "wflw98" in model.landmarks else "ibug68"
    turned = [face.to(scheme) for face in faces]
    points = np.array([face.points_2d for face in turned]).reshape(-1, SCHEMES[scheme].size, 2)
    cameras = [_camera(face, image_wh, camera, focal_px) for face in faces]
    poses = [
        moved_camera(*pose_of_face(face, model, scheme), face.intrinsics, K)
        for face, K in zip(faces, cameras, strict=True)
    ]
    start = (
        np.array([pose[0] for pose in poses]).reshape(-1, 3, 3),
        np.array([pose[1] for pose in poses]).reshape(-1, 3),
    )
    weights = np.array([_weights(face, config) for face in turned]).reshape(points.shape)
    weights *= (model.table(scheme).weights.sum(1) > 0)[:, None]
    return GivenPoints(points, weights, np.array(cameras).reshape(-1, 3, 3), scheme, None, start)


def _camera(face: Face, image_wh: tuple[int, int], camera: CameraKind, focal_px: float | None) -> np.ndarray:
    if camera == "predictor":
        return face.intrinsics
    return _with_focal(photo_camera(*image_wh), focal_px)


def _with_focal(K: np.ndarray, focal_px: float | None) -> np.ndarray:
    if focal_px is None:
        return K
    K = K.copy()
    K[0, 0] = K[1, 1] = focal_px
    return K


def _weights(face: Face, config: FitConfig) -> Float[np.ndarray, "l 2"]:
    """Deviations that the fit expects of a point of weight 1, over the face's own."""
    expected = config.noise * face_size(face.points_2d, np.ones(len(face.points_2d), bool))
    sigma = np.sqrt(np.diagonal(face.covariances, axis1=1, axis2=2))
    return expected / np.maximum(sigma, 0.1 * expected)


def read_points(
    path: Path, model: SkinnedModel, config: FitConfig, camera: CameraKind, focal_px: float | None = None
) -> GivenPoints:
    """Of a file: faces of `facelift predict`, or points of `facelift detect`, or the latter with `vertices`, the
    model's indices, in place of `scheme`.

    Raises FileNotFoundError, or ValueError naming file, expected and found.
    """
    document = _document(path)
    wh = _size(path, document)
    if document.get("format") == FORMAT:
        return of_faces(read_faces(path), model, wh, config, camera, focal_px)
    if camera == "predictor":
        raise ValueError(f"{path}: expected faces of `facelift predict` for --camera predictor, found points alone")
    head = document.get("head", model.name)
    if head in OURS and head != model.name:
        raise ValueError(f"{path}: expected --model {OURS[head]}, whose vertices it holds, found {model.name}")
    scheme, vertices = document.get("scheme"), document.get("vertices")
    try:
        index = None if vertices is None else np.array(vertices, np.int64)
        count = len(model.table(str(scheme)).weights) if index is None else len(index)
        if index is not None and not ((index >= 0) & (index < len(model.mean))).all():
            raise ValueError(f"expected vertices 0..{len(model.mean) - 1}, found others")
        rows = [_row(face, count) for face in document["faces"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: expected points of faces, found some that do not fit: {error}") from error
    points = np.array([row[0] for row in rows]).reshape(-1, count, 2)
    weights = np.array([row[1] for row in rows]).reshape(-1, count, 2)
    if index is None:
        weights *= (model.table(str(scheme)).weights.sum(1) > 0)[:, None]
    K = np.tile(_with_focal(photo_camera(*wh), focal_px), (len(points), 1, 1))
    return GivenPoints(points, weights, K, None if index is not None else str(scheme), index)


def document_size(path: Path) -> tuple[int, int]:
    """Width and height of the picture that a file's points are of. Raises as `read_points`."""
    return _size(path, _document(path))


def _document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a JSON file of landmarks, found no file")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected JSON, found text that does not parse: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("faces"), list):
        raise ValueError(f"{path}: expected a file of `facelift predict` or `facelift detect`, found other JSON")
    return document


def _size(path: Path, document: dict[str, Any]) -> tuple[int, int]:
    wh = document.get("width"), document.get("height")
    if not all(isinstance(side, int | float) and side > 0 for side in wh):
        raise ValueError(f"{path}: expected width and height of the picture, found {wh[0]} and {wh[1]}")
    return int(wh[0]), int(wh[1])  # type: ignore[arg-type]


def _row(face: dict[str, Any], count: int) -> tuple[np.ndarray, np.ndarray]:
    """(points, confidence of each coordinate); NaN for a face that was not found."""
    if face.get("points_2d") is None:
        return np.full((count, 2), np.nan), np.zeros((count, 2))
    points = np.array(face["points_2d"], np.float64)
    confidence = face.get("confidence")
    weights = np.ones(len(points)) if confidence is None else np.array(confidence, np.float64)
    if points.shape != (count, 2) or weights.shape not in ((count,), (count, 2)):
        raise ValueError(f"points_2d: expected {count} points with confidence, found {points.shape}, {weights.shape}")
    return points, weights if weights.ndim == 2 else np.repeat(weights[:, None], 2, axis=1)
