"""The lifter's loss: the sum of a multi-view half and a multi-frame half (Ferman et al. 2024, Sec. 3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from facelift.losses.geodesic import geodesic_loss
from facelift.losses.points import PointsLoss, points_distance, points_mse, projected_loss, translation_mse

NOSE_BRIDGE = (51, 52, 53, 54)
"""WFLW-98 landmarks whose normals turn away early although they stay in sight: on the nose's ridge."""


@runtime_checkable
class LifterOutput(Protocol):
    """What the losses read of a network's output, one row a face; `points` and `cholesky` in crop widths."""

    @property
    def landmarks(self) -> Tensor:
        """(b, n, 3) canonical."""

    @property
    def rotation(self) -> Tensor:
        """(b, 3, 3) cam_from_world."""

    @property
    def translation(self) -> Tensor:
        """(b, 3) canonical units."""

    @property
    def points(self) -> Tensor:
        """(b, n, 2) projected landmarks."""

    @property
    def cholesky(self) -> Tensor:
        """(b, n, 2, 2) lower-triangular factor of the covariance of `points`."""

    @property
    def marks(self) -> Tensor:
        """(b, n, 2) where people mark the landmarks in the picture."""

    @property
    def marks_cholesky(self) -> Tensor:
        """(b, n, 2, 2) lower-triangular factor of the covariance of `marks`."""


@dataclass(frozen=True)
class MultiViewTarget:
    """Truth of rendered views: lifted 3D landmarks and the exact camera."""

    landmarks: Float[Tensor, "b n 3"]
    """Canonical pseudo-labels, NaN where there is none."""
    points: Float[Tensor, "b n 2"]
    """Their projection by the true camera, crop widths."""
    rotation: Float[Tensor, "b 3 3"]
    translation: Float[Tensor, "b 3"]
    weight: Float[Tensor, "b n"]
    """0 where a landmark has no label."""


def multi_view_terms(
    prediction: LifterOutput, target: MultiViewTarget, *, points_loss: PointsLoss = "lll", beta: float = 0.0
) -> dict[str, Float[Tensor, ""]]:
    """The terms of rendered views, unweighted, by name; `points_loss` and `beta` of `projected_loss`."""
    return {
        "points_3d": points_mse(prediction.landmarks, target.landmarks, weight=target.weight),
        "translation": translation_mse(prediction.translation, target.translation),
        "points_2d": projected_loss(
            prediction.points, target.points, prediction.cholesky, kind=points_loss, weight=target.weight, beta=beta
        ),
        "rotation": geodesic_loss(prediction.rotation, target.rotation),
    }


def multi_frame_terms(
    prediction: LifterOutput,
    points: Float[Tensor, "b n 2"],
    weight: Float[Tensor, "b n"],
    *,
    points_loss: PointsLoss = "lll",
    beta: float = 0.0,
) -> dict[str, Float[Tensor, ""]]:
    """The term of real frames: only where `weight` (labels there, times `frame_mask`) is positive; `points_loss` and
    `beta` of `projected_loss`.
    """
    loss = projected_loss(prediction.points, points, prediction.cholesky, kind=points_loss, weight=weight, beta=beta)
    return {"frames_2d": loss}


def marks_term(
    prediction: LifterOutput,
    points: Float[Tensor, "b n 2"],
    weight: Float[Tensor, "b n"],
    *,
    points_loss: PointsLoss = "lll",
    beta: float = 0.0,
) -> dict[str, Float[Tensor, ""]]:
    """Beyond the paper: the marks against every 2D label, NaN where there is none; as `multi_frame_terms`."""
    weight, spread = weight * torch.isfinite(points).all(-1), prediction.marks_cholesky
    return {
        "frames_marks": projected_loss(prediction.marks, points, spread, kind=points_loss, weight=weight, beta=beta)
    }


def single_view_terms(
    prediction: LifterOutput, rotation: Float[Tensor, "b 3 3"], hidden: Float[Tensor, "b n 2"]
) -> dict[str, Float[Tensor, ""]]:
    """Beyond the paper: what a shape fitted to a real frame's labels says of its pose and of landmarks that have no
    label. NaN where there is no fit. Distances, not likelihoods: a fit is no measure of how sure one can be.
    """
    posed = torch.isfinite(rotation).all(-1).all(-1).float()
    placed = torch.isfinite(hidden).all(-1).float()
    return {
        "frames_rotation": geodesic_loss(prediction.rotation, rotation, weight=posed),
        "frames_hidden": points_distance(prediction.points, hidden, weight=placed),
    }


def weighted_sum(terms: dict[str, Float[Tensor, ""]], factors: Mapping[str, float]) -> Float[Tensor, ""]:
    """Sum of the terms times their factors (the paper's are all 1). A term without a factor raises KeyError."""
    return torch.stack([factors[name] * value for name, value in terms.items()]).sum()


def facing_camera(rotation: Float[Tensor, "*b 3 3"], normals: Float[Tensor, "n 3"]) -> Float[Tensor, "*b n"]:
    """Cosine of each outward normal and the direction towards the camera, which looks along its +z."""
    return -(normals @ rotation[..., 2, :, None])[..., 0]


def frame_mask(
    rotation: Float[Tensor, "*b 3 3"],
    normals: Float[Tensor, "n 3"],
    *,
    threshold: float = 0.5,
    bridge_threshold: float = -0.1,
    bridge: tuple[int, ...] = NOSE_BRIDGE,
) -> Bool[Tensor, "*b n"]:
    """m_n = [(R normal_n) . towards camera > threshold], with another threshold on the nose bridge.

    `rotation` is the predicted cam_from_world rotation, `normals` the template's outward normals in the
    canonical frame. The camera looks along its +z, so towards it is (0, 0, -1). Carries no gradient.
    """
    facing = facing_camera(rotation.detach(), normals)
    limit = facing.new_full((len(normals),), threshold)
    limit[list(bridge)] = bridge_threshold
    return facing > limit
