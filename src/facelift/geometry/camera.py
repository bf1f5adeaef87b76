"""The perspective camera on a sphere around the head, with fixed intrinsics (EG3D's, see CONVENTIONS.md)."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from facelift.geometry.arrays import constant, namespace

FOCAL = 4.2647
"""Focal length in image widths: 13.4 degrees across."""
RADIUS = 2.7
"""Distance of the camera from the origin, canonical units."""
LOOK_AT = (0.0, 0.0, 0.2)
"""The point that the camera on the sphere looks at."""
UNIT_CM = 36.0
"""Length of one canonical unit for a head of average size."""
ORIGIN_CM = (0.0, -0.8, -0.7)
"""The canonical origin in the frame of the open head's file."""


def intrinsics(size_px: float) -> Float[np.ndarray, "3 3"]:
    """Calibration matrix K of a square image of `size_px` pixels, principal point in its middle."""
    focal_px, centre_px = FOCAL * size_px, 0.5 * size_px
    return np.array([[focal_px, 0, centre_px], [0, focal_px, centre_px], [0, 0, 1.0]])


def look_at_rotation(azimuth_deg: Any, elevation_deg: Any, roll_deg: Any = 0.0) -> Float[np.ndarray, "*b 3 3"]:
    """cam_from_world rotation of the camera on the sphere at (azimuth, elevation), rolled in the image plane.

    Arguments broadcast. The camera sits at RADIUS * (sin az cos el, sin el, cos az cos el) and looks at
    LOOK_AT; a positive roll turns the picture's content clockwise. Undefined at elevation +-90.
    """
    azimuth, elevation, roll = np.broadcast_arrays(
        *(np.radians(np.asarray(a, float)) for a in (azimuth_deg, elevation_deg, roll_deg))
    )
    eye = RADIUS * np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], axis=-1
    )
    forward = np.asarray(LOOK_AT) - eye
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    down = np.cross(forward, right)
    return roll_rotation(roll) @ np.stack([right, down, forward], axis=-2)


def roll_rotation(angle_rad: Any) -> Any:
    """Rotation about the optical axis, (*b, 3, 3): turns picture content clockwise (x right, y down)."""
    xp = namespace(angle_rad)
    cos, sin = xp.cos(angle_rad), xp.sin(angle_rad)
    zero, one = xp.zeros_like(cos), xp.ones_like(cos)
    rows = [[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]]
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def head_tilt(rotation: Float[Any, "*b 3 3"]) -> Any:
    """Clockwise angle in rad of the head's up axis in the picture; a camera's roll adds to it exactly, whatever the
    other angles (`euler_deg`'s roll of a turned head it does not)."""
    return namespace(rotation).arctan2(rotation[..., 0, 1], -rotation[..., 1, 1])


def sphere_translation(rotation: Float[Any, "*b 3 3"]) -> Float[Any, "*b 3"]:
    """Translation that puts the camera with this rotation on the sphere, its axis through LOOK_AT.

    The eye is LOOK_AT - lam * forward with |eye| = RADIUS; so t = (0, 0, lam) - R LOOK_AT. The eye does not
    depend on the roll. Exact for every rotation (Ferman et al. 2024 learn only the residual to it).
    """
    xp = namespace(rotation)
    look_at = constant(LOOK_AT, rotation)
    along = (rotation[..., 2, :] * look_at).sum(-1)
    lam = along + xp.sqrt(along**2 + (RADIUS**2 - float(np.dot(LOOK_AT, LOOK_AT))))
    zero = xp.zeros_like(lam)
    return xp.stack([zero, zero, lam], axis=-1) - (rotation @ look_at[..., None])[..., 0]


def to_camera(
    points: Float[Any, "*b n 3"], rotation: Float[Any, "*b 3 3"], translation: Float[Any, "*b 3"]
) -> Float[Any, "*b n 3"]:
    """World points in the camera frame: R x + t."""
    return points @ namespace(rotation).swapaxes(rotation, -1, -2) + translation[..., None, :]


def project(
    points: Float[Any, "*b n 3"], rotation: Float[Any, "*b 3 3"], translation: Float[Any, "*b 3"], K: Any
) -> Float[Any, "*b n 2"]:
    """World points -> pixels (u right, v down). Points at depth <= 0 get NaN."""
    xp = namespace(points)
    camera = to_camera(points, rotation, translation)
    depth = camera[..., 2:]
    safe = xp.where(depth > 0, depth, xp.full_like(depth, math.nan))
    K = constant(K, points)
    focal = xp.stack([K[..., 0, 0], K[..., 1, 1]], axis=-1)[..., None, :]
    return camera[..., :2] / safe * focal + K[..., None, :2, 2]
