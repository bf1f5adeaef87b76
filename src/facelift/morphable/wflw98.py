"""WFLW-98 landmarks on a mesh that names its iBUG-68 vertices and carries painted brows."""

import numpy as np
from jaxtyping import Float, Int

from facelift.landmarks import WFLW98, wflw98_of_ibug68

BROW_UV = {33: (256, 224), 34: (308, 207), 35: (356, 210), 36: (408, 217), 37: (456, 229),
           38: (454, 249), 39: (404, 238), 40: (352, 227), 41: (302, 221)}  # fmt: skip
"""Outline of the mean painted brow (ten photographs, twelve masks), in px of a 1024 px texture, y down; the image-left
brow. The mesh's own brow vertices lie 7 mm higher, on the forehead."""

_CUBIC, _END = np.array([-1, 9, 9, -1]) / 16, np.array([3, 6, -1, 0]) / 8
_LID_MIDDLES = {62: [36, 37, 38, 39], 66: [39, 40, 41, 36], 70: [42, 43, 44, 45], 74: [45, 46, 47, 42]}


def landmark_table(
    landmarks68: Int[np.ndarray, "68"],
    pupils: Int[np.ndarray, "2"],
    faces: Int[np.ndarray, "f 3"],
    uv: Float[np.ndarray, "f 3 2"],
) -> tuple[Int[np.ndarray, "98 4"], Float[np.ndarray, "98 4"]]:
    """(vertex indices, weights) of each landmark; rows of weights sum to 1.

    Points between iBUG's are the cubic's midpoint of four labelled vertices, as for human labels
    (`datasets.densify`); brows follow the paint on `faces` with texture coordinates `uv` (v up, the face in 0..1,
    symmetric about u = 0.5).
    """
    index, weights = np.zeros((98, 4), np.int64), np.zeros((98, 4))
    weights[:, 0] = 1
    index[wflw98_of_ibug68(), 0] = landmarks68
    index[96:, 0] = pupils
    for between in range(1, 15):
        index[2 * between + 1], weights[2 * between + 1] = landmarks68[between - 1 : between + 3], _CUBIC
    index[1], weights[1] = landmarks68[[0, 1, 2, 2]], _END
    index[31], weights[31] = landmarks68[[16, 15, 14, 14]], _END
    for middle, around in _LID_MIDDLES.items():
        index[middle], weights[middle] = landmarks68[around], _CUBIC
    for landmark, (x, y) in BROW_UV.items():
        for target, u in ((landmark, x / 1024), (WFLW98.mirror[landmark], 1 - x / 1024)):
            index[target, :3], weights[target, :3] = _at_uv(np.array([u, 1 - y / 1024]), faces, uv)
    return index, weights


def _at_uv(point: np.ndarray, faces: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the triangle about a texture coordinate, and its barycentrics there."""
    a, edges = uv[:, 2].astype(float), uv[:, :2].astype(float) - uv[:, 2:]
    area = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    x, y = (point - a).T
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (x * edges[:, 1, 1] - y * edges[:, 1, 0]) / area
        second = (y * edges[:, 0, 0] - x * edges[:, 0, 1]) / area
    weights = np.stack([first, second, 1 - first - second], axis=-1)
    chosen = np.argmax(np.nan_to_num(weights.min(-1), nan=-np.inf))
    return faces[chosen], weights[chosen]
