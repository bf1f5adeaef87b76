"""WFLW-98 labels out of human iBUG-68 labels: shared points, and curves through them for the points between."""

import numpy as np
from jaxtyping import Float

from facelift.landmarks import wflw98_of_ibug68

# Points between two labelled neighbours: WFLW index -> iBUG indices (before, first, second, after); the point lies
# midway between first and second on the cubic through all four. Lids: WFLW's middle lid point.
_LIDS = {62: (36, 37, 38, 39), 66: (39, 40, 41, 36), 70: (42, 43, 44, 45), 74: (45, 46, 47, 42)}


def wflw98_from_ibug68(points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "98 2"]:
    """The 86 WFLW-98 points that iBUG-68 determines; the lower brow edges and the pupils are NaN.

    Odd jaw points lie on the jaw's interpolating curve halfway between labelled neighbours. A point whose neighbours
    are not labelled is NaN.
    """
    dense = np.full((98, points.shape[-1]), np.nan)
    dense[wflw98_of_ibug68()] = points
    jaw = points[:17]
    for index in range(16):
        before, after = jaw[index - 1] if index else None, jaw[index + 2] if index < 15 else None
        dense[2 * index + 1] = _between(before, jaw[index], jaw[index + 1], after)
    for index, neighbours in _LIDS.items():
        dense[index] = _between(*points[list(neighbours)])
    return dense


def _between(before, first, second, after) -> np.ndarray:
    """Midpoint of the Lagrange cubic at -1, 0, 1, 2; quadratic or straight where an outer point is missing."""
    has_before = before is not None and np.isfinite(before).all()
    has_after = after is not None and np.isfinite(after).all()
    if has_before and has_after:
        return (-before + 9 * first + 9 * second - after) / 16
    if has_before:
        return (-before + 6 * first + 3 * second) / 8
    if has_after:
        return (3 * first + 6 * second - after) / 8
    return (first + second) / 2
