"""Damped linear systems of a fit: of faces on their own, or of frames that share a shape."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@runtime_checkable
class LinearSystem(Protocol):
    """Factors of damped Hessians, kept until they are replaced: `factor` for some groups, `solve` for all."""

    frames: int
    """Faces of a group: those that a step is accepted for together."""

    def factor(
        self, hessian: Float[Tensor, "b n n"], damping: Float[Tensor, "m"], fixed: Bool[Tensor, "b n"], groups: Tensor
    ) -> Bool[Tensor, "m"]:
        """Of the groups of an index; unknowns that are `fixed` get no step. Returns which of these have no factor as
        their matrix is not positive definite."""

    def solve(self, gradient: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        """The step -H^-1 g."""

    def curvature(self, hessian: Float[Tensor, "b n n"], step: Float[Tensor, "b n"]) -> Float[Tensor, "m"]:
        """s^T H s of each group, without damping."""


class Independent:
    """Each face on its own: one Cholesky factor a face."""

    frames = 1

    def __init__(self, faces: int, unknowns: int, like: Tensor):
        self._factors = torch.eye(unknowns, dtype=like.dtype, device=like.device).repeat(faces, 1, 1)
        self._fixed = torch.zeros(faces, unknowns, dtype=torch.bool, device=like.device)

    def factor(self, hessian: Tensor, damping: Tensor, fixed: Tensor, groups: Tensor) -> Tensor:
        """One Cholesky decomposition a face of the index."""
        matrix = damped(hessian[groups], damping[groups], fixed[groups])
        self._factors[groups], info = torch.linalg.cholesky_ex(matrix)
        self._fixed[groups] = fixed[groups]
        return info > 0

    def solve(self, gradient: Tensor) -> Tensor:
        """Zero for what is fixed."""
        right = torch.where(self._fixed, 0.0, -gradient)
        return torch.cholesky_solve(right[..., None], self._factors)[..., 0]

    def curvature(self, hessian: Tensor, step: Tensor) -> Tensor:
        """Of each face."""
        return quadratic(hessian, step)


def quadratic(hessian: Float[Tensor, "b n n"], step: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
    """s^T H s."""
    return ((hessian @ step[..., None])[..., 0] * step).sum(-1)


def damped(hessian: Float[Tensor, "b n n"], damping: Float[Tensor, "b"], fixed: Bool[Tensor, "b n"]) -> Tensor:
    """H + damping diag(H) (Marquardt 1963), fixed unknowns cut loose."""
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    matrix = torch.where(fixed[:, :, None] | fixed[:, None, :], 0.0, hessian)
    added = torch.where(fixed, 1.0, damping[:, None] * diagonal + 1e-12 * diagonal.amax(-1, keepdim=True))
    matrix.diagonal(dim1=-2, dim2=-1).add_(added)
    return matrix


@dataclass
class SharedShape:
    """Frames of one person: the first unknowns, the shape, are one for all frames of a group; the rest is each frame's
    own, and may be tied to the next frame's.

    The frames' unknowns are eliminated first (block-tridiagonal Cholesky, block-diagonal without ties), then the shape
    is solved for by their Schur complement.
    """

    groups: int
    frames: int
    shapes: int
    tie: Float[Tensor, "m"]
    """Weight of the squared difference of each of a frame's own unknowns to the next frame's."""

    def __post_init__(self) -> None:
        self._parts: list = [None] * self.groups

    def factor(self, hessian: Tensor, damping: Tensor, fixed: Tensor, groups: Tensor) -> Tensor:
        """Group by group."""
        refused = []
        for group in groups.tolist():
            rows = slice(group * self.frames, (group + 1) * self.frames)
            own = hessian[rows].clone()
            own[:, self.shapes :, self.shapes :].diagonal(dim1=-2, dim2=-1).add_(self.tie * self._neighbours(own))
            held = fixed[rows].clone()
            held[:, : self.shapes] = held[:, : self.shapes].all(0)
            matrix = damped(own, damping[group].expand(self.frames), held)
            self._parts[group], info = self._eliminate(matrix, held)
            refused.append(info > 0)
        return torch.stack(refused)

    def _neighbours(self, like: Tensor) -> Tensor:
        """(f, 1) how many frames each is tied to."""
        count = torch.full((self.frames, 1), 2.0, dtype=like.dtype, device=like.device)
        count[0] -= 1
        count[-1] -= 1
        return count

    def _eliminate(self, matrix: Tensor, held: Tensor) -> tuple[tuple, Tensor]:
        """Parts of the factor, and a number above 0 where there is none."""
        s = self.shapes
        own, cross, shape = matrix[:, s:, s:], matrix[:, s:, :s], matrix[:, :s, :s].sum(0)
        between = torch.where(held[1:, s:] | held[:-1, s:], 0.0, -self.tie)
        chain = _Chain(own, between)
        pulled = chain.solve(cross)
        complement = shape - torch.einsum("fms,fmt->st", cross, pulled)
        factor, info = torch.linalg.cholesky_ex(complement)
        return (chain, cross, pulled, factor, held), info.maximum(chain.info)

    def solve(self, gradient: Tensor) -> Tensor:
        """Group by group; the shape's step stands in every frame."""
        steps = [torch.zeros_like(part) for part in gradient.reshape(self.groups, self.frames, -1)]
        for group, parts in enumerate(self._parts):
            if parts is not None:
                rows = slice(group * self.frames, (group + 1) * self.frames)
                steps[group] = self._solve(-gradient[rows], parts)
        return torch.cat(steps)

    def curvature(self, hessian: Tensor, step: Tensor) -> Tensor:
        """Of all frames of a group, and of their ties."""
        own = step.reshape(self.groups, self.frames, -1)[..., self.shapes :]
        tied = (self.tie * (own[:, 1:] - own[:, :-1]) ** 2).sum((1, 2))
        return quadratic(hessian, step).reshape(self.groups, self.frames).sum(1) + tied

    def _solve(self, right: Tensor, parts: tuple) -> Tensor:
        chain, cross, pulled, factor, held = parts
        right = torch.where(held, 0.0, right)
        own, shape = right[:, self.shapes :], right[:, : self.shapes].sum(0)
        reduced = shape - torch.einsum("fms,fm->s", pulled, own)
        step = torch.cholesky_solve(reduced[:, None], factor)[:, 0] if self.shapes else shape
        rest = chain.solve((own - cross @ step)[..., None])[..., 0]
        return torch.cat([step.expand(self.frames, -1), rest], 1)


class _Chain:
    """A symmetric block-tridiagonal matrix: blocks (f, m, m), and diagonals (f - 1, m) between neighbours. `info` is
    above 0 where it is not positive definite."""

    def __init__(self, blocks: Tensor, between: Tensor):
        self._between = between if bool((between != 0).any()) else None
        if self._between is None:
            self._factors, infos = torch.linalg.cholesky_ex(blocks)
            self.info = infos.max()
            return
        factors = [torch.linalg.cholesky_ex(blocks[0])]
        for block, tie in zip(blocks[1:], between, strict=True):
            inverse = torch.cholesky_solve(torch.diag(tie), factors[-1][0])
            factors.append(torch.linalg.cholesky_ex(block - tie[:, None] * inverse))
        self._factors = torch.stack([factor for factor, _ in factors])
        self.info = torch.stack([info for _, info in factors]).max()

    def solve(self, right: Float[Tensor, "f m r"]) -> Float[Tensor, "f m r"]:
        if self._between is None:
            return torch.cholesky_solve(right, self._factors)
        forward = [right[0]]
        for index, tie in enumerate(self._between):
            before = torch.cholesky_solve(forward[-1], self._factors[index])
            forward.append(right[index + 1] - tie[:, None] * before)
        found = [torch.cholesky_solve(forward[-1], self._factors[-1])]
        for index in range(len(right) - 2, -1, -1):
            rest = forward[index] - self._between[index][:, None] * found[-1]
            found.append(torch.cholesky_solve(rest, self._factors[index]))
        return torch.stack(found[::-1])
