"""Face-swap augmentation (Wu et al. 2021): the texture of one face on the geometry of another, in the other's picture.

Pixels change, labels do not: shape, expression, pose and landmarks of the picture's own face stay what they were.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8

from facelift.rendering.mesh_view import MeshView
from facelift.rendering.raster import rasterize_parallel
from facelift.rendering.uv_textures import UvLayout, faded, share_of_first, shown_colours

FEATHER, SEAM = 0.08, 0.03
"""Widths, in square roots of the face's area, over which the swapped face fades into the picture, and what the other
picture shows into what it shows mirrored."""
SPREAD = (0.5, 2.0)
"""Least and greatest factor of contrast by which the swapped face is matched to the picture."""


def draw_partners(rng: np.random.Generator, count: int, share: float) -> Int[np.ndarray, "b"]:
    """The face whose texture each face of a mini-batch gets: itself, or for a random `share` of them another of these,
    each once. One alone stays itself."""
    partners = np.arange(count)
    chosen = rng.permutation(np.flatnonzero(rng.random(count) < share))
    partners[chosen] = np.roll(chosen, 1)
    return partners


def swap_textures(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    vertices: Sequence[Float[np.ndarray, "v 3"]],
    partners: Int[np.ndarray, "b"],
    layout: UvLayout,
    *,
    colour_match: float = 1.0,
) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """The square pictures of a mini-batch, each with its partner's texture; as it was where the partner is itself.

    `vertices`: of each face in its own picture (image frame), all of the mesh of `layout`. More at `swap_texture`.
    """
    views = [
        MeshView(placed, layout.faces, image.shape[:2], rasterize_parallel)
        for image, placed in zip(images, vertices, strict=True)
    ]
    return [
        image if i == j else swap_texture(image, views[i], images[j], views[j], layout, colour_match=colour_match)
        for i, (image, j) in enumerate(zip(images, partners.tolist(), strict=True))
    ]


def swap_texture(
    image: UInt8[np.ndarray, "h w 3"],
    view: MeshView,
    other_image: UInt8[np.ndarray, "i j 3"],
    other_view: MeshView,
    layout: UvLayout,
    *,
    colour_match: float = 1.0,
) -> UInt8[np.ndarray, "h w 3"]:
    """`image` with the other face's texture on its own face.

    Where the other picture does not show a place, it takes the mirrored one if the layout is symmetric; what neither
    shows, and all outside of the mesh, stays. `colour_match` 1 gives the new colours the mean and the contrast of those
    that they replace, 0 leaves them.
    """
    surface = view.front
    side_px = float(np.sqrt((surface.triangle >= 0).sum()))
    colours, shown = shown_colours(other_image, other_view, surface)
    if layout.symmetric:
        mirrored, mirror_shown = shown_colours(other_image, other_view, layout.mirrored(surface))
        own = share_of_first(faded(shown, SEAM * side_px), faded(mirror_shown, SEAM * side_px))
        colours, shown = own * colours + (1 - own) * mirrored, shown | mirror_shown
    weight = faded(shown, FEATHER * side_px)[..., None]
    if weight.any() and colour_match:
        colours = (1 - colour_match) * colours + colour_match * _matched(colours, image, weight)
    return np.rint(image + weight * (colours - image)).clip(0, 255).astype(np.uint8)


def _matched(
    colours: Float[np.ndarray, "h w 3"], image: UInt8[np.ndarray, "h w 3"], weight: Float[np.ndarray, "h w 1"]
) -> Float[np.ndarray, "h w 3"]:
    """The colours with the picture's mean and, within bounds, spread of each channel over the weighted pixels."""
    chosen = weight[..., 0] > 0
    share = weight[chosen] / weight[chosen].sum()
    mean, spread = _moments(colours[chosen], share)
    wanted_mean, wanted_spread = _moments(image[chosen].astype(np.float32), share)
    return (colours - mean) * (wanted_spread / np.maximum(spread, 1e-3)).clip(*SPREAD) + wanted_mean


def _moments(values: Float[np.ndarray, "n 3"], share: Float[np.ndarray, "n 1"]) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation."""
    mean = (share * values).sum(0)
    return mean, np.sqrt((share * (values - mean) ** 2).sum(0))
