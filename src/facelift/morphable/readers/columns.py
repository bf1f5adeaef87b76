"""Arrays as released models hold them: coordinates stacked as x0 y0 z0 x1 ... in columns, indices from 0 or from 1."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from facelift.datasets.readers.official_layout import require_file


def points(column: np.ndarray, path: Path, name: str) -> Float[np.ndarray, "v 3"]:
    """Positions from one column. Raises ValueError unless it holds three finite numbers a vertex."""
    if column.dtype.kind not in "iuf" or column.size == 0 or column.size % 3 or max(column.shape) != column.size:
        raise ValueError(f"{path}: expected {name} as one column of x, y, z, found {column.shape} of {column.dtype}")
    return _finite(column, path, name).reshape(-1, 3)


def offsets(matrix: np.ndarray, vertices: int, count: int | None, path: Path, name: str) -> Float[np.ndarray, "k v 3"]:
    """The first `count` columns, or all. Raises ValueError unless the rows are those of so many vertices, or where
    there are fewer columns."""
    expected = f"{name} as ({3 * vertices}, {f'{count} or more' if count else 'components'}) numbers"
    if matrix.ndim != 2 or matrix.dtype.kind not in "iuf" or matrix.shape[0] != 3 * vertices:
        raise ValueError(f"{path}: expected {expected}, found {matrix.shape} of {matrix.dtype}")
    if count is not None and matrix.shape[1] < count:
        raise ValueError(f"{path}: expected {expected}, found {matrix.shape}")
    return _finite(matrix[:, :count].T, path, name).reshape(-1, vertices, 3)


def _finite(array: np.ndarray, path: Path, name: str) -> np.ndarray:
    array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: expected {name} as finite numbers, found {(~np.isfinite(array)).sum()} others")
    return array


def numbers(values: np.ndarray, count: int, path: Path, name: str) -> Float[np.ndarray, "n"]:
    """The first `count` of a column or row of numbers. Raises ValueError where there are fewer."""
    if values.dtype.kind not in "iuf" or values.size < count or max(values.shape, default=0) != values.size:
        raise ValueError(f"{path}: expected {name} as {count} numbers, found {values.shape} of {values.dtype}")
    return _finite(values.ravel()[:count], path, name)


def triangles(array: np.ndarray, path: Path, *, first: int) -> Int[np.ndarray, "f 3"]:
    """Triangles in rows or in columns; `first` is the file's index of the first vertex."""
    if array.ndim != 2 or 3 not in array.shape or not np.array_equal(array, np.round(array)):
        raise ValueError(f"{path}: expected triangles as (3, f) or (f, 3) integers, found {array.shape}")
    rows = array if array.shape[1] == 3 else array.T
    return np.ascontiguousarray(rows.astype(np.int32) - first)


def outward(mean: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "f 3"]:
    """The triangles anticlockwise as seen from outside: all turned over where the mesh's volume is negative.

    Raises ValueError for triangles of vertices that there are not.
    """
    if faces.size and not (faces.min() >= 0 and faces.max() < len(mean)):
        raise ValueError(f"triangles: expected vertices 0..{len(mean) - 1}, found {faces.min()}..{faces.max()}")
    a, b, c = np.moveaxis((mean - mean.mean(0)).astype(np.float64)[faces], 1, 0)
    volume = (np.cross(a, b) * c).sum()
    return faces if volume >= 0 else np.ascontiguousarray(faces[:, ::-1])


def landmark_rows(keypoints: np.ndarray, path: Path) -> Int[np.ndarray, "68"]:
    """Vertices of the landmarks from 3DDFA's list of their 204 rows. Raises ValueError for another list."""
    rows = keypoints.ravel()
    if rows.shape != (204,) or not np.array_equal(rows.reshape(68, 3) % 3, np.tile([0, 1, 2], (68, 1))):
        raise ValueError(f"{path}: expected keypoints as the rows x, y, z of 68 vertices, found {keypoints.shape}")
    return (rows[::3] // 3).astype(np.int32)


def read_landmarks(path: Path) -> Int[np.ndarray, "68"]:
    """iBUG-68 vertex indices, from 0, from a text file of 68 integers."""
    words = require_file(path, "68 vertex indices").read_text(errors="replace").replace(",", " ").split()
    if len(words) != 68 or not all(word.isdigit() for word in words):
        raise ValueError(f"{path}: expected 68 vertex indices from 0, found {len(words)} words: {words[:4]}")
    return np.array(words, np.int32)
