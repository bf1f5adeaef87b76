"""Negative log likelihoods of points with a deviation for each coordinate: NGLL, NLLL and ResLL (Simic 2022, after Li
et al. 2021)."""

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from facelift.losses.laplacian import laplacian_nll
from facelift.models.flow import RealNVP

Base = Literal["gaussian", "laplacian"]
_NODES = 48
"""Quadrature nodes along each axis."""


def gaussian_nll(residual: Float[Tensor, "*b 2"], sigma: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b"]:
    """-log P = sum over x, y of log sigma + 1/2 log 2 pi + 1/2 (r / sigma)^2."""
    values = sigma.log() + 0.5 * math.log(2 * math.pi) + 0.5 * (residual / sigma).square()
    return values.sum(-1)


def independent_laplacian_nll(residual: Float[Tensor, "*b 2"], sigma: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b"]:
    """-log P = sum over x, y of log(sqrt 2 sigma) + sqrt 2 |r| / sigma: sigma is the true deviation."""
    return laplacian_nll(residual[..., None], sigma[..., None, None]).sum(-1)


NLL = {"gaussian": gaussian_nll, "laplacian": independent_laplacian_nll}


def residual_nll(
    residual: Float[Tensor, "*b 2"], sigma: Float[Tensor, "*b 2"], flow: RealNVP, base: Base
) -> Float[Tensor, "*b"]:
    """-log P with P = Q(x) phi(x) / (Z sigma_x sigma_y), x = r / sigma: residual likelihood (Li et al. 2021, Eq. 9).

    Q: the base of deviation 1; phi: the flow's density; Z = E_Q[phi], by quadrature, so that P integrates to one.
    Paper: log Z is dropped; its released code also counts log sigma twice, once in Q. Here neither.
    """
    x = residual / sigma
    return NLL[base](residual, sigma) - flow.log_density(x) + log_mean_density(flow, base)


def log_mean_density(flow: RealNVP, base: Base) -> Float[Tensor, ""]:
    """log E_Q[phi], Q the base of deviation 1 in both coordinates, by Gaussian quadrature; differentiable.

    The integral of Q phi is that of (Q + phi) h, h = Q phi / (Q + phi): means of h under Q and under phi. h is nowhere
    above Q or phi, so that a density narrower than the other's nodes cannot hide between them.
    """
    under_base = _nodes(base, flow.masks)
    under_flow = _nodes("gaussian", flow.masks)
    points = torch.cat([under_base[0], flow(under_flow[0])])
    log_q = -NLL[base](points, torch.ones_like(points))
    log_phi = flow.log_density(points)
    log_h = log_q + log_phi - torch.logaddexp(log_q, log_phi)
    return torch.logsumexp(log_h + torch.cat([under_base[1], under_flow[1]]), 0)


def _nodes(base: Base, like: Tensor) -> tuple[Float[Tensor, "k 2"], Float[Tensor, "k"]]:
    """(nodes, log weights) of the mean under a base of deviation 1 in both coordinates."""
    nodes, weights = _quadrature(base)
    grid = torch.cartesian_prod(*(torch.as_tensor(nodes).to(like),) * 2)
    return grid, torch.as_tensor(np.log(np.outer(weights, weights).ravel())).to(like)


def _quadrature(base: Base) -> tuple[np.ndarray, np.ndarray]:
    """(nodes, weights) of the mean over one coordinate of deviation 1."""
    if base == "gaussian":
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    else:
        half, weight = np.polynomial.laguerre.laggauss(_NODES // 2)
        nodes, weights = np.concatenate([-half, half]) / math.sqrt(2), np.concatenate([weight, weight])
    return nodes, weights / weights.sum()
