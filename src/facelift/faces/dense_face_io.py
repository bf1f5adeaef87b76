"""DenseFaces in files: JSON and NPZ. docs/dense.md states the schema."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facelift import __version__
from facelift.atomic import written_whole
from facelift.faces.dense_face import DenseFace
from facelift.faces.rounding import rounded
from facelift.onnx_models.dense import OnnxDense

FORMAT, VERSION = "facelift-dense-faces", 1
FORMATS = ("json", "npz")
_ARRAYS = ("points", "sigma", "confidence", "landmarks", "box")
_DIGITS = 7


def write_dense_faces(
    path: Path, faces: Sequence[DenseFace], *, image: str, image_wh: tuple[int, int], network: OnnxDense
) -> Path:
    """Writes by the suffix of `path`, .json or .npz, whole or not at all; returns the path.

    Raises ValueError for another suffix, OSError where the disk refuses.
    """
    if path.suffix.lstrip(".") not in FORMATS:
        raise ValueError(f"{path}: expected a suffix among {', '.join(FORMATS)}, found {path.suffix!r}")
    model = network.path.stem
    about = {"format": FORMAT, "version": VERSION, "facelift": __version__, "model": model, "image": image}
    about["head"] = network.head
    with written_whole(path) as partial:
        if path.suffix == ".json":
            width, height = image_wh
            document = about | {"width": width, "height": height, "vertices": network.mesh["vertices"].tolist()}
            document["faces"] = [_record(face) for face in faces]
            partial.write_text(json.dumps(document, allow_nan=False, ensure_ascii=False), encoding="utf-8")
        else:
            arrays: dict[str, Any] = {**about, "image_wh": np.array(image_wh), "vertices": network.mesh["vertices"]}
            count = len(network.mesh["vertices"])
            shapes = {"landmarks": (68, 2), "box": (4,)}
            for name in _ARRAYS:
                rows = np.array([getattr(face, name) for face in faces], np.float64)
                arrays[name] = rows.reshape(len(faces), *shapes.get(name, (count, 2)))
            for name in ("roll_deg", "score"):
                arrays[name] = np.array([getattr(face, name) for face in faces], np.float64)
            with partial.open("wb") as stream:
                np.savez_compressed(stream, **arrays)
    return path


def _record(face: DenseFace) -> dict[str, Any]:
    record = {name: rounded(getattr(face, name), _DIGITS) for name in (*_ARRAYS, "roll_deg", "score")}
    return {"points_2d": record.pop("points"), **record}
