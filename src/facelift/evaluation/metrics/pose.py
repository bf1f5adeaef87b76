"""Errors of head pose: Euler angles as the papers' tables have them, and two distances between rotations."""

import numpy as np
from jaxtyping import Bool, Float

from facelift.geometry import AFLW2000, EulerConvention, euler_deg, geodesic_distance, procrustes

LARGEST_DEG = 99.0
"""AFLW2000-3D's pose tables leave out faces with an angle beyond it: 31 of 2000 (Ruiz et al. 2018, Hopenet)."""


def wrapped_deg(angle_deg: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """The same angle in [-180, 180)."""
    return np.asarray((np.asarray(angle_deg, float) + 180) % 360 - 180)


def within_99(angles_deg: Float[np.ndarray, "m 3"]) -> Bool[np.ndarray, "m"]:
    """Faces that AFLW2000-3D's pose tables keep: all three true angles, in its convention, within 99 degrees."""
    return (np.abs(angles_deg) <= LARGEST_DEG).all(-1)


def euler_near(
    rotation: Float[np.ndarray, "m 3 3"],
    reference_deg: Float[np.ndarray, "m 3"],
    convention: EulerConvention = AFLW2000,
) -> Float[np.ndarray, "m 3"]:
    """(pitch, yaw, roll) in degrees of cam_from_head rotations, of both ways to write each the one nearer `reference`.

    Every rotation is (a, b, c) about the axes of the order and also (a + 180, 180 - b, c + 180). Labels use both: a yaw
    of 95 read back as 85 would turn an exact prediction into 180 degrees of pitch and roll. Nearer: by the sum of
    absolute wrapped differences. (6DRepNet's script instead lets each angle alone be off by 180, which is no rotation.)
    """
    first = euler_deg(rotation, convention)
    middle = "XYZ".index(convention.order[1])
    second = wrapped_deg(first + 180)
    second[..., middle] = wrapped_deg(180 - first[..., middle])
    both = np.stack([first, second])
    off = np.abs(wrapped_deg(both - reference_deg)).sum(-1)
    return np.where((off[0] <= off[1])[..., None], first, second)


def euler_errors(
    predicted_deg: Float[np.ndarray, "m 3"], true_deg: Float[np.ndarray, "m 3"]
) -> Float[np.ndarray, "m 3"]:
    """|wrap(a - b)| of (pitch, yaw, roll) in one convention, degrees in [0, 180]; NaN in faces not found."""
    return np.abs(wrapped_deg(np.asarray(predicted_deg, float) - true_deg))


def geodesic_deg(predicted: Float[np.ndarray, "*b 3 3"], truth: Float[np.ndarray, "*b 3 3"]) -> Float[np.ndarray, "*b"]:
    """acos((tr(R_pred R_true^T) - 1) / 2) in degrees, 0..180: the angle of the turn between both."""
    return np.asarray(np.degrees(geodesic_distance(np.asarray(predicted, float), np.asarray(truth, float))))


def frobenius(predicted: Float[np.ndarray, "*b 3 3"], truth: Float[np.ndarray, "*b 3 3"]) -> Float[np.ndarray, "*b"]:
    """||I - R_pred R_true^T||_F (Martyniuk et al. 2022, DAD-3DHeads); 2 sqrt 2 sin(angle / 2), so 0..2.83."""
    difference = np.eye(3) - np.asarray(predicted, float) @ np.swapaxes(np.asarray(truth, float), -1, -2)
    return np.asarray(np.linalg.norm(difference, axis=(-2, -1)))


def frame_turn(predicted: Float[np.ndarray, "m 3 3"], truth: Float[np.ndarray, "m 3 3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation Q that minimises sum_i |R_pred,i Q - R_true,i|_F^2 (Wahba 1965): the turn between two definitions
    of the head's axes. Faces with NaN do not count; raises ValueError where none is left."""
    known = np.isfinite(predicted).all((1, 2)) & np.isfinite(truth).all((1, 2))
    if not known.any():
        raise ValueError("frame_turn: expected a face with both rotations, found none")
    u, _, vt = np.linalg.svd(np.einsum("mji,mjk->ik", predicted[known], truth[known]))
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt


def without_frame_turn(
    predicted: Float[np.ndarray, "m 3 3"], truth: Float[np.ndarray, "m 3 3"], half: Bool[np.ndarray, "m"]
) -> Float[np.ndarray, "m 3 3"]:
    """Predictions in the truth's head axes; each half of the faces by the `frame_turn` of the other half."""
    turned = np.empty_like(predicted)
    for part in (half, ~half):
        turned[part] = predicted[part] @ frame_turn(predicted[~part], truth[~part])
    return turned


def shape_turn(
    shape: Float[np.ndarray, "m n 3"], points: Float[np.ndarray, "m n 3"], rotation: Float[np.ndarray, "m 3 3"]
) -> Float[np.ndarray, "3 3"]:
    """The turn Q between two definitions of the head's axes, as `frame_turn`, from shapes alone: no pose is predicted.

    `shape`: a system's landmarks in its own head frame. `points`, `rotation`: the set's, in the camera's axes, and its
    cam_from_head, so that R_i^T p_i are the landmarks in its head frame. Q = A^T, A the rotation of the Procrustes
    alignment of the mean of the former, each face of size 1, onto that of the latter. Faces with NaN do not count;
    raises ValueError where none is left.
    """
    known = np.isfinite(shape).all((1, 2)) & np.isfinite(points).all((1, 2)) & np.isfinite(rotation).all((1, 2))
    if not known.any():
        raise ValueError("shape_turn: expected a face with both shapes, found none")
    source, target = _mean_shape(shape[known]), _mean_shape(points[known] @ rotation[known])
    return procrustes(source[None], target[None], with_scale=True).rotation[0].T


def without_shape_turn(
    predicted: Float[np.ndarray, "m 3 3"],
    shape: Float[np.ndarray, "m n 3"],
    points: Float[np.ndarray, "m n 3"],
    rotation: Float[np.ndarray, "m 3 3"],
    half: Bool[np.ndarray, "m"],
) -> Float[np.ndarray, "m 3 3"]:
    """Predictions in the truth's head axes; each half of the faces by the `shape_turn` of the other half."""
    turned = np.empty_like(predicted)
    for part in (half, ~half):
        turned[part] = predicted[part] @ shape_turn(shape[~part], points[~part], rotation[~part])
    return turned


def _mean_shape(shapes: Float[np.ndarray, "m n 3"]) -> Float[np.ndarray, "n 3"]:
    centred = shapes - shapes.mean(1, keepdims=True)
    return (centred / np.linalg.norm(centred, axis=(1, 2), keepdims=True)).mean(0)
