"""A small RealNVP (Dinh et al. 2017): the density of standardised errors of points in the picture (Li et al. 2021)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

COUPLINGS = 6
HIDDEN = 64
_START_GAIN = 0.01
"""Of the networks' weights, so that the flow starts as nearly the identity."""


class RealNVP(nn.Module):
    """Six affine couplings of two coordinates, each changing one by what a network makes of the other; base N(0, I)."""

    masks: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("masks", torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(COUPLINGS // 2, 1))
        self.scales = nn.ModuleList(_network(nn.Tanh()) for _ in range(COUPLINGS))
        self.shifts = nn.ModuleList(_network() for _ in range(COUPLINGS))

    def forward(self, base: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 2"]:
        """Points of the density for points of the base."""
        x = base
        for mask, scale, shift in zip(self.masks, self.scales, self.shifts, strict=True):
            kept = x * mask
            s, t = scale(kept) * (1 - mask), shift(kept) * (1 - mask)
            x = kept + (1 - mask) * (x * s.exp() + t)
        return x

    def inverse(self, x: Float[Tensor, "*b 2"]) -> tuple[Float[Tensor, "*b 2"], Float[Tensor, "*b"]]:
        """Points of the base, and log|det d base / d x|."""
        log_determinant = x.new_zeros(x.shape[:-1])
        couplings = list(zip(self.masks, self.scales, self.shifts, strict=True))
        for mask, scale, shift in reversed(couplings):
            kept = x * mask
            s, t = scale(kept) * (1 - mask), shift(kept) * (1 - mask)
            x = kept + (1 - mask) * (x - t) * (-s).exp()
            log_determinant = log_determinant - s.sum(-1)
        return x, log_determinant

    def log_density(self, x: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b"]:
        """log phi(x) = log N(base; 0, I) + log|det|; integrates to one over the plane."""
        base, log_determinant = self.inverse(x)
        return log_determinant - math.log(2 * math.pi) - 0.5 * base.square().sum(-1)


def _network(*last: nn.Module) -> nn.Sequential:
    layers = nn.Linear(2, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 2)
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight, gain=_START_GAIN)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.LeakyReLU(), layers[1], nn.LeakyReLU(), layers[2], *last)
