"""The logistic GAN loss that does not saturate, and R1 (Goodfellow et al. 2014; Mescheder et al. 2018)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus


def generator_loss(generated: Float[Tensor, "b"]) -> Float[Tensor, ""]:
    """-log sigmoid(score), mean over the batch."""
    return softplus(-generated).mean()


def critic_loss(real: Float[Tensor, "n"], generated: Float[Tensor, "m"]) -> Float[Tensor, ""]:
    """-log sigmoid(real) - log(1 - sigmoid(generated))."""
    return softplus(-real).mean() + softplus(generated).mean()


def r1_penalty(real: Float[Tensor, "b"], *inputs: Float[Tensor, "b c _h _w"]) -> Float[Tensor, ""]:
    """Half the squared gradient of real scores by the pictures that were scored, mean over the batch."""
    gradients = torch.autograd.grad(real.sum(), inputs, create_graph=True)
    return 0.5 * sum(gradient.square().sum((1, 2, 3)) for gradient in gradients).mean()  # type: ignore[union-attr]
