"""Binary cross-entropy of the visibility head, from labels that know three states."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from facelift.datasets.sample import UNKNOWN, VISIBLE
from facelift.losses.masked_mean import masked_mean


def visibility_bce(logits: Float[Tensor, "*b n"], state: Int[Tensor, "*b n"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of "visible" over the landmarks whose state is known; 0 if none is."""
    visible = (state == VISIBLE).to(logits.dtype)
    loss = binary_cross_entropy_with_logits(logits, visible, reduction="none")
    return masked_mean(loss, (state != UNKNOWN).to(logits.dtype))
