"""Where a fit starts: a head's pose from its points alone, or from landmarks that a lifter has already placed."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from facelift.faces.face import Face
from facelift.fitting.normal_equations import Observations
from facelift.fitting.state import State
from facelift.geometry import euler, procrustes, roll_rotation, rotation_from_vector
from facelift.geometry.arrays import constant
from facelift.morphable.skinned import SkinnedModel

YAWS_DEG = (0.0, -55.0, 55.0)
"""Poses that are tried; roll, place and size follow from the picture."""


def turned_starts(
    positions: Float[Tensor, "b 3 l"], middle: Float[Tensor, "3"], observations: Observations, yaw_deg: float
) -> State:
    """The head turned by a yaw; roll, place and distance by the weighted 2D similarity that best meets the points.

    Seen under parallel rays the head lies at flat = (R (x - middle))_xy, and its points' rays at
    (y - centre) / focal = flat / distance + shift.
    """
    rotation = constant(euler.rotation_from_euler(np.array([0.0, yaw_deg, 0.0])), positions)
    flat = (rotation @ (positions - middle[:, None]))[:, :2]
    rays = (observations.points - observations.centre[..., None]) / observations.focal[..., None]
    weights = observations.weights.square().mean(1, keepdim=True)
    weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-30)
    flat_mean, ray_mean = (weights * flat).sum(-1, keepdim=True), (weights * rays).sum(-1, keepdim=True)
    source, target = flat - flat_mean, rays - ray_mean
    along = (weights * source * target).sum((1, 2))
    across = (weights[:, 0] * (source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0])).sum(1)
    spread = (weights * source**2).sum((1, 2)).clamp_min(1e-30)
    size = (torch.hypot(along, across) / spread).clamp_min(1e-6)
    turn = roll_rotation(torch.atan2(across, along))
    shift = ray_mean[..., 0] - size[:, None] * (turn[:, :2, :2] @ flat_mean)[..., 0]
    place = torch.cat([shift, torch.ones_like(size)[:, None]], 1) / size[:, None]
    b = len(positions)
    return State(turn @ rotation, place, size.new_zeros(b), size.new_zeros(b, 0), size.new_zeros(b, 0))


def pose_of_face(
    face: Face, model: SkinnedModel, scheme: str
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """(rotation, translation) of the model in front of the face's own camera, model units: the similarity that lays the
    mean head's landmarks on the face's, without the brows, which heads place differently."""
    face = face.to(scheme)
    mean = model.landmark_points(scheme, model.mean.astype(np.float64))
    kept = np.setdiff1d(np.arange(len(mean)), face.landmark_scheme.regions["brows"])
    kept = kept[(model.table(scheme).weights.sum(1) > 0)[kept]]
    laid = procrustes(mean[kept], face.landmarks_3d[kept], with_scale=True)
    rotation = face.rotation @ laid.rotation
    translation = (face.rotation @ laid.translation + face.translation) / laid.scale
    return rotation, translation


def moved_camera(
    rotation: Float[np.ndarray, "3 3"],
    translation: Float[np.ndarray, "3"],
    K_from: Float[np.ndarray, "3 3"],
    K_to: Float[np.ndarray, "3 3"],
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """The pose in front of another camera of the same picture that shows the head's origin in the same place and as
    large, from the same side of the head."""
    ray = np.linalg.inv(K_from) @ (K_from @ translation / translation[2])
    pixel = K_from @ ray
    ray_to = np.linalg.inv(K_to) @ pixel
    distance = translation[2] * K_to[0, 0] / K_from[0, 0]
    return turn_between(ray, ray_to) @ rotation, ray_to * distance


def turn_between(a: Float[np.ndarray, "3"], b: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The least rotation from one direction to another."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis = np.cross(a, b)
    length = np.linalg.norm(axis)
    angle = math.atan2(length, float(a @ b))
    return rotation_from_vector(axis / length * angle if length > 1e-12 else np.zeros(3))
