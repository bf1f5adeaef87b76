"""M3-LRN's loss: 3DMM, refined landmarks, 3DMM from landmarks, and the consistency of both (Wu et al. 2021)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from facelift.losses.morphable_parameters import GROUPS, ParametersLoss, parameters_loss
from facelift.losses.refined_landmarks import landmarks_loss
from facelift.models.m3lrn import M3LRNOutput


@dataclass(frozen=True)
class M3LRNTarget:
    """What is known of a batch of crops; NaN where nothing is."""

    parameters: Float[Tensor, "b p"]
    """Whitened as the network's; rows of NaN for photos without a 3DMM."""
    landmarks: Float[Tensor, "b 68 3"]
    """px of the crop; NaN in z where people marked them in the picture."""
    weight: Float[Tensor, "b 68"] | None = None
    """Of the landmarks; None: 1."""


def m3lrn_terms(
    found: M3LRNOutput, target: M3LRNTarget, *, groups: tuple[int, ...] = GROUPS, kind: ParametersLoss = "squared"
) -> dict[str, Float[Tensor, ""]]:
    """The terms by name, unweighted; `training.config.M3LRNWeights` has their factors. coarse is there only with a
    refinement, the last two only with a landmark-to-3DMM support.

    parameters, from_landmarks: `parameters_loss` of either estimate, over faces with a 3DMM. landmarks, coarse:
    `landmarks_loss` of those refined and of the 3DMM's own. consistency: `parameters_loss` between both estimates, over
    all faces, with gradient to both. Paper: without coarse, as every face has a 3DMM; here (as in the released code):
    with it, because a photo's 3DMM learns from nothing else.
    """
    terms = {
        "parameters": parameters_loss(found.whitened, target.parameters, groups=groups, kind=kind),
        "landmarks": landmarks_loss(found.landmarks, target.landmarks, weight=target.weight),
    }
    if found.landmarks is not found.coarse:
        terms["coarse"] = landmarks_loss(found.coarse, target.landmarks, weight=target.weight)
    if found.from_landmarks is not None:
        regressed = found.from_landmarks
        terms["from_landmarks"] = parameters_loss(regressed, target.parameters, groups=groups, kind=kind)
        terms["consistency"] = parameters_loss(regressed, found.whitened, groups=groups, kind=kind)
    return terms
