"""The scaled orthographic camera that linear face models are placed by: twelve numbers instead of a pinhole."""

from typing import Any

import numpy as np
from jaxtyping import Float

from facelift.geometry.camera import intrinsics, project, to_camera
from facelift.geometry.rotation import cross_matrix


def weak_perspective(
    points: Float[np.ndarray, "n 3"],
    rotation: Float[np.ndarray, "3 3"],
    translation: Float[np.ndarray, "3"],
    size: float,
) -> Float[np.ndarray, "3 4"]:
    """[sR | t] that comes nearest to our camera's picture of these canonical points: x, y in px of the crop (y down), z
    in px away from the camera, t_z = 0.

    R is the rotation that the picture shows: a head beside the optical axis is seen from the side, so the camera is
    turned until its axis meets the points' mean. Scale and shift are the least-squares ones for that R.
    """
    turned = _towards(to_camera(points, rotation, translation).mean(0)) @ rotation
    flat, wanted = points @ turned[:2].T, project(points, rotation, translation, intrinsics(size))
    centred = flat - flat.mean(0)
    scale = (centred * (wanted - wanted.mean(0))).sum() / (centred**2).sum()
    shift = wanted.mean(0) - scale * flat.mean(0)
    return np.column_stack([scale * turned, [*shift, 0.0]])


def scale_and_rotation(pose: Float[np.ndarray, "*b 3 4"]) -> tuple[Any, Float[np.ndarray, "*b 3 3"]]:
    """s (*b) and R of [sR | t]: the mean length of its first two rows, and the rotation nearest to it (by SVD)."""
    matrix = pose[..., :3]
    left, _, right = np.linalg.svd(matrix)
    left[..., :, 2] *= np.linalg.det(left @ right)[..., None]
    return np.linalg.norm(matrix[..., :2, :], axis=-1).mean(-1), left @ right


def _towards(ray: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The least rotation that turns a direction to +z (Rodrigues, from the cross product: no angle is needed)."""
    x, y, z = ray / np.linalg.norm(ray)
    K = cross_matrix(np.array([y, -x, 0.0]))
    return np.eye(3) + K + K @ K / (1 + z)
