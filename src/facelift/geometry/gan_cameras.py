"""Cameras of 3D-aware GANs and ours. EG3D and PanoHead share our world frame and OpenCV's camera axes; their label c is
camera to world, 4 x 4 row by row, and K in picture widths. NumPy arrays and tensors alike."""

from typing import Any

import numpy as np
from jaxtyping import Float

from facelift.geometry.arrays import constant, namespace
from facelift.geometry.camera import LOOK_AT, RADIUS, intrinsics

OPENGL = (1, 2, 5, 6, 9, 10)
"""Entries of a label that change sign between OpenCV's camera axes and OpenGL's (y up, z backward): the second and the
third column of its rotation. IDE-3D's labels are OpenGL's."""


def label_of(
    rotation: Float[Any, "*b 3 3"], translation: Float[Any, "*b 3"], K: Float[Any, "*k 3 3"]
) -> Float[Any, "*b 25"]:
    """c of the camera x_cam = R x + t; K in picture widths, one for all or one each."""
    xp = namespace(rotation)
    turned = xp.swapaxes(rotation, -1, -2)
    eye = -(turned @ translation[..., None])
    top = xp.concatenate([turned, eye], axis=-1).reshape(*rotation.shape[:-2], 12)
    last = xp.zeros_like(top[..., :4]) + constant([0.0, 0.0, 0.0, 1.0], rotation)
    intrinsics = (xp.zeros_like(rotation) + constant(K, rotation)).reshape(*rotation.shape[:-2], 9)
    return xp.concatenate([top, last, intrinsics], axis=-1)


def front_label(look_at: tuple[float, float, float] = LOOK_AT, radius: float = RADIUS) -> Float[np.ndarray, "25"]:
    """c of the camera in front, `radius` away from the origin along z, that looks at a point."""
    forward = np.array(look_at) - np.array([0.0, 0.0, radius])
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return label_of(rotation, -rotation @ [0.0, 0.0, radius], intrinsics(1.0))


def camera_of(label: Float[Any, "*b 25"]) -> tuple[Float[Any, "*b 3 3"], Float[Any, "*b 3"], Float[Any, "*b 3 3"]]:
    """(R, t, K) of an OpenCV label."""
    matrix = label[..., :16].reshape(*label.shape[:-1], 4, 4)
    rotation = namespace(label).swapaxes(matrix[..., :3, :3], -1, -2)
    translation = -(rotation @ matrix[..., :3, 3:])[..., 0]
    return rotation, translation, label[..., 16:].reshape(*label.shape[:-1], 3, 3)


def opengl_label(label: Float[Any, "*b 25"]) -> Float[Any, "*b 25"]:
    """The same camera in OpenGL's axes, of an OpenCV label, and the other way round."""
    signs = np.ones(25)
    signs[list(OPENGL)] = -1
    return label * constant(signs, label)


def angles_of_eg3d(h_rad: Any, v_rad: Any) -> tuple[Any, Any]:
    """(azimuth, elevation) in degrees of EG3D's sampler: h = v = pi/2 is the front, h grows as our azimuth does, and v
    grows downwards, not evenly: its camera stands at the polar angle arccos(1 - 2 v / pi)."""
    return np.degrees(np.asarray(h_rad) - np.pi / 2), np.degrees(np.arcsin(1 - 2 * np.asarray(v_rad) / np.pi))


def angles_of_ide3d(h_rad: Any, v_rad: Any) -> tuple[Any, Any]:
    """The same of IDE-3D's sampler, whose h grows the other way."""
    azimuth, elevation = angles_of_eg3d(h_rad, v_rad)
    return -azimuth, elevation


def with_focal(K: Float[Any, "*b 3 3"], factor: float) -> Float[Any, "*b 3 3"]:
    """K of `factor` times the focal length."""
    return K * constant([[factor, 1.0, 1.0], [1.0, factor, 1.0], [1.0, 1.0, 1.0]], K)
