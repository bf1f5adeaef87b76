"""Heads fitted to 2D points: a batch of faces on their own, or frames and views of the same persons."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facelift.fitting.config import FitConfig
from facelift.fitting.head import SkinnedHead
from facelift.fitting.levenberg import Minimum, minimise
from facelift.fitting.normal_equations import NormalEquations, Observations
from facelift.fitting.observed import checked, observed, reasons_against
from facelift.fitting.start import YAWS_DEG, turned_starts
from facelift.fitting.state import POSE, State
from facelift.fitting.systems import Independent, SharedShape
from facelift.fitting.ties import TiedFrames

DEFAULT = FitConfig()


@dataclass(frozen=True, eq=False)
class HeadFits:
    """Fits of b faces. Where `failure` tells a reason, all numbers of the face are NaN."""

    rotation: Float[np.ndarray, "b 3 3"]
    """cam_from_model, OpenCV axes."""
    translation: Float[np.ndarray, "b 3"]
    """cam_from_model, model units."""
    intrinsics: Float[np.ndarray, "b 3 3"]
    """With the fitted focal length, if it was fitted."""
    shape: Float[np.ndarray, "b s"]
    """Coefficients of the model, its own unit."""
    expression: Float[np.ndarray, "b e"]
    joints: Float[np.ndarray, "b j 3"]
    """Rotation vectors, rad."""
    points: Float[np.ndarray, "b l 2"]
    """The fitted points, px."""
    residuals: Float[np.ndarray, "b l"]
    """Their distances to the given points, px; NaN where none was given."""
    cost: Float[np.ndarray, "b"]
    """Half the sum of squared deviations, robust, and of the priors."""
    steps: Int[np.ndarray, "b"]
    converged: Bool[np.ndarray, "b"]
    failure: tuple[str | None, ...]

    @property
    def rms(self) -> Float[np.ndarray, "b"]:
        """Root mean square residual of the given points, px."""
        seen = np.isfinite(self.residuals)
        total = np.where(seen, self.residuals, 0.0) ** 2
        return np.sqrt(total.sum(1) / np.maximum(seen.sum(1), 1)) * np.where(seen.any(1), 1.0, np.nan)


def photo_camera(width: float, height: float) -> Float[np.ndarray, "3 3"]:
    """A camera for a photo of which nothing is known: f = sqrt(w^2 + h^2), the middle (Wood et al. 2022)."""
    focal = float(np.hypot(width, height))
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])


def fit_heads(
    head: SkinnedHead,
    points: np.ndarray,
    weights: np.ndarray | None,
    intrinsics: np.ndarray,
    *,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    frames: int = 1,
    config: FitConfig = DEFAULT,
) -> HeadFits:
    """The head whose points come nearest to the given ones, for every face.

    `points`: (b, l, 2) px, NaN where not seen. `weights`: (b, l) or (b, l, 2), confidence, or inverse deviation in
    units of `config.noise`, of a point or of each coordinate; 0 and NaN mean not seen. `intrinsics`: (3, 3) or one a
    face. `start`: (rotation (b, 3, 3), translation (b, 3)) cam_from_model; without it three yaws are tried. `frames`:
    each so many faces in turn are one person: frames or views, which share the shape, and are tied by `config.smooth`.
    First the pose alone is fitted, then everything.

    A face without enough points or with a start behind the camera is marked as failed, and does not touch the rest.
    No faces give empty arrays. Raises ValueError for arrays of other shapes.
    """
    config.check()
    count = head.basis.shape[1]
    points, weights, K = checked(points, weights, intrinsics, start, count, frames)
    reasons = reasons_against(points, weights, K, start, config)
    usable = np.array([reason is None for reason in reasons], bool)
    observations = observed(points, weights, K, usable, config, like=head.basis)
    solved = _solve(head, observations, start, usable, frames, config)
    return _result(head, solved, observations, points, weights, K, reasons)


@dataclass(frozen=True)
class _Solved:
    minimum: Minimum
    projected: Tensor
    middle: Tensor
    lost: Tensor
    """Faces whose pose has points behind the camera."""


def _solve(
    head: SkinnedHead,
    observations: Observations,
    start: tuple[np.ndarray, ...] | None,
    usable: np.ndarray,
    frames: int,
    config: FitConfig,
) -> _Solved:
    b, basis = len(usable), head.basis
    active = torch.as_tensor(usable, device=basis.device)
    coefficients, joints = basis.new_zeros(b, basis.shape[-1]), basis.new_zeros(b, head.joints)
    positions = head.positions(coefficients, joints)
    middle = head.positions(coefficients.new_zeros(1, basis.shape[-1]), joints.new_zeros(1, head.joints))[0].mean(-1)
    starts = (
        [turned_starts(positions, middle, observations, yaw) for yaw in YAWS_DEG]
        if start is None
        else [_given(start, usable, middle)]
    )
    rigid = _best_rigid(head, observations, positions, middle, starts, active, config)
    state = replace(rigid, coefficients=coefficients, joints=joints)
    equations = NormalEquations(head, observations, middle, config, frames=frames)
    lost = active & ~torch.isfinite(equations.evaluate(state)[0])
    active = active & ~lost
    seen = replace(observations, weights=torch.where(lost[:, None, None], 0.0, observations.weights))
    equations = NormalEquations(head, seen, middle, config, frames=frames)
    if frames == 1:
        system = Independent(b, sum(equations.sizes), basis)
        minimum = minimise(
            equations, system, state, iterations=config.iterations, active=active, tolerance=config.tolerance
        )
    else:
        tied = TiedFrames(equations, frames, head.shapes)
        shared = SharedShape(b // frames, frames, head.shapes, tied.tie)
        groups = active.reshape(-1, frames).any(1)
        minimum = minimise(tied, shared, state, iterations=config.iterations, active=groups, tolerance=config.tolerance)
    return _Solved(minimum, equations.project(minimum.state), middle, lost)


def _given(start: tuple[np.ndarray, ...], usable: np.ndarray, middle: Tensor) -> State:
    """The caller's poses; the identity, in front of the camera, for faces that are not fitted."""
    make = lambda array: torch.as_tensor(array, dtype=middle.dtype, device=middle.device)  # noqa: E731
    rotation = make(np.where(usable[:, None, None], start[0], np.eye(3)))
    translation = make(np.where(usable[:, None], start[1], [0.0, 0.0, 1.0]))
    place = torch.where(make(usable)[:, None] > 0, rotation @ middle + translation, translation)
    zero = place.new_zeros(len(place))
    return State(rotation, place, zero, zero[:, None][:, :0], zero[:, None][:, :0])


def _best_rigid(
    head: SkinnedHead,
    observations: Observations,
    positions: Tensor,
    middle: Tensor,
    starts: list[State],
    active: Tensor,
    config: FitConfig,
) -> State:
    """The best pose of the mean head, from any of the starts, by some of the points."""
    chosen = _some_points(positions.shape[-1], config, positions.device)
    equations = NormalEquations(head, observations.subset(chosen), middle, config, rigid=positions[..., chosen])
    best: Minimum | None = None
    for state in starts:
        found = minimise(
            equations,
            Independent(len(active), POSE, positions),
            state,
            iterations=config.rigid_iterations,
            active=active,
            tolerance=config.tolerance,
        )
        if best is None:
            best = found
        else:
            better = found.cost < best.cost
            best = replace(
                best, state=found.state.where(better, best.state), cost=torch.where(better, found.cost, best.cost)
            )
    assert best is not None  # there is a start
    return best.state


def _some_points(count: int, config: FitConfig, device: torch.device) -> Tensor:
    """Evenly chosen among all points, seen or not; all where there are no more than so many."""
    if count <= config.rigid_points:
        return torch.arange(count, device=device)
    return torch.linspace(0, count - 1, config.rigid_points, device=device).round().long()


def _result(
    head: SkinnedHead,
    solved: _Solved,
    observations: Observations,
    points: np.ndarray,
    weights: np.ndarray,
    K: np.ndarray,
    reasons: list[str | None],
) -> HeadFits:
    minimum, state = solved.minimum, solved.minimum.state
    numbers = lambda tensor: tensor.double().cpu().numpy()  # noqa: E731
    cost = numbers(minimum.cost)
    behind = "the start puts points behind the camera"
    reasons = [reason or (behind if lost else None) for reason, lost in zip(reasons, solved.lost.tolist(), strict=True)]
    shape, expression, joints = head.parameters(state.coefficients, state.joints)
    rotation = numbers(state.rotation)
    found = numbers(solved.projected).transpose(0, 2, 1)
    parts = (rotation, numbers(state.place), numbers(state.log_focal), shape, expression, joints, found, cost)
    finite = np.all([np.isfinite(part).all(tuple(range(1, part.ndim))) for part in parts], axis=0)
    unknown = "the steps ended in numbers that are not finite"
    reasons = [reason or (None if ok else unknown) for reason, ok in zip(reasons, finite.tolist(), strict=True)]
    good = np.array([reason is None for reason in reasons], bool)
    blank = lambda array: np.where(good.reshape(-1, *[1] * (array.ndim - 1)), array, np.nan)  # noqa: E731
    residuals = np.linalg.norm(found - points, axis=-1)
    intrinsics = np.array(K)
    intrinsics[:, [0, 1], [0, 1]] *= np.exp(numbers(state.log_focal))[:, None]
    return HeadFits(
        rotation=blank(rotation),
        translation=blank(numbers(state.place) - rotation @ numbers(solved.middle)),
        intrinsics=blank(intrinsics),
        shape=blank(shape),
        expression=blank(expression),
        joints=blank(joints),
        points=blank(found),
        residuals=blank(np.where((weights > 0).any(-1), residuals, np.nan)),
        cost=blank(cost),
        steps=minimum.steps.cpu().numpy(),
        converged=minimum.converged.cpu().numpy() & good,
        failure=tuple(reasons),
    )
