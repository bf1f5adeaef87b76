"""Feature fields on planes, and pictures of them: rays, samples where the density is, compositing (Chan et al. 2022).

World points are canonical; rays are those of OpenCV cameras. Deterministic: samples lie in the middle of their shares
of a ray. Paper and released code: jittered by fresh random numbers in every picture.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool1d, grid_sample, max_pool1d, softplus

AXES = {
    "eg3d": ((0, 1, 2), (0, 2, 1), (2, 0, 1)),
    "panohead": ((0, 1, 2), (0, 2, 1), (1, 2, 0)),
    "all": ((0, 1, 2), (1, 2, 0), (2, 0, 1)),
}
"""Which world axes are a plane's column, row and, in grids that have it, depth. Official EG3D's planes are XY, XZ and
ZX, a slip that its weights learned with; PanoHead's XY, XZ, YZ; ours XY, YZ, ZX."""


@dataclass(frozen=True)
class RayConfig:
    """Where rays are sampled; lengths in canonical units."""

    near: float = 2.25
    """Begin of a ray, for a camera `radius` away from the origin; as much nearer or farther as the camera is."""
    far: float = 3.3
    radius: float = 2.7
    coarse: int = 48
    """Samples evenly along the ray."""
    fine: int = 48
    """Samples where those found something."""


class Rays(NamedTuple):
    """Rays of pictures, row by row."""

    origins: Float[Tensor, "b r 3"]
    directions: Float[Tensor, "b r 3"]
    """Of length 1."""


class Composite(NamedTuple):
    """What was seen along rays."""

    features: Float[Tensor, "b r c"]
    """Weighted sums; black where nothing is."""
    depth: Float[Tensor, "b r"]
    """Mean distance along the unit ray; the far end where nothing is."""
    weight: Float[Tensor, "b r"]
    """Share of the ray's light that the field stops, 0..1."""


def rays_of(
    rotation: Float[Tensor, "b 3 3"], translation: Float[Tensor, "b 3"], K: Float[Tensor, "b 3 3"], size: int
) -> Rays:
    """Through the pixel centres of size x size pictures. Camera: x_cam = R x + t; K in picture widths."""
    place = (torch.arange(size, device=rotation.device, dtype=rotation.dtype) + 0.5) / size
    v, u = torch.meshgrid(place, place, indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)], -1).reshape(-1, 3)
    directions = (pixels @ torch.linalg.inv(K).mT) @ rotation  # R^T d as rows
    origins = -(translation[:, None] @ rotation)
    return Rays(origins.expand_as(directions), torch.nn.functional.normalize(directions, dim=-1))


def sample_planes(
    planes: Float[Tensor, "b 3 c d h w"], points: Float[Tensor, "b n 3"], axes: tuple, box: float
) -> Float[Tensor, "b n 3 c"]:
    """The three grids' features at points; zero outside of the cube of side `box` about the origin.

    d = 1: planes, without a coordinate across. Otherwise grids with d cells across (tri-grids, An et al. 2023). Cells'
    centres lie inside the cube, half a cell from its sides.
    """
    b, _, c, d, h, w = planes.shape
    places = points * (2 / box)
    places = torch.stack([places[..., list(order)] for order in axes], dim=1).flatten(0, 1)
    if d == 1:
        flat = planes.reshape(3 * b, c, h, w)
        found = grid_sample(flat, places[:, None, :, :2], mode="bilinear", align_corners=False)[:, :, 0]
    else:
        solid = planes.reshape(3 * b, c, d, h, w)
        found = grid_sample(solid, places[:, None, None], mode="bilinear", align_corners=False)[:, :, 0, 0]
    return found.reshape(b, 3, c, -1).permute(0, 3, 1, 2)


def ray_ends(rays: Rays, config: RayConfig) -> tuple[Float[Tensor, "b r"], Float[Tensor, "b r"]]:
    """(near, far) of every ray."""
    moved = rays.origins.norm(dim=-1) - config.radius
    return config.near + moved, config.far + moved


def even_depths(near: Float[Tensor, "b r"], far: Float[Tensor, "b r"], count: int) -> Float[Tensor, "b r n"]:
    """In the middle of equal shares. The released code's shares overhang the far end by one."""
    share = (torch.arange(count, device=near.device, dtype=near.dtype) + 0.5) / count
    return near[..., None] + (far - near)[..., None] * share


def interval_weights(depths: Float[Tensor, "b r n"], density: Float[Tensor, "b r n"]) -> Float[Tensor, "b r m"]:
    """What each interval between neighbouring samples adds to the picture, by its ends' mean raw density."""
    middle = softplus((density[..., :-1] + density[..., 1:]) / 2 - 1)
    passed = torch.exp(-middle * (depths[..., 1:] - depths[..., :-1]))  # 1 - alpha
    before = torch.cumprod(torch.cat([torch.ones_like(passed[..., :1]), passed + 1e-10], dim=-1), dim=-1)[..., :-1]
    return (1 - passed) * before


def composite(
    depths: Float[Tensor, "b r n"], features: Float[Tensor, "b r n c"], density: Float[Tensor, "b r n"]
) -> Composite:
    """Volume rendering of samples in the order of their depth; a ray's result depends on no other ray."""
    weights = interval_weights(depths, density)
    middle = (features[..., :-1, :] + features[..., 1:, :]) / 2
    total = weights.sum(-1)
    depth = (weights * (depths[..., :-1] + depths[..., 1:]) / 2).sum(-1) / total
    depth = depth.nan_to_num(torch.inf).clamp(depths[..., 0], depths[..., -1])
    return Composite((weights[..., None] * middle).sum(-2), depth, total)


def importance_depths(
    depths: Float[Tensor, "b r n"], weights: Float[Tensor, "b r m"], count: int
) -> Float[Tensor, "b r k"]:
    """Depths so dense as the smoothed weights of the intervals, by inversion of their distribution."""
    flat = weights.flatten(0, -2)[:, None]
    smooth = avg_pool1d(max_pool1d(flat, 2, 1, padding=1), 2, 1)[:, 0] + 0.01
    smooth = smooth.reshape(weights.shape)
    cdf = torch.cumsum(smooth, -1) / smooth.sum(-1, keepdim=True)
    cdf = torch.cat([torch.zeros_like(cdf[..., :1]), cdf], -1)
    share = (torch.arange(count, device=depths.device, dtype=depths.dtype) + 0.5) / count
    share = share.expand(*depths.shape[:-1], count).contiguous()
    above: Int[Tensor, "b r k"] = torch.searchsorted(cdf.contiguous(), share, right=True).clamp(1, depths.shape[-1] - 1)
    low, high = cdf.gather(-1, above - 1), cdf.gather(-1, above)
    start, stop = depths.gather(-1, above - 1), depths.gather(-1, above)
    return start + (stop - start) * (share - low) / (high - low)
