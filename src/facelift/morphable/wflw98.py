"""WFLW-98 landmarks on a mesh that names its iBUG-68 vertices."""

import numpy as np
from jaxtyping import Float, Int

from facelift.landmarks import wflw98_of_ibug68

_LOWER_BROW = {38: 37, 39: 36, 40: 35, 41: 34, 50: 42, 49: 43, 48: 44, 47: 45}
"""Lower edge point -> the upper edge point that it lies below."""


def landmark_table(
    vertices: Float[np.ndarray, "v 3"],
    landmarks68: Int[np.ndarray, "68"],
    pupils: Int[np.ndarray, "2 k"],
    *,
    brow_height: float,
) -> tuple[Int[np.ndarray, "98 4"], Float[np.ndarray, "98 4"]]:
    """(vertex indices, weights) of each landmark on the mean mesh.

    Points between iBUG's are the cubic's midpoint of four labelled vertices, as for human labels
    (`datasets.densify`); the lower brow edge lies `brow_height` below the upper; pupils are means of `pupils`.
    """
    index = np.zeros((98, 4), np.int64)
    weights = np.zeros((98, 4))
    weights[:, 0] = 1
    index[wflw98_of_ibug68(), 0] = landmarks68
    cubic, end = np.array([-1, 9, 9, -1]) / 16, np.array([3, 6, -1, 0]) / 8
    for place in range(16):
        if place == 0:
            index[1], weights[1] = landmarks68[[0, 1, 2, 2]], end
        elif place == 15:
            index[31], weights[31] = landmarks68[[16, 15, 14, 14]], end
        else:
            index[2 * place + 1], weights[2 * place + 1] = landmarks68[place - 1 : place + 3], cubic
    for middle, around in {62: [36, 37, 38, 39], 66: [39, 40, 41, 36], 70: [42, 43, 44, 45], 74: [45, 46, 47, 42]}.items():
        index[middle], weights[middle] = landmarks68[around], cubic
    for lower, upper in _LOWER_BROW.items():
        below = vertices[index[upper, 0]] - [0, brow_height, 0]
        in_front = np.flatnonzero(vertices[:, 2] > below[2] - 1.5)
        index[lower, 0] = in_front[np.argmin(np.linalg.norm(vertices[in_front] - below, axis=1))]
    for row, around in zip((96, 97), pupils, strict=True):
        index[row, : len(around)], weights[row] = around, 1 / len(around)
    return index, weights
