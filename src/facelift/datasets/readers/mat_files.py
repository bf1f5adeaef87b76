"""Matlab files of data sets, by SciPy."""

from collections.abc import Container, Mapping
from pathlib import Path

import numpy as np

from facelift.datasets.readers.official_layout import require_file


def read_mat(
    path: Path, shapes: Mapping[str, tuple[int | None, ...]], optional: Container[str] = ()
) -> dict[str, np.ndarray]:
    """The variables that `shapes` names, float64; None stands for any length. Those of `optional` may be missing.

    Raises FileNotFoundError, or ValueError for a file that is no Matlab file of version 5 (SciPy reads no other), for a
    missing variable, another shape, or numbers that are not finite.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    require_file(path, "a Matlab file")
    try:
        held = loadmat(path)
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError, EOFError) as error:
        raise ValueError(f"{path}: expected a Matlab file, found {path.stat().st_size} bytes: {error}") from None
    found = sorted(key for key in held if not key.startswith("__"))
    arrays = {}
    for key, shape in shapes.items():
        if key not in held and key in optional:
            continue
        if key not in held:
            raise ValueError(f"{path}: expected a variable {key!r}, found {', '.join(found)}")
        array = np.asarray(held[key])
        if not _fits(array, shape) or not np.isfinite(array).all():
            raise ValueError(f"{path}: expected {key} as {shape} finite numbers, found {array.shape} of {array.dtype}")
        arrays[key] = array.astype(np.float64)
    return arrays


def _fits(array: np.ndarray, shape: tuple[int | None, ...]) -> bool:
    lengths = array.ndim == len(shape) and all(b in (None, a) for a, b in zip(array.shape, shape, strict=True))
    return lengths and array.dtype.kind in "iuf"
