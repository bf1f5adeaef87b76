"""Levenberg-Marquardt over many faces at once, each with its own damping, accepted or rejected on its own.

The gradient is exact at every step. The Hessian, by far the dearest part, is kept as long as it predicts the cost well
(a ratio of the actual to the promised decrease near 1), and made anew when it does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facelift.fitting.state import State, at_limit
from facelift.fitting.systems import LinearSystem

START_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-7, 1e6
TRUSTED = 0.3
"""A Hessian is kept while the decrease differs by no more than this share from what it promised."""


@runtime_checkable
class Equations(Protocol):
    """What is minimised."""

    limits: Float[Tensor, "m 2"]

    def evaluate(self, state: State) -> tuple[Float[Tensor, "b"], Float[Tensor, "b n"]]:
        """(cost, gradient)."""

    def hessian(self, state: State, faces: Int[Tensor, "m"]) -> Float[Tensor, "m n n"]:
        """Of some of the faces."""


@dataclass(frozen=True)
class Minimum:
    """Where the steps ended."""

    state: State
    cost: Float[Tensor, "b"]
    steps: Int[Tensor, "b"]
    """How many were tried before the face was done."""
    converged: Bool[Tensor, "b"]
    hessians: Int[Tensor, "b"]
    """How many were made."""


class _Run:
    """The loop's own state; groups of `system.frames` faces move together."""

    def __init__(self, equations: Equations, system: LinearSystem, state: State, active: Tensor, tolerance: float):
        self.equations, self.system, self.state, self.tolerance = equations, system, state, tolerance
        self.cost, self.gradient = equations.evaluate(state)
        b, n = self.gradient.shape
        groups = b // system.frames
        self.hessian = self.gradient.new_zeros(b, n, n)
        self.damping = self.gradient.new_full((groups,), START_DAMPING)
        self.done = ~(active & torch.isfinite(self.total(self.cost)))
        self.converged = torch.zeros_like(self.done)
        self.stale, self.unfactored = ~self.done, ~self.done
        self.fresh = torch.zeros_like(self.done)
        self.fixed = torch.zeros(b, n, dtype=torch.bool, device=self.gradient.device)
        self.steps, self.hessians = (torch.zeros_like(self.damping, dtype=torch.int64) for _ in range(2))

    def total(self, values: Tensor) -> Tensor:
        """Sums over the faces of each group."""
        return values.reshape(-1, self.system.frames).sum(1)

    def spread(self, values: Tensor) -> Tensor:
        """A group's value for each of its faces."""
        return values.repeat_interleave(self.system.frames)

    def step(self) -> None:
        """One step of every group that is not done."""
        self._prepare()
        step = self.system.solve(self.gradient)
        candidate = self.state.moved(step, self.equations.limits)
        cost, gradient = self.equations.evaluate(candidate)
        old, new = self.total(self.cost), self.total(cost)
        accepted = (new <= old) & ~self.done & torch.isfinite(new)
        faces = self.spread(accepted)
        promised = self._promise(step)
        kept = self._promise(candidate.step_from(self.state, step)).maximum(0.1 * promised)
        self.state = candidate.where(faces, self.state)
        self.cost = torch.where(faces, cost, self.cost)
        self.gradient = torch.where(faces[:, None], gradient, self.gradient)
        self.steps += ~self.done
        ratio = (old - new) / kept.clamp_min(1e-30)
        rounding = promised <= 10 * torch.finfo(old.dtype).eps * old  # the ratio says nothing any more
        self._judge(accepted, torch.where(rounding, 1.0, ratio), promised <= self.tolerance * old)

    def _promise(self, step: Tensor) -> Tensor:
        """By how much the quadratic model falls. Limits may cut a step so short that it rises."""
        return -self.total((self.gradient * step).sum(1)) - 0.5 * self.system.curvature(self.hessian, step)

    def _prepare(self) -> None:
        """Makes what is stale anew: Hessians, then factors."""
        m = len(self.equations.limits)
        values = torch.cat([self.state.coefficients, self.state.joints], 1)[:, :m]
        fixed = self.fixed.clone()
        fixed[:, :m] = at_limit(values, self.gradient[:, :m], self.equations.limits)
        self.unfactored |= self.total((fixed != self.fixed).any(1).float()) > 0
        self.fixed = fixed
        stale = self.stale & ~self.done
        faces = self.spread(stale).nonzero()[:, 0]
        if len(faces):
            self.hessian[faces] = self.equations.hessian(self.state, faces)
            self.hessians += stale
        self.fresh, self.unfactored = self.fresh | stale, self.unfactored | stale
        self.stale = torch.zeros_like(stale)
        groups = (self.unfactored & ~self.done).nonzero()[:, 0]
        while len(groups):
            groups = groups[self.system.factor(self.hessian, self.damping, self.fixed, groups)]
            self.damping[groups] *= 10
            self.done[groups] = self.damping[groups] > MOST_DAMPING
            groups = groups[~self.done[groups]]
        self.unfactored = torch.zeros_like(stale)

    def _judge(self, accepted: Tensor, ratio: Tensor, ended: Tensor) -> None:
        """Damping, what is stale now, and who is done."""
        good = accepted & ((ratio - 1).abs() <= TRUSTED)
        rejected = ~accepted & ~self.done & ~(ratio >= 1)
        raised = (rejected & self.fresh) | (accepted & (ratio < 0.25))
        damping = torch.where(accepted & (ratio > 0.5), self.damping / 10, self.damping)
        damping = torch.where(raised, self.damping * 10, damping).clamp_min(LEAST_DAMPING)
        self.unfactored |= rejected & self.fresh
        self.stale = (accepted & ~good) | (rejected & ~self.fresh)
        self.fresh &= ~accepted
        if self.tolerance > 0:  # a strongly damped step promises little wherever it is
            self.converged |= ended & ~self.done & (accepted | (self.damping <= START_DAMPING))
            self.done |= ended
        self.damping = damping
        self.done |= damping > MOST_DAMPING


def minimise(
    equations: Equations,
    system: LinearSystem,
    state: State,
    *,
    iterations: int,
    active: Bool[Tensor, "m"],
    tolerance: float,
    watch: Callable[[int, Float[Tensor, "b"]], None] | None = None,
) -> Minimum:
    """The state after at most so many steps; groups that are not `active` stay where they are.

    A group is done when a step promises less than `tolerance` of its cost, or no damping helps. `watch` is told the
    step and the costs.
    """
    run = _Run(equations, system, state, active, tolerance)
    for index in range(iterations):
        if bool(run.done.all()):
            break
        run.step()
        if watch is not None:
            watch(index, run.cost)
    return Minimum(run.state, run.cost, run.spread(run.steps), run.spread(run.converged), run.spread(run.hessians))
