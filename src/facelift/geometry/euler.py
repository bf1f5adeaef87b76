"""Pitch, yaw and roll of the head, in this project's convention and in those of AFLW2000-3D, 3DDFA and BIWI.

All describe the head's rotation as the camera sees it: `head = R @ diag(1, -1, -1)`, the identity for a frontal face,
in OpenCV axes (x right, y down, z forward). A convention is an order of axes and a sign for each angle.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

FRONTAL = np.diag([1.0, -1.0, -1.0])
"""cam_from_world rotation of a camera straight in front of the face."""


@dataclass(frozen=True)
class EulerConvention:
    """head = A0 A1 A2, one elementary rotation about each axis of `order`, each angle with its sign."""

    order: str
    """Three axes, left to right as the matrices are multiplied."""
    signs: tuple[int, int, int]
    """Signs of pitch (x), yaw (y), roll (z) against right-handed turns about OpenCV axes."""


FACELIFT = EulerConvention("YXZ", (-1, -1, 1))
"""Ours. pitch > 0 looks up, yaw > 0 turns the nose to the image's right (the subject's left), roll > 0 tilts the head
clockwise in the picture. Singular only at pitch +-90, so never in profile."""
AFLW2000 = EulerConvention("XYZ", (-1, 1, 1))
"""AFLW2000-3D and 300W-LP `Pose_Para` (there in radians): yaw > 0 turns the nose to the image's left; singular in full
profile. Checked on the data set's own 3D points."""
TDDFA = EulerConvention("ZYX", (1, 1, -1))
"""Angles that 3DDFA and 3DDFA_V2 print: of the rotation with y up and z to the viewer they read yaw = asin(r31),
pitch = atan2(r32, r33), roll = atan2(r21, r11). Not AFLW2000-3D's: another order, and pitch and roll the other
way: pitch > 0 looks down, roll > 0 tilts the head anticlockwise in the picture."""
BIWI = EulerConvention("XYZ", (-1, 1, 1))
"""Angles that Hopenet, and all tables after it, read from BIWI's matrices: of the transposed matrix of `pose.txt`,
pitch = atan2(m32, m33), yaw = asin(m31), roll = -atan2(m21, m11). That is AFLW2000-3D's order and signs for the
matrix itself; the two sets' neutral heads differ."""


def euler_deg(rotation: Float[Any, "*b 3 3"], convention: EulerConvention = FACELIFT) -> Float[np.ndarray, "*b 3"]:
    """(pitch, yaw, roll) in degrees of a cam_from_world rotation; the middle axis of the order in [-90, 90].

    At the singularity the last axis's angle is taken as 0.
    """
    head = np.asarray(rotation, float) @ FRONTAL
    first, middle, last = ("XYZ".index(axis) for axis in convention.order)
    parity = 1.0 if (middle - first) % 3 == 1 else -1.0
    sin = np.clip(parity * head[..., first, last], -1, 1)
    angles = np.zeros((*head.shape[:-2], 3))
    singular = np.abs(sin) > 1 - 1e-12
    angles[..., middle] = np.arcsin(sin)
    angles[..., first] = np.where(
        singular,
        np.arctan2(parity * head[..., last, middle], head[..., middle, middle]),
        np.arctan2(-parity * head[..., middle, last], head[..., last, last]),
    )
    angles[..., last] = np.where(singular, 0.0, np.arctan2(-parity * head[..., first, middle], head[..., first, first]))
    return np.degrees(angles) * convention.signs


def rotation_from_euler(
    angles_deg: Float[Any, "*b 3"], convention: EulerConvention = FACELIFT
) -> Float[np.ndarray, "*b 3 3"]:
    """cam_from_world rotation from (pitch, yaw, roll) in degrees; the inverse of `euler_deg`."""
    angles = np.radians(np.asarray(angles_deg, float) * convention.signs)
    first, middle, last = ("XYZ".index(axis) for axis in convention.order)
    return _turn(first, angles) @ _turn(middle, angles) @ _turn(last, angles) @ FRONTAL


def convert_euler(
    angles_deg: Float[Any, "*b 3"], source: EulerConvention, target: EulerConvention
) -> Float[np.ndarray, "*b 3"]:
    """The same head rotation in another convention; degrees."""
    return euler_deg(rotation_from_euler(angles_deg, source), target)


def rotation_from_biwi(matrix: Float[Any, "*b 3 3"]) -> Float[np.ndarray, "*b 3 3"]:
    """cam_from_world rotation of the matrix in a BIWI `pose.txt` (its first three lines, not transposed).

    The file's matrix is the identity for a head that faces the camera, in OpenCV axes; only the head's axes change.
    """
    return np.asarray(matrix, float) @ FRONTAL


def _turn(axis: int, angles: np.ndarray) -> np.ndarray:
    """Right-handed rotation by `angles[..., axis]` about one axis."""
    cos, sin = np.cos(angles[..., axis]), np.sin(angles[..., axis])
    matrix = np.zeros((*cos.shape, 3, 3))
    following, previous = (axis + 1) % 3, (axis + 2) % 3
    matrix[..., axis, axis] = 1
    matrix[..., following, following] = matrix[..., previous, previous] = cos
    matrix[..., following, previous], matrix[..., previous, following] = -sin, sin
    return matrix
