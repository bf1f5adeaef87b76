"""What a fit asks of a head: the positions of some of its points, and how they move with every parameter."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from facelift.geometry.rotation import cross_matrix, rotation_from_vector
from facelift.morphable.skinned import SkinnedModel, carried


@dataclass(frozen=True)
class Posed:
    """Chosen points of b faces in the head's frame, and their derivatives in factors.

    By coefficient k a point i moves by `blend`_i B_ki + sum_m `carriers`_im `carried`_mk, B the head's `basis`: no
    array of all faces, points and coefficients is ever made. Coordinates stand in planes, x then y then z.
    """

    positions: Float[Tensor, "b 3 l"]
    by_joint: Float[Tensor, "b 3 l q"]
    """Per rad of each free joint axis."""
    blend: Float[Tensor, "b 3 3 l"] | None
    """None: the identity, in a head without joints."""
    carried: Float[Tensor, "b m 3 k"] | None
    """How the joints' own places, which follow the coefficients, carry the points."""


@runtime_checkable
class FittableHead(Protocol):
    """The one door by which heads come into a fit. Parameters are (coefficients, joints): coefficients in deviations
    about their usual mean, shape before expression; joints are angles in rad about the free axes."""

    basis: Float[Tensor, "3 l k"]
    """Offsets of the points per deviation of a coefficient."""
    carriers: Float[Tensor, "l m"] | None
    shapes: int
    """How many of the coefficients are shape."""
    limits: Float[Tensor, "n 2"]
    """Of coefficients, then joints; infinite where there are none."""

    @property
    def joints(self) -> int:
        """Free joint axes."""

    def at(self, coefficients: Float[Tensor, "b k"], joints: Float[Tensor, "b q"]) -> Posed:
        """Positions and derivatives."""

    def positions(self, coefficients: Float[Tensor, "b k"], joints: Float[Tensor, "b q"]) -> Float[Tensor, "b 3 l"]:
        """Positions alone."""


class SkinnedHead:
    """Points of a `SkinnedModel`: each a weighted sum of the model's vertices, summed before they are skinned.

    For points inside of a triangle whose corners follow joints by different shares this differs from the surface by
    their differences' product (tests/fitting bounds it); vertices are exact.
    """

    def __init__(
        self,
        model: SkinnedModel,
        vertices: np.ndarray,
        weights: np.ndarray | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        """`vertices`: (l,) indices, or (l, c) with `weights` of the same shape. Raises ValueError for others."""
        vertices = np.asarray(vertices)
        if weights is None:
            vertices, weights = vertices[:, None], np.ones((len(vertices), 1))
        if vertices.shape != weights.shape or not 0 <= vertices.min(initial=0) <= vertices.max(initial=0) < len(
            model.mean
        ):
            raise ValueError(
                f"points of a head: expected vertices 0..{len(model.mean) - 1} with weights, found "
                f"{vertices.min(initial=0)}..{vertices.max(initial=0)}, {vertices.shape} and {weights.shape}"
            )
        self._make = lambda array: torch.as_tensor(np.ascontiguousarray(array), dtype=dtype, device=device)
        self._chosen, self._weights = vertices, weights
        self.model, self.shapes = model, len(model.shape)
        self._mean, basis = self._whitened(model)
        self.basis = self._make(basis.transpose(2, 1, 0))
        self._free = np.flatnonzero(model.joints.free.ravel())
        self.limits = self._make(np.concatenate([self._coefficient_limits(model), self._joint_limits(model)]))
        self.carriers: Tensor | None = None
        if model.joints.names:
            self._read_joints(model)

    @property
    def joints(self) -> int:
        """Free joint axes."""
        return len(self._free)

    def _mixed(self, values: np.ndarray) -> np.ndarray:
        """(..., v, c) -> (..., l, c), float64."""
        picked = values[..., self._chosen, :].astype(np.float64)
        return (picked * self._weights[..., None]).sum(-2)

    def _whitened(self, model: SkinnedModel) -> tuple[Tensor, np.ndarray]:
        """Mean (3, l) and basis (k, l, 3) about the coefficients' mean, per deviation."""
        rows = np.concatenate([self._mixed(model.shape), self._mixed(model.expression)])
        mean = self._mixed(model.mean) + np.tensordot(model.coefficient_mean.astype(np.float64), rows, 1)
        return self._make(mean.T), rows * model.coefficient_std[:, None, None]

    @staticmethod
    def _coefficient_limits(model: SkinnedModel) -> np.ndarray:
        return (model.limits - model.coefficient_mean[:, None]) / model.coefficient_std[:, None]

    def _joint_limits(self, model: SkinnedModel) -> np.ndarray:
        return model.joints.limits_rad.reshape(-1, 2)[self._free]

    def _read_joints(self, model: SkinnedModel) -> None:
        """Places of the joints as a linear model of their own, and what follows them."""
        regressor, deviation = model.joints.regressor.astype(np.float64), model.coefficient_std[:, None, None]
        basis = np.concatenate([regressor @ model.shape, regressor @ model.expression]) * deviation
        mean = regressor @ model.mean + np.tensordot(model.coefficient_mean / model.coefficient_std, basis, 1)
        self._joint_mean, self._joint_basis = self._make(mean), self._make(basis.transpose(1, 2, 0))
        self.carriers = self._make(self._mixed(model.joints.weights))
        corrected = model.correctives
        self._correctives = None if corrected is None else self._make(self._mixed(corrected).transpose(2, 1, 0))

    def parameters(self, coefficients: Tensor, joints: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(shape (b, s), expression (b, e), joints (b, j, 3)) of the model, from a fit's deviations and free angles."""
        own = coefficients.double().cpu().numpy() * self.model.coefficient_std + self.model.coefficient_mean
        turns = self._rotation_vectors(joints).double().cpu().numpy()
        return own[:, : self.shapes], own[:, self.shapes :], turns

    def _rotation_vectors(self, joints: Tensor) -> Tensor:
        """(b, j, 3), zero about the axes that are not free."""
        whole = joints.new_zeros(len(joints), 3 * len(self.model.joints.names))
        whole[:, self._free] = joints
        return whole.reshape(len(joints), len(self.model.joints.names), 3)

    def _rest(self, coefficients: Tensor) -> Tensor:
        """(b, 3, l) before joints turn: one matrix product for all faces."""
        k = self.basis.shape[-1]
        offsets = (
            coefficients @ self._flat_basis.T if k else coefficients.new_zeros(len(coefficients), self._mean.numel())
        )
        return offsets.reshape(len(coefficients), *self._mean.shape) + self._mean

    @cached_property
    def _flat_basis(self) -> Tensor:
        return self.basis.reshape(-1, self.basis.shape[-1])

    def positions(self, coefficients: Float[Tensor, "b k"], joints: Float[Tensor, "b q"]) -> Float[Tensor, "b 3 l"]:
        """Positions alone."""
        rest = self._rest(coefficients)
        return rest if self.carriers is None else self._skin(rest, coefficients, joints)[0]

    def at(self, coefficients: Float[Tensor, "b k"], joints: Float[Tensor, "b q"]) -> Posed:
        """Positions and derivatives."""
        rest = self._rest(coefficients)
        if self.carriers is None:
            return Posed(rest, rest.new_zeros(*rest.shape, 0), None, None)
        positions, parts = self._skin(rest, coefficients, joints)
        return Posed(positions, self._by_joint(parts), parts.blend, self._carried(parts))

    def _skin(self, rest: Tensor, coefficients: Tensor, joints: Tensor) -> "tuple[Tensor, _Skinned]":
        rotations = rotation_from_vector(self._rotation_vectors(joints))
        places = self._joint_mean + torch.einsum("jck,bk->bjc", self._joint_basis, coefficients)
        eye = torch.eye(3, dtype=rest.dtype, device=rest.device)
        if self._correctives is not None:
            bend = (rotations - eye).flatten(1)
            rest = rest + torch.einsum("clp,bp->bcl", self._correctives, bend)
        turns, shifts = carried(rotations, places, self.model.joints.parents)
        assert self.carriers is not None  # the caller looked
        blend = torch.einsum("lj,bjxy->bxyl", self.carriers, turns - eye) + eye[..., None]
        positions = (blend * rest[:, None]).sum(2) + torch.einsum("lj,bjc->bcl", self.carriers, shifts)
        return positions, _Skinned(rest, places, rotations, turns, shifts, blend, self._rotation_vectors(joints))

    def _carried(self, parts: "_Skinned") -> Tensor:
        """d shift_j / d coefficients: shifts are linear in the joints' places."""
        zero = torch.zeros_like(parts.places)
        _, columns = carried(
            parts.rotations[:, None].expand(-1, self._joint_basis.shape[-1], -1, -1, -1),
            self._joint_basis.permute(2, 0, 1).expand(len(zero), -1, -1, -1),
            self.model.joints.parents,
        )
        return columns.permute(0, 2, 3, 1)

    def _by_joint(self, parts: "_Skinned") -> Tensor:
        """d positions / d angles (b, 3, l, q)."""
        columns = [self._by_axis(parts, index // 3, index % 3) for index in self._free.tolist()]
        return torch.stack(columns, -1)

    def _by_axis(self, parts: "_Skinned", joint: int, axis: int) -> Tensor:
        """(b, 3, l): the joint and all that it carries turn about it; correctives bend the rest."""
        slope = rotation_slope(parts.vectors[:, joint], parts.rotations[:, joint], axis)
        parent = int(self.model.joints.parents[joint])
        before = parts.turns[:, parent] if parent >= 0 else torch.eye(3, dtype=slope.dtype, device=slope.device)
        d_turn = before @ slope
        d_shift = -(d_turn @ parts.places[:, joint, :, None])[..., 0]
        moved = self._followers(joint, parts, d_turn, d_shift)
        if self._correctives is not None:
            bend = self._correctives[..., 9 * joint : 9 * joint + 9]
            rest = torch.einsum("clp,bp->bcl", bend, slope.reshape(len(slope), 9))
            moved = moved + (parts.blend * rest[:, None]).sum(2)
        return moved

    def _followers(self, joint: int, parts: "_Skinned", d_turn: Tensor, d_shift: Tensor) -> Tensor:
        """What joint and those that it carries do to the points, when its own matrix changes."""
        assert self.carriers is not None  # the caller looked
        own = parts.turns[:, joint]
        total: Tensor | float = 0.0
        for index in self._carried_by(joint):
            rest_turn = own.mT @ parts.turns[:, index]
            rest_shift = (own.mT @ (parts.shifts[:, index] - parts.shifts[:, joint])[..., None])[..., 0]
            turned = d_turn @ rest_turn @ parts.rest
            shifted = (d_turn @ rest_shift[..., None])[..., 0] + d_shift
            total = total + self.carriers[:, index] * (turned + shifted[..., None])
        assert isinstance(total, Tensor)  # a joint carries itself
        return total

    def _carried_by(self, joint: int) -> list[int]:
        """The joint and all after it that hang on it."""
        found = [joint]
        for index, parent in enumerate(self.model.joints.parents):
            if int(parent) in found and index not in found:
                found.append(index)
        return found


@dataclass(frozen=True)
class _Skinned:
    """What skinning computes on its way."""

    rest: Tensor
    places: Tensor
    rotations: Tensor
    turns: Tensor
    shifts: Tensor
    blend: Tensor
    vectors: Tensor


def rotation_slope(vector: Float[Tensor, "b 3"], rotation: Float[Tensor, "b 3 3"], axis: int) -> Float[Tensor, "b 3 3"]:
    """d R / d vector_axis for R = `rotation_from_vector(vector)`: [J e]_x R with the left Jacobian J of SO(3)."""
    angle = vector.norm(dim=-1)
    squared = angle.clamp_min(1e-4) ** 2
    small = angle < 1e-3
    second = torch.where(small, 0.5 - angle**2 / 24, (1 - angle.cos()) / squared)
    third = torch.where(small, 1 / 6 - angle**2 / 120, (angle - angle.sin()) / (squared * angle.clamp_min(1e-4)))
    K = cross_matrix(vector)
    left = torch.eye(3, dtype=K.dtype, device=K.device) + second[:, None, None] * K + third[:, None, None] * (K @ K)
    return cross_matrix(left[..., axis]) @ rotation
