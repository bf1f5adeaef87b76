"""Fits in files: JSON and NPZ. docs/fitting.md states the schema."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from facelift import __version__
from facelift.atomic import written_whole
from facelift.fitting.fit import HeadFits
from facelift.geometry import euler_deg
from facelift.morphable.skinned import SkinnedModel

FORMAT, VERSION = "facelift-head-fits", 1
_ARRAYS = ("rotation", "translation", "intrinsics", "shape", "expression", "joints", "points", "residuals")
_DIGITS = 7


def write_fits(
    path: Path, fits: HeadFits, model: SkinnedModel, *, image: str, image_wh: tuple[int, int], **more: np.ndarray
) -> Path:
    """Writes by the suffix of `path`, .json or .npz, whole or not at all; returns the path. `more`: arrays with one row
    a fit, of frames their numbers and times. Raises ValueError for another suffix."""
    if path.suffix not in (".json", ".npz"):
        raise ValueError(f"{path}: expected .json or .npz, found {path.suffix!r}")
    about: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "facelift": __version__,
        "model": model.name,
        "image": image,
    }
    names = {"joint_names": model.joints.names, "expression_names": model.expression_names or ()}
    with written_whole(path) as partial:
        if path.suffix == ".json":
            faces = [_record(fits, index, model, more) for index in range(len(fits.failure))]
            document = about | {"width": image_wh[0], "height": image_wh[1], "faces": faces}
            partial.write_text(json.dumps(document, allow_nan=False, ensure_ascii=False), encoding="utf-8")
        else:
            arrays: dict[str, Any] = {name: getattr(fits, name) for name in (*_ARRAYS, "cost", "rms", "converged")}
            arrays |= {"failure": np.array([reason or "" for reason in fits.failure]), "image_wh": np.array(image_wh)}
            arrays |= {name: np.array(values, dtype="U") for name, values in names.items()}
            with partial.open("wb") as stream:
                np.savez_compressed(stream, **(about | arrays | more))
    return path


def _record(fits: HeadFits, index: int, model: SkinnedModel, more: dict[str, np.ndarray]) -> dict[str, Any]:
    extra = {name: _rounded(values[index]) for name, values in more.items()}
    if fits.failure[index] is not None:
        return {**extra, "failure": fits.failure[index]}
    pitch, yaw, roll = _rounded(euler_deg(fits.rotation[index]))
    record: dict[str, Any] = {**extra, "failure": None, "converged": bool(fits.converged[index])}
    record |= {"rms_px": _rounded(fits.rms[index]), "euler_deg": {"pitch": pitch, "yaw": yaw, "roll": roll}}
    record |= {name: _rounded(getattr(fits, name)[index]) for name in _ARRAYS}
    record["joints"] = dict(zip(model.joints.names, record["joints"], strict=True))
    if model.expression_names is not None:
        record["expression"] = dict(zip(model.expression_names, record["expression"], strict=True))
    return record


def _rounded(values: Any) -> Any:
    """Nested lists; None where there is no number."""
    if np.ndim(values) == 0:
        return float(f"{float(values):.{_DIGITS}g}") if np.isfinite(values) else None
    return [_rounded(value) for value in values]
