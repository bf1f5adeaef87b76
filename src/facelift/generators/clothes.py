"""Clothes painted on the skin's texture, from a collar line down."""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt

from facelift.morphable.open_head import OpenHead
from facelift.rendering import materials
from facelift.rendering.raster import rasterize

_FRONT_SLOPE = 0.12
"""The collar sinks by this much per cm that it comes forward."""
_BLUR_CM = 0.12


def collar_height(head: OpenHead, texture_height: int) -> Float[np.ndarray, "h w"]:
    """Height above the sloped collar plane through the origin, cm, of every texel of the skin (w = 2 h)."""
    topology = head.topology
    skin = topology.material == materials.SKIN
    corners = head.mean_cm[topology.faces[skin]].reshape(-1, 3)
    height = (corners[:, 1] + _FRONT_SLOPE * corners[:, 2]).reshape(-1, 3)
    u, v = topology.uv[skin].reshape(-1, 2).T
    pixels = np.stack([u * texture_height, (1 - v) * texture_height, np.ones_like(u)], axis=-1)
    triangles = np.arange(len(pixels), dtype=np.int32).reshape(-1, 3)
    found = rasterize(pixels, triangles, 2 * texture_height, cull=False)
    first, second = np.moveaxis(found.barycentric, -1, 0)
    own = height[found.triangle]
    texels = first * own[..., 0] + second * own[..., 1] + (1 - first - second) * own[..., 2]
    nearest = distance_transform_edt(found.triangle < 0, return_distances=False, return_indices=True)
    return texels[tuple(nearest)][:texture_height].astype(np.float32)


def dress(
    skin: Float[np.ndarray, "h w 3"], height: Float[np.ndarray, "h w"], collar_cm: float, colour: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "h w 3"]:
    """The texture with cloth of a linear colour below the collar."""
    rows = (height < collar_cm + _BLUR_CM).any(1)
    cloth = np.clip((collar_cm - height[rows]) / (2 * _BLUR_CM) + 0.5, 0, 1)[..., None]
    dressed = skin.copy()
    dressed[rows] = skin[rows] * (1 - cloth) + cloth * colour
    return dressed
