"""Cross-entropy of visibility heads, from labels that know three states."""

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


def state_cross_entropy(logits: Float[Tensor, "*b n 3"], state: Int[Tensor, "*b n"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of the three states (seen, hidden by something else, hidden by the head; LUVLi, Kumar et al.
    2020, Sec. 3) over the landmarks whose state is known; 0 if none is.
    """
    chosen = state.clamp_min(0).long()[..., None]
    loss = -logits.log_softmax(-1).gather(-1, chosen)[..., 0]
    return masked_mean(loss, (state != UNKNOWN).to(logits.dtype))
