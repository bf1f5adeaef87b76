"""The predictions file: what any system said about the faces of a benchmark. docs/evaluation.md states the schema."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from facelift.archives import read_npz
from facelift.atomic import written_whole
from facelift.landmarks import SCHEMES, conversion

FORMAT, VERSION = "facelift-predictions", 1
UNREADABLE = "unreadable pictures"
"""Key of `about`: how many of the faces not found had no picture to look at."""
FAILED = "failed answers"
"""Key of `about`: on how many of the faces not found the system failed with an error."""
_REQUIRED = ("name", "points_2d", "scheme")
_OF_ALL = ("triangles",)
"""Arrays that belong to no single face."""
_ROTATION_TOLERANCE = 1e-2
"""Of every element of R R^T - I: rotations rounded to two digits pass."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """n faces by their names in the benchmark. What a system does not say is None; faces not found are NaN."""

    name: np.ndarray
    """(n,) str, each once."""
    scheme: str
    """Name of the landmark scheme of all arrays."""
    points_2d: Float[np.ndarray, "n l 2"]
    """px of the benchmark's picture, pixel centres at integer + 0.5."""
    found: Bool[np.ndarray, "n"]
    points_3d: Float[np.ndarray, "n l 3"] | None = None
    """In any unit, in the head frame of `rotation` (any, where there is none); metrics align."""
    rotation: Float[np.ndarray, "n 3 3"] | None = None
    """cam_from_head, OpenCV camera axes, head x to the subject's left, y up, z out of the face."""
    covariance: Float[np.ndarray, "n l 2 2"] | None = None
    """px^2."""
    visibility: Float[np.ndarray, "n l"] | None = None
    """Probability that the landmark is not hidden."""
    marks_2d: Float[np.ndarray, "n l 2"] | None = None
    """Where a person would mark the landmarks, px: of systems whose `points_2d` are projections of a 3D jaw."""
    marks_covariance: Float[np.ndarray, "n l 2 2"] | None = None
    """Of `marks_2d`, px^2."""
    box: Float[np.ndarray, "n 4"] | None = None
    """Face box that the system was given or found, x0 y0 x1 y1 px."""
    vertices: Float[np.ndarray, "n v 3"] | None = None
    """Mesh of each face, in the frame and unit of `points_3d` (and the head frame of `rotation`)."""
    triangles: Int[np.ndarray, "f 3"] | None = None
    """Of `vertices`, the same for all faces."""
    about: Mapping[str, str] = field(default_factory=dict)
    """system, benchmark, version, ...: free text."""

    def __len__(self) -> int:
        return len(self.name)

    def of(self, names: Sequence[str]) -> tuple["Predictions", Bool[np.ndarray, "n"]]:
        """These faces in this order, and which of them the file holds; the others are not found."""
        place = {str(name): i for i, name in enumerate(self.name)}
        index = np.array([place.get(str(name), -1) for name in names])
        there = index >= 0
        taken = {key: value[index] for key, value in _arrays(self).items() if key not in _OF_ALL}
        blank: dict[str, Any] = {key: _masked(value, there) for key, value in taken.items() if key != "found"}
        return replace(self, name=np.array(names, str), found=taken["found"] & there, **blank), there

    def as_marked(self) -> "Predictions":
        """With the marks in the place of the points, where the system has them."""
        if self.marks_2d is None:
            return self
        return replace(self, points_2d=self.marks_2d, covariance=self.marks_covariance)

    def to(self, scheme: str) -> "Predictions":
        """In another landmark scheme, by the rules of `Face.to`. Raises ValueError where this one does not have it."""
        if scheme == self.scheme:
            return self
        weights = conversion(self.scheme, scheme)
        changed: dict[str, Any] = {"points_2d": weights @ self.points_2d}
        if self.points_3d is not None:
            changed["points_3d"] = weights @ self.points_3d
        if self.covariance is not None:
            changed["covariance"] = np.einsum("ts,nsij->ntij", weights**2, self.covariance)
        if self.visibility is not None:
            parts = np.where(weights > 0, self.visibility[:, None], np.inf)
            changed["visibility"] = parts.min(-1)
        if self.marks_2d is not None:
            changed["marks_2d"] = weights @ self.marks_2d
        if self.marks_covariance is not None:
            changed["marks_covariance"] = np.einsum("ts,nsij->ntij", weights**2, self.marks_covariance)
        return replace(self, scheme=scheme, **changed)


def _arrays(predictions: Predictions) -> dict[str, Any]:
    skipped = {"name", "scheme", "about"}
    values = {f.name: getattr(predictions, f.name) for f in fields(Predictions) if f.name not in skipped}
    return {name: value for name, value in values.items() if value is not None}


def _masked(value: np.ndarray, keep: np.ndarray) -> np.ndarray:
    return np.where(keep.reshape(len(keep), *[1] * (value.ndim - 1)), value, np.nan)


def write_predictions(path: str | os.PathLike[str], predictions: Predictions) -> Path:
    """Writes the .npz whole or not at all; raises ValueError for arrays that do not fit each other."""
    path = Path(path)
    _check_mesh(_arrays(predictions), len(predictions), path)
    _check(predictions, path)
    with written_whole(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(
            stream,
            format=FORMAT,
            version=VERSION,
            name=predictions.name.astype(str),
            scheme=predictions.scheme,
            about=json.dumps(dict(predictions.about), ensure_ascii=False),
            **_arrays(predictions),
        )
    return path


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Reads and checks a file. `found`, where it is missing, is where all points are finite.

    Raises FileNotFoundError, or ValueError that says what was expected and what was found.
    """
    path = Path(path)
    held = read_npz(path, "a predictions file (.npz)", _REQUIRED)
    if "format" in held and str(held["format"]) != FORMAT:
        raise ValueError(f"{path}: expected format {FORMAT!r}, found {str(held['format'])!r}")
    if "version" in held and str(held["version"]) != str(VERSION):
        raise ValueError(f"{path}: expected version {VERSION}, found {held['version']}")
    _check_mesh(held, np.size(held["name"]), path)
    try:
        predictions = _converted(held)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: expected numbers of the documented shapes and `about` as a JSON object, found {error}"
        ) from error
    _check(predictions, path)
    return predictions


def _converted(held: Mapping[str, np.ndarray]) -> Predictions:
    known = {f.name for f in fields(Predictions)} - {"about", "name", "scheme", "found"}
    arrays = {key: _typed(key, held[key]) for key in known & set(held)}
    points = arrays["points_2d"]
    found = np.asarray(held.get("found", np.isfinite(points).all(axis=(1, 2))))
    odd = [value for value in np.unique(found).tolist() if value not in (0, 1)]
    if odd:
        raise ValueError(f"{odd[0]!r} in found, which holds booleans or 0 and 1")
    found = found.astype(bool)
    about = json.loads(str(held["about"])) if "about" in held else {}
    if not isinstance(about, dict):
        raise ValueError(f"{about!r} as about")
    return Predictions(held["name"].astype(str), str(held["scheme"]), found=found, about=about, **arrays)


def _typed(key: str, value: np.ndarray) -> np.ndarray:
    """float64; triangles as integers, and vertices, which are many, as they were stored."""
    if key == "triangles":
        return value.astype(np.int64)
    return value if key == "vertices" and value.dtype in (np.float32, np.float64) else np.asarray(value, np.float64)


def _check(predictions: Predictions, path: Path) -> None:
    if predictions.scheme not in SCHEMES:
        raise ValueError(f"{path}: expected a scheme among {', '.join(SCHEMES)}, found {predictions.scheme!r}")
    count, landmarks = len(predictions.name), SCHEMES[predictions.scheme].size
    if not count or predictions.name.ndim != 1:
        raise ValueError(f"{path}: expected a list of names, one a face, found an array of {predictions.name.shape}")
    shapes = {
        "points_2d": (count, landmarks, 2),
        "found": (count,),
        "points_3d": (count, landmarks, 3),
        "rotation": (count, 3, 3),
        "covariance": (count, landmarks, 2, 2),
        "visibility": (count, landmarks),
        "box": (count, 4),
        "marks_2d": (count, landmarks, 2),
        "marks_covariance": (count, landmarks, 2, 2),
    }
    for key, value in _arrays(predictions).items():
        if key in shapes and value.shape != shapes[key]:
            raise ValueError(f"{path}: expected {key} of shape {shapes[key]}, found {value.shape}")
    names, counts = np.unique(predictions.name, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{path}: expected every name once, found {str(names[counts > 1][0])!r} {counts.max()} times")
    for key in ("points_2d", "points_3d", "rotation", "covariance", "marks_2d", "marks_covariance", "vertices"):
        value = _arrays(predictions).get(key)
        if value is None:
            continue
        broken = ~np.isfinite(value).reshape(count, -1).all(1) & predictions.found
        if broken.any():
            name = predictions.name[np.flatnonzero(broken)[0]]
            raise ValueError(f"{path}: expected finite {key} for every found face, found NaN at {str(name)!r}")
    _check_rotation(predictions, path)
    _check_visibility(predictions, path)


def _check_rotation(predictions: Predictions, path: Path) -> None:
    if predictions.rotation is None:
        return
    rotation = np.where(predictions.found[:, None, None], predictions.rotation, np.eye(3))
    off = np.abs(rotation @ np.swapaxes(rotation, -1, -2) - np.eye(3)).max((1, 2))
    determinant = np.linalg.det(rotation)
    broken = np.flatnonzero((off > _ROTATION_TOLERANCE) | (determinant < 0))
    if len(broken):
        first = broken[0]
        raise ValueError(
            f"{path}: expected a rotation R with |R R^T - I| <= {_ROTATION_TOLERANCE} and det R = 1 at "
            f"{str(predictions.name[first])!r}, found {off[first]:.3g} and {determinant[first]:.3g}"
        )


def _check_visibility(predictions: Predictions, path: Path) -> None:
    if predictions.visibility is None:
        return
    given = np.where(predictions.found[:, None] & ~np.isnan(predictions.visibility), predictions.visibility, 0.0)
    broken = np.argwhere((given < 0) | (given > 1))
    if len(broken):
        face, landmark = broken[0]
        name, value = str(predictions.name[face]), given[face, landmark]
        raise ValueError(f"{path}: expected visibility in 0..1, found {value:.4g} at {name!r}, landmark {landmark}")


def _check_mesh(arrays: Mapping[str, np.ndarray], count: int, path: Path) -> None:
    triangles = arrays.get("triangles")
    shape = arrays["vertices"].shape if "vertices" in arrays else None
    if shape is not None and (len(shape) != 3 or shape[0] != count or shape[1] < 1 or shape[2] != 3):
        raise ValueError(f"{path}: expected vertices of shape ({count}, v, 3), found {shape}")
    if triangles is None:
        return
    if shape is None:
        raise ValueError(f"{path}: expected vertices beside triangles, found triangles alone")
    if triangles.dtype.kind not in "iu":
        raise ValueError(f"{path}: expected triangles of integers, found {triangles.dtype}")
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not len(triangles):
        raise ValueError(f"{path}: expected triangles of shape (f, 3), found {triangles.shape}")
    if triangles.min() < 0 or triangles.max() >= shape[1]:
        raise ValueError(
            f"{path}: expected triangles of vertices 0..{shape[1] - 1}, found {triangles.min()}..{triangles.max()}"
        )
