"""Error of whitened 3DMM parameters: L_3DMM of M3-LRN (Wu et al. 2021), for all three estimates that it compares."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from facelift.losses.masked_mean import masked_mean

ParametersLoss = Literal["squared", "root"]
GROUPS = (12, 40, 10)
"""Numbers of pose, shape and expression."""


def parameters_loss(
    prediction: Float[Tensor, "b p"],
    target: Float[Tensor, "b p"],
    *,
    groups: tuple[int, ...] = GROUPS,
    kind: ParametersLoss = "squared",
) -> Float[Tensor, ""]:
    """Mean over faces, whitened parameters in (1 = one standard deviation), of the sum over groups m of

        squared: e_m, the mean of (prediction - target)^2 in the group      root: sqrt(sum of all e_m)

    A face without truth is a row with NaN in `target` and does not count; 0 without any face.
    Paper: the sum of ||prediction - target||^2 of the groups [?]; here: their means, because a group's pull should not
    grow with its size. So does the released code, which takes the root, and shape and expression for one group.
    Raises ValueError for groups that are not all parameters.
    """
    if sum(groups) != prediction.shape[-1]:
        raise ValueError(f"parameters: expected {sum(groups)} of {groups}, found {prediction.shape[-1]}")
    known = target.isfinite().all(-1)
    residual = prediction - target.where(known[:, None], prediction.detach())
    errors = torch.stack([part.square().mean(-1) for part in residual.split(list(groups), dim=-1)]).sum(0)
    return masked_mean(errors if kind == "squared" else (errors + 1e-12).sqrt(), known.to(errors.dtype))
