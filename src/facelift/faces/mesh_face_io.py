"""MeshFaces in files: JSON and NPZ. docs/m3lrn.md states the schema."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facelift import __version__
from facelift.atomic import written_whole
from facelift.faces.mesh_face import MeshFace
from facelift.faces.rounding import rounded

FORMAT, VERSION = "facelift-mesh-faces", 1
FORMATS = ("json", "npz")
_ARRAYS = ("landmarks", "coarse", "pose", "rotation", "euler_deg", "shape", "expression", "box")
_SHAPES = {"landmarks": (68, 3), "coarse": (68, 3), "pose": (3, 4), "rotation": (3, 3), "euler_deg": (3,), "box": (4,)}
_DIGITS = 9


def write_mesh_faces(
    path: Path, faces: Sequence[MeshFace], *, image: str, image_wh: tuple[int, int], model: str
) -> Path:
    """Writes by the suffix of `path`, .json or .npz, whole or not at all; returns the path.

    Raises ValueError for another suffix, OSError where the disk refuses.
    """
    if path.suffix.lstrip(".") not in FORMATS:
        raise ValueError(f"{path}: expected a suffix among {', '.join(FORMATS)}, found {path.suffix!r}")
    about = {"format": FORMAT, "version": VERSION, "facelift": __version__, "model": model, "image": image}
    with written_whole(path) as partial:
        if path.suffix == ".json":
            width, height = image_wh
            document = about | {"width": width, "height": height, "faces": [_record(face) for face in faces]}
            partial.write_text(json.dumps(document, allow_nan=False, ensure_ascii=False), encoding="utf-8")
        else:
            arrays: dict[str, Any] = {**about, "image_wh": np.array(image_wh)}
            for name in (*_ARRAYS, "score", "scale"):
                rows = np.array([getattr(face, name) for face in faces], np.float64)
                arrays[name] = rows.reshape(len(faces), *_SHAPES.get(name, rows.shape[1:]))
            with partial.open("wb") as stream:
                np.savez_compressed(stream, **arrays)
    return path


def _record(face: MeshFace) -> dict[str, Any]:
    pitch, yaw, roll = rounded(face.euler_deg, _DIGITS)
    return {
        "scheme": "ibug68",
        "score": rounded(face.score, _DIGITS),
        "scale": rounded(face.scale, _DIGITS),
        **{name: rounded(getattr(face, name), _DIGITS) for name in _ARRAYS if name != "euler_deg"},
        "euler_deg": {"pitch": pitch, "yaw": yaw, "roll": roll},
    }
