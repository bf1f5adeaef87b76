"""The cost of a fit, its gradient and its Gauss-Newton Hessian, by the structure of a head in front of a camera.

    cost = 1/2 sum_i rho(|W_i (K X_i / z_i - y_i)|^2) + 1/2 sum_k p_k c_k^2,    X_i = R (x_i - middle) + place

The gradient pulls the points' forces back through camera, pose and joints to offsets of points, then through the basis
by one matrix product for all faces. The Hessian takes, some points of some faces at a time, rows of two per point: W_i
times the camera's derivative (2 x 3) times the basis' rows of that point.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facelift.fitting.config import FitConfig
from facelift.fitting.head import FittableHead, Posed
from facelift.fitting.state import POSE, State

MIN_DEPTH = 1e-3
"""A point nearer to the camera's plane than this share of the head's distance makes a step's cost infinite."""
_POINTS = 404
"""Points whose rows are made at a time, so that they stay in a CPU's cache."""
_FACES, _FACES_GPU = 1, 64
"""Faces likewise. One by one, so that on a CPU a face's numbers never depend on which others are fitted beside it."""


@dataclass(frozen=True)
class Observations:
    """Points of b faces as a fit sees them: finite everywhere, weight 0 where nothing is known."""

    points: Float[Tensor, "b 2 l"]
    """px."""
    weights: Float[Tensor, "b 2 l"]
    """Per px: inverse deviations."""
    focal: Float[Tensor, "b 2"]
    centre: Float[Tensor, "b 2"]

    @cached_property
    def known(self) -> Bool[Tensor, "b l"]:
        """Points with weight in either coordinate."""
        return (self.weights > 0).any(1)

    def rows(self, index: Tensor) -> "Observations":
        """The faces of an index."""
        return Observations(self.points[index], self.weights[index], self.focal[index], self.centre[index])

    def subset(self, chosen: Tensor) -> "Observations":
        """Some of the points."""
        return Observations(self.points[..., chosen], self.weights[..., chosen], self.focal, self.centre)


@dataclass(frozen=True)
class _Seen:
    """What one evaluation of the camera gives."""

    arm: Tensor
    """(b, 3, l) R (x - middle)."""
    camera: Tensor
    """(b, 3, l) in the camera's frame."""
    slope: Tensor
    """(b, 2, l) d weighted px / d ray, robust: focal / depth times weight times the root of the kernel's weight."""
    error: Tensor
    """(b, 2, l) weighted residuals, robust likewise."""
    cost: Tensor
    """(b,)"""


class NormalEquations:
    """Of one problem: a head, observations and priors. With `rigid` the head keeps the positions it is given."""

    def __init__(
        self,
        head: FittableHead,
        observations: Observations,
        middle: Float[Tensor, "3"],
        config: FitConfig,
        *,
        rigid: Float[Tensor, "b 3 l"] | None = None,
        frames: int = 1,
    ):
        """`frames`: of joint fits; each frame takes its share of the shape's prior (`config.independent_frames`)."""
        self.head, self.observations, self.middle, self.config = head, observations, middle[:, None], config
        self.rigid = rigid
        k, q = (0, 0) if rigid is not None else (head.basis.shape[-1], head.joints)
        self.focal = config.focal and rigid is None
        self.sizes = (k, q, POSE + self.focal)
        prior = head.basis.new_zeros(sum(self.sizes))
        prior[: min(k, head.shapes)] = config.shape_prior / min(frames, config.independent_frames)
        prior[head.shapes : k] = config.expression_prior
        prior[k : k + q] = torch.pi**-2 * (180 / config.joint_std_deg) ** 2
        self.prior = prior
        self.limits = head.limits if rigid is None else head.limits[:0]

    def evaluate(self, state: State) -> tuple[Float[Tensor, "b"], Float[Tensor, "b n"]]:
        """(cost, gradient); the cost is infinite where a point with weight lies behind the camera."""
        posed = self._posed(state, None)
        seen = self._see(posed.positions, state, self.observations)
        force = _pull(seen)
        pose = _pose_gradient(seen, force, state)
        parts = [pose, (seen.error * self._by_focal(seen)).sum((1, 2))[:, None]] if self.focal else [pose]
        if self.rigid is None:
            parts = [self._head_gradient(posed, state.rotation.mT @ force), *parts]
        gradient = torch.cat(parts, 1)
        k, q = self.sizes[:2]
        if k + q:
            unknowns = torch.cat([state.coefficients, state.joints], 1)
            pull = self.prior[: k + q] * unknowns
            gradient[:, : k + q] += pull
            return seen.cost + 0.5 * (pull * unknowns).sum(1), gradient
        return seen.cost, gradient

    def hessian(self, state: State, faces: Int[Tensor, "m"]) -> Float[Tensor, "m n n"]:
        """Gauss-Newton's, of some of the faces."""
        size = _FACES_GPU if faces.is_cuda else _FACES
        found = [self._hessian(state.rows(part), part) for part in faces.split(size)]
        return torch.cat(found) + torch.diag(self.prior)

    def project(self, state: State) -> Float[Tensor, "b 2 l"]:
        """px."""
        observations = self.observations
        seen = self._camera(self._posed(state, None).positions, state)[1]
        focal = observations.focal * state.log_focal.exp()[:, None]
        return seen[:, :2] / seen[:, 2:] * focal[..., None] + observations.centre[..., None]

    def _posed(self, state: State, faces: Tensor | None) -> Posed:
        """`faces`: those that the state is of, None for all."""
        if self.rigid is not None:
            positions = self.rigid if faces is None else self.rigid[faces]
            return Posed(positions, positions.new_zeros(*positions.shape, 0), None, None)
        return self.head.at(state.coefficients, state.joints)

    def _camera(self, positions: Tensor, state: State) -> tuple[Tensor, Tensor]:
        arm = state.rotation @ (positions - self.middle)
        return arm, arm + state.place[..., None]

    def _see(self, positions: Tensor, state: State, observations: Observations) -> _Seen:
        arm, camera = self._camera(positions, state)
        depth = camera[:, 2]
        in_front = depth > MIN_DEPTH * state.place[:, 2:]
        safe = torch.where(in_front, depth, state.place[:, 2:])
        camera = torch.cat([camera[:, :2], safe[:, None]], 1)
        focal = observations.focal * state.log_focal.exp()[:, None]
        slope = (focal[..., None] / safe[:, None]) * observations.weights
        shift = (observations.centre[..., None] - observations.points) * observations.weights
        error = torch.addcmul(shift, slope, camera[:, :2])
        cost, share = _kernel(error, self.config)
        behind = (~in_front & observations.known).any(-1)
        if share is not None:
            slope, error = slope * share[:, None], error * share[:, None]
        return _Seen(arm, camera, slope, error, torch.where(behind, torch.inf, cost))

    def _by_focal(self, seen: _Seen) -> Tensor:
        """(b, 2, l) d weighted px / d log focal length."""
        return seen.slope * seen.camera[:, :2]

    def _head_gradient(self, posed: Posed, force: Float[Tensor, "b 3 l"]) -> Float[Tensor, "b _"]:
        """By coefficients and joints, from the points' forces in the head's frame."""
        rest = force if posed.blend is None else (posed.blend * force[:, :, None]).sum(1)
        gradient = rest.flatten(1) @ self.head.basis.flatten(0, 1)
        if posed.carried is None:
            return gradient
        gradient = gradient + torch.einsum("bcl,lm,bmck->bk", force, self.head.carriers, posed.carried)
        return torch.cat([gradient, torch.einsum("bcl,bclq->bq", force, posed.by_joint)], 1)

    def _hessian(self, state: State, faces: Tensor) -> Tensor:
        posed = self._posed(state, faces)
        seen = self._see(posed.positions, state, self.observations.rows(faces))
        camera_rows = _camera_rows(seen)
        turned = torch.einsum("bacl,bcd->badl", camera_rows, state.rotation)
        few = [torch.einsum("badl,bdlq->balq", turned, posed.by_joint)] if self.sizes[1] else []
        few.append(_pose_rows(seen, camera_rows, state))
        if self.focal:
            few.append(self._by_focal(seen)[..., None])
        small = torch.cat(few, -1)
        gram = _Gram(len(faces), sum(self.sizes), like=turned)
        for first in range(0, turned.shape[-1], _POINTS):
            gram.add(self._rows(posed, turned, small, slice(first, first + _POINTS)))
        return gram.whole()

    def _rows(self, posed: Posed, turned: Tensor, few: Tensor, points: slice) -> Tensor:
        """(m, 2, p, n) derivatives of some points' weighted px by all unknowns."""
        if self.rigid is not None:
            return few[:, :, points]
        turned, k = turned[..., points], self.sizes[0]
        rest = turned if posed.blend is None else torch.einsum("badl,bdel->bael", turned, posed.blend[..., points])
        basis = self.head.basis[:, points]
        rows = turned.new_empty(*few[:, :, points].shape[:3], sum(self.sizes))
        torch.mul(rest[:, :, 0, :, None], basis[0], out=rows[..., :k])
        rows[..., :k].addcmul_(rest[:, :, 1, :, None], basis[1]).addcmul_(rest[:, :, 2, :, None], basis[2])
        if posed.carried is not None:
            assert self.head.carriers is not None  # beside `carried`
            moved = torch.einsum("badl,lm->balmd", turned, self.head.carriers[points])
            rows[..., :k] += (moved.flatten(1, 2).flatten(2) @ posed.carried.flatten(1, 2)).unflatten(1, (2, -1))
        rows[..., k:] = few[:, :, points]
        return rows


class _Gram:
    """Sums of rows^T rows, their upper triangles in bands of columns: a third less work than whole squares."""

    def __init__(self, faces: int, unknowns: int, *, like: Tensor):
        self._sum = like.new_zeros(faces, unknowns, unknowns)
        bands = min(4, -(-unknowns // 32))
        cuts = [unknowns * band // bands for band in range(bands + 1)]
        self._bands = list(pairwise(cuts))

    def add(self, rows: Float[Tensor, "m 2 p n"]) -> None:
        """A face at a time on a CPU, whose batched products are slower than single ones."""
        flat = rows.flatten(1, 2)
        for a, b in self._bands:
            if flat.is_cuda:
                self._sum[:, a:b, a:].baddbmm_(flat[..., a:b].mT, flat[..., a:])
                continue
            for total, face in zip(self._sum, flat, strict=True):
                total[a:b, a:].addmm_(face[:, a:b].T, face[:, a:])

    def whole(self) -> Tensor:
        """Both triangles."""
        return self._sum.triu() + self._sum.triu(1).mT


def _kernel(error: Float[Tensor, "b 2 l"], config: FitConfig) -> tuple[Float[Tensor, "b"], Tensor | None]:
    """(cost, root of each point's weight); no weights for plain squares."""
    squared = (error**2).sum(1)
    if config.kernel == "none":
        return 0.5 * squared.sum(1), None
    scale = config.kernel_scale
    if config.kernel == "cauchy":
        relative = squared / scale**2
        return 0.5 * scale**2 * torch.log1p(relative).sum(1), torch.rsqrt(1 + relative)
    length = squared.sqrt()
    far = length > scale
    cost = torch.where(far, scale * (length - 0.5 * scale), 0.5 * squared)
    return cost.sum(1), torch.where(far, scale / length, 1.0).sqrt()


def _pull(seen: _Seen) -> Float[Tensor, "b 3 l"]:
    """Gradient by each point's place in the camera's frame."""
    flat = seen.slope * seen.error
    depth = -(flat * seen.camera[:, :2]).sum(1) / seen.camera[:, 2]
    return torch.cat([flat, depth[:, None]], 1)


def _camera_rows(seen: _Seen) -> Float[Tensor, "b 2 3 l"]:
    """d weighted px / d place in the camera's frame."""
    rows = seen.slope.new_zeros(len(seen.slope), 2, 3, seen.slope.shape[-1])
    rows[:, 0, 0], rows[:, 1, 1] = seen.slope[:, 0], seen.slope[:, 1]
    rows[:, :, 2] = -seen.slope * seen.camera[:, :2] / seen.camera[:, 2:]
    return rows


def _pose_gradient(seen: _Seen, force: Tensor, state: State) -> Float[Tensor, "b 6"]:
    turn = torch.linalg.cross(seen.arm, force, dim=1).sum(-1)
    total = force.sum(-1)
    flat = state.place[:, 2:] * total[:, :2]
    return torch.cat([turn, flat, (state.place * total).sum(-1, keepdim=True)], 1)


def _pose_rows(seen: _Seen, camera_rows: Tensor, state: State) -> Float[Tensor, "b 2 l 6"]:
    """rows . (e x arm) = (arm x rows) . e for the turn; then the shift and the distance."""
    arm = seen.arm[:, None].expand_as(camera_rows)
    turn = torch.linalg.cross(arm, camera_rows, dim=2)
    flat = state.place[:, 2, None, None, None] * camera_rows[:, :, :2]
    distance = (camera_rows * state.place[:, None, :, None]).sum(2, keepdim=True)
    return torch.cat([turn, flat, distance], 2).transpose(2, 3)
