"""Depth and projected normalised coordinates (PNCC) of a mesh as pictures."""

import numpy as np
from jaxtyping import Float, UInt8

from facelift.rendering.mesh_view import MeshView

DARKEST = 40
"""Grey of the farthest surface in a picture of depth; 0 is nothing."""


def normalised_coordinates(mean: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    """The mean shape's coordinates, each axis from 0 to 1: the colour by which a network knows a vertex (Zhu et al.
    2016, Eq. 4). An axis along which the shape has no extent is 0."""
    low = mean.min(0)
    extent = mean.max(0) - low
    return (mean - low) / np.where(extent > 0, extent, 1)


def pncc(view: MeshView, codes: Float[np.ndarray, "v 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """The codes of `normalised_coordinates` at the pixels of the mesh, 0..1 as 0..255; black where there is none."""
    return np.rint(255 * view.interpolate(codes)).astype(np.uint8)


def depth_picture(depth: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Depth (NaN where there is nothing) in grey: the nearest white, the farthest dark, nothing black."""
    there = np.isfinite(depth)
    if not there.any():
        return np.zeros(depth.shape, np.uint8)
    nearest, farthest = depth[there].min(), depth[there].max()
    share = (farthest - depth[there]) / max(farthest - nearest, 1e-9)
    picture = np.zeros(depth.shape, np.uint8)
    picture[there] = np.rint(DARKEST + (255 - DARKEST) * share)
    return picture
