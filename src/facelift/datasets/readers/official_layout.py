"""Files and folders that a data set must have, and the tables of numbers in its text files."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float


def inner_folder(root: Path, name: str) -> Path:
    """The folder `name` of a release in `root`, or `root` itself, where somebody unpacked it without."""
    inner = Path(root) / name
    return inner if inner.is_dir() else Path(root)


def require_folder(path: Path, what: str) -> Path:
    """`path`; FileNotFoundError that says `what` was expected where there is no such folder."""
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: expected {what}, found {'a file' if path.exists() else 'nothing'}")
    return path


def require_file(path: Path, what: str) -> Path:
    """`path`; FileNotFoundError that says `what` was expected where there is no such file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected {what}, found {'a folder' if path.is_dir() else 'nothing'}")
    return path


def require_files(paths: Iterable[Path], what: str) -> None:
    """FileNotFoundError that counts the missing files and names the first three."""
    paths = list(paths)
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise FileNotFoundError(
            f"{missing[0]}: expected {what}, found {len(paths) - len(missing)} of {len(paths)} files; "
            f"missing: {', '.join(missing[:3])}{more}"
        )


def require_rotation(
    R: Float[np.ndarray, "3 3"], path: Path, what: str, *, tolerance: float = 1e-2
) -> Float[np.ndarray, "3 3"]:
    """`R`; ValueError that says `what` was expected to be a rotation where R R^T is not the identity or det R < 0."""
    if not np.allclose(R @ R.T, np.eye(3), atol=tolerance) or np.linalg.det(R) < 0:
        raise ValueError(f"{path}: expected a rotation in {what}, found {R.tolist()}")
    return R


def read_json(path: Path, what: str) -> Any:
    """What a .json file holds. Raises FileNotFoundError that says `what` was expected, ValueError for other text."""
    try:
        return json.loads(require_file(path, what).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, found: {error}") from None


def number_rows(path: Path, widths: list[int], what: str) -> list[Float[np.ndarray, "k"]]:
    """The rows of a text file of numbers; empty lines do not count. Raises ValueError unless their lengths are
    `widths` and all numbers are finite."""
    require_file(path, what)
    lines = [line.split() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    if [len(line) for line in lines] != widths:
        found = [len(line) for line in lines][: len(widths) + 2]
        raise ValueError(f"{path}: expected {what} as rows of {widths} numbers, found rows of {found}")
    try:
        rows = [np.array([float(word) for word in line]) for line in lines]
    except ValueError as error:
        raise ValueError(f"{path}: expected {what} as numbers, found: {error}") from None
    if not all(np.isfinite(row).all() for row in rows):
        raise ValueError(f"{path}: expected {what} as finite numbers, found NaN or infinity")
    return rows
