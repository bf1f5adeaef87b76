"""3D landmarks and head pose from the 2D labels of ONE photo, held together by the shapes that many views gave.

Where `solver` has many views of a face and needs no prior, a photo has one: its landmarks are a point of the linear
space of the multi-view pseudo-labels (mean and principal components), seen by a camera of unknown pose.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from facelift.geometry import (
    FOCAL,
    MIRROR,
    cross_matrix,
    look_at_rotation,
    roll_rotation,
    rotation_from_vector,
    sphere_translation,
    to_camera,
)
from facelift.landmarks import WFLW98

NOISE = 0.01
"""Standard deviation of a human label, crop widths."""
CAUCHY = 3.0
"""Residual in standard deviations from which a label counts as an outlier."""
START_AZIMUTHS_DEG = (-75.0, -40.0, 0.0, 40.0, 75.0)
_CHUNK = 512


@dataclass(frozen=True)
class ShapeSpace:
    """Landmarks = mean + basis c, with c standard normal. Canonical frame and units."""

    mean: Float[np.ndarray, "98 3"]
    basis: Float[np.ndarray, "98 3 k"]


@dataclass(frozen=True)
class SingleViews:
    """One fit a photo, for the network's camera (FOCAL, the crop's middle)."""

    landmarks: Float[np.ndarray, "n 98 3"]
    rotation: Float[np.ndarray, "n 3 3"]
    translation: Float[np.ndarray, "n 3"]
    residual: Float[np.ndarray, "n"]
    """Weighted RMS distance to the labels, crop widths; infinite where there was nothing to fit."""

    @property
    def points(self) -> Float[np.ndarray, "n 98 2"]:
        """The projected landmarks, crop widths."""
        return _project(to_camera(self.landmarks, self.rotation, self.translation))

    def good(self, limit: float = 0.03) -> Bool[np.ndarray, "n"]:
        """Fits that may teach: the residual is at most `limit` crop widths."""
        return self.residual <= limit


def shape_space(landmarks: Float[np.ndarray, "n 98 3"], components: int = 40) -> ShapeSpace:
    """Mean and leading principal components of lifted landmarks and their mirror images.

    Pupils, which lifting leaves NaN, stand in the middle of the eye's outline. Faces with other gaps are left out.
    Raises ValueError if fewer than two faces remain.
    """
    shapes = np.array(landmarks, float)
    shapes[:, 96], shapes[:, 97] = shapes[:, 60:68].mean(1), shapes[:, 68:76].mean(1)
    shapes = shapes[np.isfinite(shapes).all((1, 2))]
    if len(shapes) < 2:
        raise ValueError(f"shape space: expected at least 2 faces with all landmarks, found {len(shapes)}")
    shapes = np.concatenate([shapes, shapes[:, WFLW98.mirror] @ MIRROR])
    mean = shapes.mean(0)
    _, singular, components_t = np.linalg.svd((shapes - mean).reshape(len(shapes), -1), full_matrices=False)
    count = min(components, len(shapes) // 2)
    sigma = singular[:count] / np.sqrt(len(shapes) - 1)
    return ShapeSpace(mean, (components_t[:count].T * sigma).reshape(98, 3, count))


def fit_single_views(
    points: Float[np.ndarray, "n 98 2"],
    weights: Float[np.ndarray, "n 98"],
    space: ShapeSpace,
    *,
    steps: int = 15,
) -> SingleViews:
    """The camera and shape of each photo that minimise

        sum_l w_l c^2 log(1 + |pi(R X_l(s) + t) - x_l|^2 / (c NOISE)^2) + |s|^2        (c = CAUCHY)

    by Levenberg-Marquardt, from the best of five azimuths whose roll, place and size a 2D similarity gives. `points`
    in crop widths, NaN where there is no label; labels of weight 0 are not looked at.
    """
    parts = [
        _fit_chunk(points[first : first + _CHUNK], weights[first : first + _CHUNK], space, steps)
        for first in range(0, len(points), _CHUNK)
    ]
    return SingleViews(*(np.concatenate(values) for values in zip(*parts, strict=True)))


class _State(NamedTuple):
    rotation: np.ndarray
    translation: np.ndarray
    shape: np.ndarray

    def landmarks(self, space: ShapeSpace) -> np.ndarray:
        return space.mean + np.einsum("lik,nk->nli", space.basis, self.shape)

    def moved(self, step: np.ndarray) -> "_State":
        """After a step (turn, shift, shape), the turn about the head's origin in the camera's frame."""
        turn = rotation_from_vector(step[:, :3])
        return _State(turn @ self.rotation, self.translation + step[:, 3:6], self.shape + step[:, 6:])


def _fit_chunk(points: np.ndarray, weights: np.ndarray, space: ShapeSpace, steps: int) -> tuple[np.ndarray, ...]:
    known = np.isfinite(points).all(-1) & (weights > 0)
    weights, points = np.where(known, weights, 0.0), np.where(known[..., None], points, 0.5)
    rigid = ShapeSpace(space.mean, space.basis[..., :0])
    fits = [
        _minimise(_start(points, weights, space.mean, azimuth), points, weights, rigid, 8)
        for azimuth in START_AZIMUTHS_DEG
    ]
    best, row = np.argmin([energy for _, energy in fits], axis=0), np.arange(len(points))
    rotation, translation = (np.stack([fit[0][part] for fit in fits])[best, row] for part in (0, 1))
    start = _State(rotation, translation, np.zeros((len(points), space.basis.shape[-1])))
    state, _ = _minimise(start, points, weights, space, steps)
    landmarks = state.landmarks(space)
    squared = ((_project(to_camera(landmarks, state.rotation, state.translation)) - points) ** 2).sum(-1)
    residual = np.sqrt((weights * squared).sum(1) / np.maximum(weights.sum(1), 1e-12))
    residual = np.where((known.sum(1) >= 8) & np.isfinite(residual), residual, np.inf)
    return landmarks, state.rotation, state.translation, residual


def _start(points: np.ndarray, weights: np.ndarray, mean: np.ndarray, azimuth_deg: float) -> _State:
    """The mean head at an azimuth; roll, place and size by the weighted 2D similarity that best meets the labels."""
    rotation = look_at_rotation(azimuth_deg, 0.0)
    translation = sphere_translation(rotation)
    seen = _project(to_camera(mean, rotation, translation)) - 0.5
    w = weights[..., None] / np.maximum(weights.sum(1), 1e-12)[:, None, None]
    source_mean, target_mean = (w * seen).sum(1), (w * points).sum(1)
    source, target = seen - source_mean[:, None], points - target_mean[:, None]
    along = (w * source * target).sum((1, 2))
    across = (w[..., 0] * (source[..., 0] * target[..., 1] - source[..., 1] * target[..., 0])).sum(1)
    scale = np.maximum(np.hypot(along, across) / np.maximum((w * source**2).sum((1, 2)), 1e-12), 1e-2)
    turn = roll_rotation(np.arctan2(across, along))
    start = _State(turn @ rotation, np.tile(translation, (len(points), 1)) / scale[:, None], np.zeros((len(points), 0)))
    start.translation[:, :2] = 0
    seen = _project(to_camera(np.broadcast_to(mean, (len(points), *mean.shape)), start.rotation, start.translation))
    offset = (w * (points - seen)).sum(1)
    start.translation[:, :2] = offset / FOCAL * start.translation[:, 2:]
    return start


def _minimise(
    state: _State, points: np.ndarray, weights: np.ndarray, space: ShapeSpace, steps: int
) -> tuple[_State, np.ndarray]:
    """Levenberg-Marquardt on all photos at once, each with its own damping; the states and their energies."""
    energy, damping = _energy(state, points, weights, space), np.full(len(points), 1e-3)
    for _ in range(steps):
        normal, gradient = _normal_equations(state, points, weights, space)
        diagonal = np.einsum("nii->ni", normal)
        diagonal *= 1 + damping[:, None]
        diagonal += 1e-9
        trial = state.moved(-np.linalg.solve(normal, gradient[..., None])[..., 0])
        trial_energy = _energy(trial, points, weights, space)
        better = trial_energy < energy
        state = _State(*(np.where(_like(better, new), new, old) for new, old in zip(trial, state, strict=True)))
        energy = np.where(better, trial_energy, energy)
        damping = np.clip(np.where(better, damping / 5, damping * 8), 1e-7, 1e7)
    return state, energy


def _energy(state: _State, points: np.ndarray, weights: np.ndarray, space: ShapeSpace) -> np.ndarray:
    """Infinite for a pose that puts a landmark behind the camera."""
    camera = to_camera(state.landmarks(space), state.rotation, state.translation)
    squared = ((_project(camera) - points) ** 2).sum(-1) / NOISE**2
    energy = (weights * CAUCHY**2 * np.log1p(squared / CAUCHY**2)).sum(1) + (state.shape**2).sum(1)
    return np.where((camera[..., 2] > 0.1).all(1) & np.isfinite(energy), energy, np.inf)


def _normal_equations(
    state: _State, points: np.ndarray, weights: np.ndarray, space: ShapeSpace
) -> tuple[np.ndarray, np.ndarray]:
    """J^T W J and J^T W r with the Cauchy weights, the prior added."""
    turned = state.landmarks(space) @ state.rotation.transpose(0, 2, 1)
    camera = turned + state.translation[:, None]
    residual = (_project(camera) - points) / NOISE
    robust = weights / (1 + (residual**2).sum(-1) / CAUCHY**2)
    x, y, z = np.moveaxis(camera, -1, 0)
    zero = np.zeros_like(x)
    by_camera = np.stack([np.stack([1 / z, zero, -x / z**2], -1), np.stack([zero, 1 / z, -y / z**2], -1)], -2)
    by_camera *= FOCAL / NOISE
    by_turn = -by_camera @ cross_matrix(turned)
    by_shape = by_camera @ np.einsum("nij,ljk->nlik", state.rotation, space.basis)
    jacobian = np.concatenate([by_turn, by_camera, by_shape], -1)
    jacobian = jacobian.reshape(len(points), 2 * points.shape[1], -1)
    weighted = jacobian * np.repeat(robust, 2, axis=1)[..., None]
    normal = weighted.transpose(0, 2, 1) @ jacobian
    gradient = (weighted.transpose(0, 2, 1) @ residual.reshape(len(points), -1, 1))[..., 0]
    prior = np.concatenate([np.zeros(6), np.ones(space.basis.shape[-1])])
    return normal + np.diag(prior), gradient + np.concatenate([np.zeros((len(points), 6)), state.shape], 1)


def _project(camera: np.ndarray) -> np.ndarray:
    """Camera frame -> crop widths."""
    return FOCAL * camera[..., :2] / camera[..., 2:] + 0.5


def _like(mask: np.ndarray, value: np.ndarray) -> np.ndarray:
    return mask.reshape(len(mask), *[1] * (value.ndim - 1))
