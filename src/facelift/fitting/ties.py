"""What ties the frames of a sequence to each other: small changes of expression, joints and pose."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facelift.fitting.normal_equations import NormalEquations
from facelift.fitting.state import POSE, State

POSE_UNITS = 100.0
"""A change of the pose counts in hundredths of a rad, and of the distance."""


class TiedFrames:
    """The equations of frames that share a shape, each in turn `frames` of one person, with

        1/2 smooth sum_f |u_f+1 - u_f|^2,   u = expression, joints, and the pose in `POSE_UNITS`

    added. The pose's difference is the rotation vector from one frame to the next (its own left and right Jacobian
    map it to itself, so that the gradient is exact) and the change of (x / z, y / z, log z).
    """

    def __init__(self, equations: NormalEquations, frames: int, shapes: int):
        self._equations, self._frames, self._shapes = equations, frames, shapes
        self.limits, smooth = equations.limits, equations.config.smooth
        k, q, pose = equations.sizes
        self.tie = equations.prior.new_full((k - shapes + q + pose,), smooth)
        self.tie[k - shapes : k - shapes + q] *= equations.prior[k : k + q]  # rad to deviations
        self.tie[k - shapes + q :] *= POSE_UNITS**2
        self.tie[k - shapes + q + POSE :] = 0

    def hessian(self, state: State, faces: Int[Tensor, "m"]) -> Float[Tensor, "m n n"]:
        """Without the ties, which the linear system knows."""
        return self._equations.hessian(state, faces)

    def evaluate(self, state: State) -> tuple[Float[Tensor, "b"], Float[Tensor, "b n"]]:
        """(cost, gradient); a tie's cost counts for its earlier frame."""
        cost, gradient = self._equations.evaluate(state)
        if not bool((self.tie > 0).any()):
            return cost, gradient
        change = self._changes(state)
        pull = self.tie[: change.shape[-1]] * change
        tied = 0.5 * (pull * change).sum(-1)
        cost = cost.reshape(-1, self._frames).clone()
        cost[:, :-1] += tied
        own = gradient.reshape(-1, self._frames, gradient.shape[-1])
        own[:, 1:, self._shapes : self._shapes + pull.shape[-1]] += pull
        own[:, :-1, self._shapes : self._shapes + pull.shape[-1]] -= pull
        return cost.flatten(), own.flatten(0, 1)

    def _changes(self, state: State) -> Float[Tensor, "g f m"]:
        """From each frame to the next."""
        x, y, z = state.place.unbind(-1)
        values = torch.cat([state.coefficients[:, self._shapes :], state.joints], 1)
        ray = torch.stack([x / z, y / z, z.log()], -1)
        values, ray, rotation = (t.unflatten(0, (-1, self._frames)) for t in (values, ray, state.rotation))
        turn = rotation_vector(rotation[:, 1:] @ rotation[:, :-1].mT)
        return torch.cat([values[:, 1:] - values[:, :-1], turn, ray[:, 1:] - ray[:, :-1]], -1)


def rotation_vector(rotation: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """Axis times angle (rad, below pi): the logarithm."""
    skew = torch.stack(
        [
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ],
        -1,
    )
    sine = 0.5 * skew.norm(dim=-1, keepdim=True)
    cosine = 0.5 * (rotation.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) - 1)
    angle = torch.atan2(sine, cosine)
    return 0.5 * skew * torch.where(sine > 1e-6, angle / sine.clamp_min(1e-6), 1.0)
