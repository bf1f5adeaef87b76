"""The two sides of a least-squares GAN (Mao et al. 2017, Eq. 9: real 1, generated 0)."""

from jaxtyping import Float
from torch import Tensor


def critic_loss(real: Float[Tensor, "*n"], generated: Float[Tensor, "*m"]) -> Float[Tensor, ""]:
    """1/2 E[(D(x) - 1)^2] + 1/2 E[D(G(z))^2] of the critic's scores; `generated` from textures without gradient."""
    return ((real - 1).square().mean() + generated.square().mean()) / 2


def generator_loss(generated: Float[Tensor, "*n"]) -> Float[Tensor, ""]:
    """1/2 E[(D(G(z)) - 1)^2] of the critic's scores."""
    return (generated - 1).square().mean() / 2
