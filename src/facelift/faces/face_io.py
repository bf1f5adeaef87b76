"""Faces in files: JSON, CSV, NPZ and .pts out, JSON and NPZ in. docs/output-format.md states the schema."""

import csv
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facelift import __version__
from facelift.archives import read_npz
from facelift.atomic import written_whole
from facelift.faces.face import Face
from facelift.faces.rounding import rounded
from facelift.landmarks import SCHEMES

FORMAT = "facelift-faces"
VERSION = 2
FORMATS = ("json", "csv", "npz", "pts")
_ARRAYS = (
    "points_2d",
    "landmarks_3d",
    "covariances",
    "visibility",
    "rotation",
    "translation",
    "intrinsics",
    "box",
    "marks_2d",
    "marks_covariances",
)
_DIGITS = 9
"""Significant digits in text files: projections still agree with points to 1e-5 px."""


def write_faces(
    path: str | os.PathLike[str],
    faces: Sequence[Face],
    *,
    image: str = "",
    image_wh: tuple[int, int] | None = None,
) -> list[Path]:
    """Writes by the suffix of `path` (.json, .csv, .npz, .pts) and returns the paths written, each whole or not at all.

    A .pts file holds one face's iBUG-68 points: the first goes to `path`, further ones to NAME.face2.pts,
    NAME.face3.pts; no face, no file. Raises ValueError for another suffix, OSError where the disk refuses.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind == "pts":
        return _write_pts_files(path, faces)
    if kind not in FORMATS:
        raise ValueError(f"{path}: expected a suffix among {', '.join(FORMATS)}, found {path.suffix!r}")
    with written_whole(path) as partial:
        if kind == "json":
            text = json.dumps(_document(faces, image, image_wh), allow_nan=False, ensure_ascii=False)
            partial.write_text(text, encoding="utf-8")
        elif kind == "csv":
            _write_csv(partial, faces)
        else:
            with partial.open("wb") as stream:
                np.savez_compressed(stream, **_npz_arrays(faces, image, image_wh))
    return [path]


def read_faces(path: str | os.PathLike[str]) -> list[Face]:
    """The faces of a .json or .npz file. Raises ValueError for another format or version."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a faces file, found nothing under this name")
    if path.suffix.lower() == ".json":
        return _read_json(path)
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    raise ValueError(f"{path}: expected a .json or .npz file, found {path.suffix!r}")


def pts_text(face: Face) -> str:
    """iBUG's .pts: 68 marks, 1-based pixels (the centre of the first pixel is 1, 1)."""
    points = face.to("ibug68").marks_2d + 0.5
    rows = "\n".join(f"{x:.4f} {y:.4f}" for x, y in points)
    return f"version: 1\nn_points: {len(points)}\n{{\n{rows}\n}}\n"


def csv_header(scheme: str) -> list[str]:
    """Column names of the wide table, one row a face."""
    spread = ("var_x", "cov_xy", "var_y")
    marks = ("mark_x", "mark_y", *(f"mark_{name}" for name in spread))
    per_point = ("x", "y", *spread, "visibility", "X", "Y", "Z", *marks)
    return [
        *("face", "score", "box_x0", "box_y0", "box_x1", "box_y1", "pitch", "yaw", "roll"),
        *(f"r{i}{j}" for i in range(3) for j in range(3)),
        *("tx", "ty", "tz", "fx", "fy", "cx", "cy", "scheme"),
        *(f"{name}_{index}" for name in per_point for index in range(SCHEMES[scheme].size)),
    ]


def csv_row(index: int, face: Face) -> list[Any]:
    """Values under `csv_header`."""
    k, c, m = face.intrinsics, face.covariances, face.marks_covariances
    numbers = [
        *(face.score, *face.box, *face.euler_deg, *face.rotation.ravel(), *face.translation),
        *(k[0, 0], k[1, 1], k[0, 2], k[1, 2]),
    ]
    columns = [
        *face.points_2d.T,
        *(c[:, 0, 0], c[:, 0, 1], c[:, 1, 1]),
        face.visibility,
        *face.landmarks_3d.T,
        *face.marks_2d.T,
        *(m[:, 0, 0], m[:, 0, 1], m[:, 1, 1]),
    ]
    return [index, *map(_short, numbers), face.scheme, *(_short(v) for column in columns for v in column)]


def _short(value: float) -> str:
    return f"{value:.{_DIGITS}g}"


def _document(faces: Sequence[Face], image: str, image_wh: tuple[int, int] | None) -> dict[str, Any]:
    width, height = image_wh or (None, None)
    return {
        "format": FORMAT,
        "version": VERSION,
        "facelift": __version__,
        "image": image,
        "width": width,
        "height": height,
        "faces": [_face_record(face) for face in faces],
    }


def _face_record(face: Face) -> dict[str, Any]:
    pitch, yaw, roll = rounded(face.euler_deg, _DIGITS)
    return {
        "scheme": face.scheme,
        "score": rounded(face.score, _DIGITS),
        "euler_deg": {"pitch": pitch, "yaw": yaw, "roll": roll},
        **{name: rounded(getattr(face, name), _DIGITS) for name in _ARRAYS},
    }


def _npz_arrays(faces: Sequence[Face], image: str, image_wh: tuple[int, int] | None) -> dict[str, Any]:
    """One array per field, first axis faces."""
    scheme = faces[0].scheme if faces else "wflw98"
    if any(face.scheme != scheme for face in faces):
        raise ValueError(f"faces of one file: expected one scheme, found {sorted({f.scheme for f in faces})}")
    n = SCHEMES[scheme].size
    shapes = {
        **{"points_2d": (n, 2), "landmarks_3d": (n, 3), "covariances": (n, 2, 2), "visibility": (n,)},
        **{"marks_2d": (n, 2), "marks_covariances": (n, 2, 2)},
        **{"rotation": (3, 3), "translation": (3,), "intrinsics": (3, 3), "box": (4,), "euler_deg": (3,)},
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "image": image,
        "image_wh": np.array(image_wh or (0, 0)),
        "scheme": scheme,
        "score": np.array([face.score for face in faces], np.float64),
        **{
            name: np.array([getattr(face, name) for face in faces], np.float64).reshape(-1, *shape)
            for name, shape in shapes.items()
        },
    }


def _write_csv(path: Path, faces: Iterable[Face]) -> None:
    faces = list(faces)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(csv_header(faces[0].scheme if faces else "wflw98"))
        writer.writerows(csv_row(index, face) for index, face in enumerate(faces))


def pts_paths(path: Path, count: int) -> list[Path]:
    """Names of the .pts files of so many faces of one photo."""
    return [path if index == 0 else path.with_stem(f"{path.stem}.face{index + 1}") for index in range(count)]


def _write_pts_files(path: Path, faces: Sequence[Face]) -> list[Path]:
    paths = pts_paths(path, len(faces))
    for target, face in zip(paths, faces, strict=True):
        with written_whole(target) as partial:
            partial.write_text(pts_text(face), encoding="ascii")
    return paths


def _read_json(path: Path) -> list[Face]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected JSON, found text that does not parse: {error}") from error
    found = document if isinstance(document, dict) else {}
    _check_version(path, found.get("format"), found.get("version"))
    try:
        return [_face_of(record) for record in document["faces"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected the fields of docs/output-format.md, found none of {error}") from error


def _face_of(record: dict[str, Any]) -> Face:
    arrays = {name: np.array(record[name], np.float64) for name in _ARRAYS}
    return Face(**arrays, score=float(record["score"]), scheme=record["scheme"])


def _read_npz(path: Path) -> list[Face]:
    data = read_npz(path, f"a {FORMAT} file")
    _check_version(path, str(data.get("format")), data.get("version"))
    return [
        Face(**{name: data[name][index] for name in _ARRAYS}, score=float(score), scheme=str(data["scheme"]))
        for index, score in enumerate(data["score"])
    ]


def _check_version(path: Path, found_format: Any, found_version: Any) -> None:
    if found_format != FORMAT or found_version != VERSION:
        raise ValueError(
            f"{path}: expected format {FORMAT!r} version {VERSION}, found {found_format!r} version {found_version}"
        )
