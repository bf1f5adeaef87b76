"""Distance of textures where a picture shows them."""

from jaxtyping import Bool, Float
from torch import Tensor

from facelift.losses.masked_mean import masked_mean


def seen_texels_loss(
    prediction: Float[Tensor, "b 3 s s"], target: Float[Tensor, "b 3 s s"], seen: Bool[Tensor, "b s s"]
) -> Float[Tensor, ""]:
    """Mean absolute difference over the texels that were seen; 0 if none was. What fills the others is no truth."""
    return masked_mean((prediction - target).abs().mean(1), seen.to(prediction.dtype))
