"""What is fitted: faces of the predictor, or of files of points, as arrays that `fit_heads` takes."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from facelift.faces.dense_face import DenseFace
from facelift.faces.face import Face
from facelift.faces.face_io import FORMAT, read_faces
from facelift.fitting.config import FitConfig
from facelift.fitting.fit import photo_camera
from facelift.fitting.observed import face_size
from facelift.fitting.start import moved_camera, pose_of_face
from facelift.landmarks import SCHEMES
from facelift.morphable.skinned import SkinnedModel

OURS = {"open-head": "openhead", "procedural-head": "procedural"}
"""Names of our heads -> as --model names them."""
MOST_PX = 1_000_000
"""Side of a picture."""
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
    *, focal_px: float | None = None, principal_px: tuple[float, float] | None = None,
) -> GivenPoints:  # fmt: skip
    """Of the predictor's faces: a point's weight is the inverse of its deviation, the start is the face's own pose.

    `camera`: the photo's (f = sqrt(w^2 + h^2), or `focal_px`; the middle, or `principal_px`), or each face's own of its
    crop.
    """
    scheme = "wflw98" if "wflw98" in model.landmarks else "ibug68"
    turned = [face.to(scheme) for face in faces]
    points = np.array([face.points_2d for face in turned]).reshape(-1, SCHEMES[scheme].size, 2)
    photo = given_camera(image_wh, focal_px, principal_px)
    cameras = [face.intrinsics if camera == "predictor" else photo for face in faces]
    poses = [
        moved_camera(*pose_of_face(face, model, scheme), face.intrinsics, K)
        for face, K in zip(faces, cameras, strict=True)
    ]
    start = (
        np.array([pose[0] for pose in poses]).reshape(-1, 3, 3),
        np.array([pose[1] for pose in poses]).reshape(-1, 3),
    )
    covariances = [face.covariances for face in turned]
    weights = np.array([weights_of(p, c, config) for p, c in zip(points, covariances, strict=True)])
    weights = weights.reshape(points.shape)
    weights *= (model.table(scheme).weights.sum(1) > 0)[:, None]
    return GivenPoints(points, weights, np.array(cameras).reshape(-1, 3, 3), scheme, None, start)


def of_dense_faces(
    faces: Sequence[DenseFace], vertices: Int[np.ndarray, "l"], image_wh: tuple[int, int], config: FitConfig,
    *, focal_px: float | None = None, principal_px: tuple[float, float] | None = None,
) -> GivenPoints:  # fmt: skip
    """Of dense landmarks in one picture: `vertices` of the head that they are of (`predictor.network.mesh`)."""
    points = np.array([face.points for face in faces]).reshape(len(faces), len(vertices), 2)
    weights = [weights_of(f.points, dense_covariances(f.sigma, f.roll_deg), config) for f in faces]
    K = np.tile(given_camera(image_wh, focal_px, principal_px), (len(faces), 1, 1))
    return GivenPoints(points, np.array(weights).reshape(points.shape), K, None, np.asarray(vertices))


def joined(given: Sequence[GivenPoints]) -> GivenPoints:
    """The faces of several pictures, points of the same landmarks or vertices. Starts are kept if all have one."""
    parts = {
        name: np.concatenate([getattr(own, name) for own in given]) for name in ("points", "weights", "intrinsics")
    }
    starts = [own.start for own in given if own.start is not None]
    start = None
    if len(starts) == len(given):
        start = np.concatenate([own[0] for own in starts]), np.concatenate([own[1] for own in starts])
    return GivenPoints(**parts, scheme=given[0].scheme, vertices=given[0].vertices, start=start)


def given_camera(
    image_wh: tuple[int, int], focal_px: float | None, principal_px: tuple[float, float] | None
) -> Float[np.ndarray, "3 3"]:
    """`photo_camera` with what is known of it."""
    K = photo_camera(*image_wh)
    if focal_px is not None:
        K[0, 0] = K[1, 1] = focal_px
    if principal_px is not None:
        K[:2, 2] = principal_px
    return K


def weights_of(
    points: Float[np.ndarray, "l 2"], covariances: Float[np.ndarray, "l 2 2"], config: FitConfig
) -> Float[np.ndarray, "l 2"]:
    """Deviations that the fit expects of a point of weight 1, over each coordinate's own: at most 10."""
    expected = config.noise * face_size(points, np.isfinite(points).all(-1))
    sigma = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    return expected / np.maximum(sigma, 0.1 * expected)


def dense_covariances(sigma: Float[np.ndarray, "l 2"], roll_deg: float) -> Float[np.ndarray, "l 2 2"]:
    """Along the photo's axes, px^2, of deviations along those of a crop whose content is turned (`DenseFace`)."""
    c, s = math.cos(math.radians(roll_deg)), math.sin(math.radians(roll_deg))
    photo_from_crop = np.array([[c, s], [-s, c]])
    return np.einsum("ij,lj,kj->lik", photo_from_crop, sigma**2, photo_from_crop)


def read_points(
    path: Path, model: SkinnedModel, config: FitConfig, camera: CameraKind,
    *, focal_px: float | None = None, principal_px: tuple[float, float] | None = None,
) -> GivenPoints:  # fmt: skip
    """Of a file: faces of `facelift predict`, its dense landmarks, or points of `facelift detect` or of other origin,
    with a `scheme`, or with `vertices`, the model's indices. Weights are by `sigma` where it is told, or `confidence`.

    Raises FileNotFoundError, or ValueError naming file, expected and found.
    """
    document = _document(path)
    wh = _size(path, document)
    if document.get("format") == FORMAT:
        try:
            faces = read_faces(path)
            return of_faces(faces, model, wh, config, camera, focal_px=focal_px, principal_px=principal_px)
        except (ValueError, TypeError, OverflowError) as error:
            raise _named(path, error) from error
    if camera == "predictor":
        raise ValueError(f"{path}: expected faces of `facelift predict` for --camera predictor, found points alone")
    scheme, vertices = document.get("scheme"), document.get("vertices")
    try:
        index = None if vertices is None else _vertices(vertices, document.get("head"), model)
        used = model.table(str(scheme)).weights.sum(1) > 0 if index is None else np.ones(len(index), bool)
        rows = [_row(face, len(used), config) for face in document["faces"]]
    except (ValueError, TypeError, OverflowError) as error:
        raise _named(path, error) from error
    points = np.array([row[0] for row in rows]).reshape(len(rows), len(used), 2)
    weights = np.array([row[1] for row in rows]).reshape(len(rows), len(used), 2) * used[:, None]
    K = np.tile(given_camera(wh, focal_px, principal_px), (len(rows), 1, 1))
    return GivenPoints(points, weights, K, None if index is not None else str(scheme), index)


def document_size(path: Path) -> tuple[int, int]:
    """Width and height of the picture that a file's points are of. Raises as `read_points`."""
    return _size(path, _document(path))


def _document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a JSON file of landmarks, found no file")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON, of UTF-8, or of a number of thousands of digits
        raise ValueError(f"{path}: expected JSON, found text that does not parse: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("faces"), list):
        raise ValueError(f"{path}: expected a file of `facelift predict` or `facelift detect`, found other JSON")
    if not all(isinstance(face, dict) for face in document["faces"]):
        raise ValueError(f"{path}: expected faces with named fields, found others")
    return document


def _size(path: Path, document: dict[str, Any]) -> tuple[int, int]:
    wh = document.get("width"), document.get("height")
    if not all(isinstance(side, int | float) and 0 < side <= MOST_PX for side in wh):
        raise ValueError(f"{path}: expected width and height of the picture, found {wh[0]!s:.20} and {wh[1]!s:.20}")
    return int(wh[0]), int(wh[1])  # type: ignore[arg-type]


def _named(path: Path, error: Exception) -> ValueError:
    told = str(error)
    return ValueError(
        told if told.startswith(f"{path}:") else f"{path}: expected points of faces, found some that do not fit: {told}"
    )


def _vertices(vertices: Any, head: Any, model: SkinnedModel) -> Int[np.ndarray, "l"]:
    """Indices of the model, if they are of its mesh: FLAME's is also named with its number of vertices."""
    names = (model.name, f"flame{len(model.mean)}") if model.name == "flame" else (model.name,)
    if head is not None and head not in names:
        wanted = OURS.get(head, f"of {head}") if isinstance(head, str) else "of a name"
        raise ValueError(
            f"expected --model {wanted}, whose vertices it holds, found {OURS.get(model.name, model.name)}"
        )
    index = np.array(vertices)
    if index.ndim != 1 or index.dtype.kind not in "iu" or not ((index >= 0) & (index < len(model.mean))).all():
        raise ValueError(f"expected vertices 0..{len(model.mean) - 1}, found others")
    return index.astype(np.int64)


def _row(face: dict[str, Any], count: int, config: FitConfig) -> tuple[np.ndarray, np.ndarray]:
    """(points, weight of each coordinate); NaN for a face that was not found."""
    if face.get("points_2d") is None:
        return np.full((count, 2), np.nan), np.zeros((count, 2))
    points = np.array(face["points_2d"], np.float64)
    if face.get("sigma") is not None:
        return points, _by_sigma(points, face, count, config)
    confidence = face.get("confidence")
    weights = np.ones(len(points)) if confidence is None else np.array(confidence, np.float64)
    if points.shape != (count, 2) or weights.shape not in ((count,), (count, 2)):
        raise ValueError(f"points_2d: expected {count} points with confidence, found {points.shape}, {weights.shape}")
    return points, weights if weights.ndim == 2 else np.repeat(weights[:, None], 2, axis=1)


def _by_sigma(points: np.ndarray, face: dict[str, Any], count: int, config: FitConfig) -> Float[np.ndarray, "l 2"]:
    sigma, roll_deg = np.array(face["sigma"], np.float64), float(face.get("roll_deg", 0.0))
    if points.shape != (count, 2) or sigma.shape != (count, 2):
        raise ValueError(f"points_2d: expected {count} points with sigma, found {points.shape}, {sigma.shape}")
    if not (sigma >= 0).all() or not math.isfinite(roll_deg):
        raise ValueError("sigma: expected deviations of 0 or more px and a roll_deg, found others")
    return weights_of(points, dense_covariances(sigma, roll_deg), config)
