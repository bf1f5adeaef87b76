"""Point files of iBUG's sets (300-W, 300VW) and of MERL-RAV."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from facelift.datasets.readers.official_layout import require_file


def read_pts(path: Path) -> Float[np.ndarray, "n 2"]:
    """The points in px with centres at integer + 0.5: the file counts pixels from 1, so its values - 0.5.

    Raises as `read_pts_values`.
    """
    return read_pts_values(path) - 0.5


def read_pts_values(path: Path) -> Float[np.ndarray, "n 2"]:
    """The numbers as they stand in the file; what they count and what their signs mean is the set's affair.

    `version: 1`, `n_points: N`, `{`, N lines `x y`, `}`. Raises FileNotFoundError, or ValueError for anything else.
    """
    path = require_file(Path(path), "a .pts file")
    text = path.read_text(errors="replace")
    head, opened, rest = text.partition("{")
    body, closed, _ = rest.partition("}")
    if not (opened and closed):
        raise ValueError(f"{path}: expected points between braces, found {text[:40]!r}")
    words = head.replace(":", " ").split()
    if "n_points" not in words[:-1] or not words[words.index("n_points") + 1].isdecimal():
        raise ValueError(f"{path}: expected a line 'n_points: N', found {head[:40]!r}")
    count = int(words[words.index("n_points") + 1])
    try:
        points = np.array([[float(word) for word in line.split()] for line in body.splitlines() if line.strip()])
    except ValueError as error:
        raise ValueError(f"{path}: expected {count} lines of two numbers, found: {error}") from None
    if points.shape != (count, 2) or not np.isfinite(points).all():
        raise ValueError(f"{path}: expected {count} finite points x y, found an array {points.shape}")
    return points


def require_count(path: Path, points: Float[np.ndarray, "n 2"], count: int) -> Float[np.ndarray, "n 2"]:
    """`points`; ValueError that names the file unless there are `count`."""
    if len(points) != count:
        raise ValueError(f"{path}: expected {count} points, found {len(points)}")
    return points
