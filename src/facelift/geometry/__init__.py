"""Cameras, rotations, angles and alignment; NumPy arrays and torch tensors alike. Conventions: CONVENTIONS.md."""

from facelift.geometry.alignment import Similarity, procrustes
from facelift.geometry.camera import (
    FOCAL,
    LOOK_AT,
    ORIGIN_CM,
    RADIUS,
    UNIT_CM,
    intrinsics,
    look_at_rotation,
    project,
    roll_rotation,
    sphere_translation,
    to_camera,
)
from facelift.geometry.camera_space import CameraSpace
from facelift.geometry.euler import (
    AFLW2000,
    BIWI,
    FACELIFT,
    TDDFA,
    EulerConvention,
    convert_euler,
    euler_deg,
    rotation_from_biwi,
    rotation_from_euler,
)
from facelift.geometry.rotation import (
    MIRROR,
    cross_matrix,
    geodesic_distance,
    rotation_from_6d,
    rotation_from_vector,
    six_d_from_rotation,
)

__all__ = [
    "AFLW2000",
    "BIWI",
    "FACELIFT",
    "FOCAL",
    "LOOK_AT",
    "MIRROR",
    "ORIGIN_CM",
    "RADIUS",
    "TDDFA",
    "UNIT_CM",
    "CameraSpace",
    "EulerConvention",
    "Similarity",
    "convert_euler",
    "cross_matrix",
    "euler_deg",
    "geodesic_distance",
    "intrinsics",
    "look_at_rotation",
    "procrustes",
    "project",
    "roll_rotation",
    "rotation_from_6d",
    "rotation_from_biwi",
    "rotation_from_euler",
    "rotation_from_vector",
    "six_d_from_rotation",
    "sphere_translation",
    "to_camera",
]
