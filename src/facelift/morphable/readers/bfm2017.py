"""Basel Face Model 2017 and 2019: one HDF5 file, of which are read

    {shape,expression}/model/mean (3v,), pcaBasis (3v, k), pcaVariance (k,)
    shape/representer/cells (3, f), vertices from 0

Needs h5py, which is not among the project's requirements.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from facelift.datasets.readers.official_layout import require_file
from facelift.morphable.linear import LinearModel, Whitening
from facelift.morphable.readers.columns import numbers, offsets, outward, points, read_landmarks, triangles
from facelift.sources import BFM2017


def read_bfm2017(path: Path, landmarks: Path, *, shape: int | None = 40, expression: int | None = 10) -> LinearModel:
    """The first components, one deviation (the root of the file's variance) a coefficient; None: all. mm, y up.

    `landmarks`: a text file of 68 vertex indices from 0; the model does not name iBUG's. There are no texture
    coordinates. Raises FileNotFoundError, ImportError without h5py, or ValueError naming file, expected and found.
    """
    path = require_file(Path(path), "the Basel Face Model's .h5 file")
    with _open(path) as file:
        mean, identities = _part(file, path, "shape", shape)
        moved, expressions = _part(file, path, "expression", expression)
        corners = triangles(_array(file, path, "shape/representer/cells"), path, first=0)
    if len(moved) != len(mean):
        raise ValueError(f"{path}: expected expressions of {len(mean)} vertices, found {len(moved)}")
    return LinearModel(
        mean=mean + moved,
        shape=identities,
        expression=expressions,
        faces=outward(mean, corners),
        landmark_vertices=read_landmarks(landmarks),
        uv=None,
        whitening=Whitening.none(len(identities) + len(expressions)),
        sources=(BFM2017,),
        name="bfm2017",
    )


def _open(path: Path) -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ImportError(f"{path}: expected h5py to read it, found it not installed: pip install h5py") from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: expected an HDF5 file, found {path.stat().st_size} bytes: {error}") from None


def _part(file: Any, path: Path, name: str, count: int | None) -> tuple[np.ndarray, Float[np.ndarray, "k v 3"]]:
    """(mean, offsets per deviation) of the shape or the expression."""
    mean = points(_array(file, path, f"{name}/model/mean"), path, f"{name}'s mean")
    basis = offsets(_array(file, path, f"{name}/model/pcaBasis"), len(mean), count, path, f"{name}'s pcaBasis")
    variance = numbers(_array(file, path, f"{name}/model/pcaVariance"), len(basis), path, f"{name}'s pcaVariance")
    if (variance < 0).any():
        raise ValueError(f"{path}: expected variances, found {variance.min():.4g} in {name}'s pcaVariance")
    return mean, basis * np.sqrt(variance)[:, None, None]


def _array(file: Any, path: Path, key: str) -> np.ndarray:
    if key not in file or not hasattr(file[key], "shape"):
        raise ValueError(f"{path}: expected a data set {key}, found {', '.join(file) or 'nothing'} at the top")
    return np.asarray(file[key])
