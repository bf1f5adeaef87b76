"""The unknowns of a batch of fits, and how a step moves them."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from facelift.geometry.rotation import rotation_from_vector

FARTHER = 1.0
"""A step moves the log distance by no more."""
POSE = 6
"""Turn (rad, in the camera's frame, about the head's middle), shift (shares of the distance), log distance."""


@dataclass(frozen=True)
class State:
    """Unknowns of b faces. A point x of the head lies at rotation (x - middle) + place in the camera's frame."""

    rotation: Float[Tensor, "b 3 3"]
    place: Float[Tensor, "b 3"]
    log_focal: Float[Tensor, "b"]
    """Log of the factor on the given focal lengths."""
    coefficients: Float[Tensor, "b k"]
    joints: Float[Tensor, "b q"]

    def moved(self, step: Float[Tensor, "b n"], limits: Float[Tensor, "m 2"]) -> "State":
        """After a step (coefficients, joints, pose, log focal length if it is free), coefficients and joints kept
        within the limits. The distance is multiplied, so that no step passes the camera."""
        k, q = self.coefficients.shape[1], self.joints.shape[1]
        coefficients, joints, pose, focal = step.split([k, q, POSE, step.shape[1] - k - q - POSE], 1)
        low, high = limits.unbind(-1)
        x, y, z = self.place.unbind(-1)
        shifted = torch.stack([x + z * pose[:, 3], y + z * pose[:, 4], z], -1)
        return State(
            rotation_from_vector(pose[:, :3]) @ self.rotation,
            shifted * pose[:, 5:].clamp(-FARTHER, FARTHER).exp(),
            self.log_focal + focal.sum(-1),
            torch.minimum(torch.maximum(self.coefficients + coefficients, low[:k]), high[:k]),
            torch.minimum(torch.maximum(self.joints + joints, low[k:]), high[k:]),
        )

    def step_from(self, before: "State", step: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        """The step as it was done: coefficients, joints and distance go no further than their limits."""
        done = torch.cat([self.coefficients - before.coefficients, self.joints - before.joints], 1)
        rest = step[:, done.shape[1] :].clone()
        rest[:, POSE - 1].clamp_(-FARTHER, FARTHER)
        return torch.cat([done, rest], 1)

    def where(self, chosen: Bool[Tensor, "b"], other: "State") -> "State":
        """This state of the chosen faces, the other of the rest."""

        def pick(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b)

        return State(*(pick(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))

    def rows(self, index: Tensor) -> "State":
        """The faces of an index."""
        return State(*(getattr(self, f.name)[index] for f in fields(self)))


def at_limit(
    values: Float[Tensor, "b m"], gradient: Float[Tensor, "b m"], limits: Float[Tensor, "m 2"]
) -> Bool[Tensor, "b m"]:
    """What lies at a limit and is pushed beyond it by the gradient: a step leaves it where it is."""
    low, high = limits.unbind(-1)
    return ((values <= low) & (gradient > 0)) | ((values >= high) & (gradient < 0))
