"""Textures taken from pictures: what a picture shows of a mesh, laid out on the mesh's texture square and completed."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from facelift.crops import shrink_by
from facelift.rendering.bilinear import bilinear
from facelift.rendering.fragments import Fragments
from facelift.rendering.mesh_view import MeshView
from facelift.rendering.orthographic import rasterize_orthographic, signed_areas

RIM = 1 / 32
"""Width, in sides of the texture, over which what is seen fades into what is not."""
SYMMETRIC = 0.98
"""Share of the covered texels whose mirror image is covered in a layout that counts as symmetric."""


@dataclass(frozen=True, eq=False)
class UvLayout:
    """A mesh's triangles on its square texture; serves every face of the mesh's topology."""

    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "v 2"]
    """One a vertex, 0..1, v up."""
    size: int
    """Side of the texture, px."""

    @cached_property
    def places(self) -> Float[np.ndarray, "v 2"]:
        """The vertices' x, y in px of the texture, y down."""
        return (self.uv * [1, -1] + [0, 1]) * self.size

    @cached_property
    def texels(self) -> Fragments:
        """The place of the surface at every texel's centre."""
        flat = np.column_stack([self.places, np.zeros(len(self.uv))])
        return rasterize_orthographic(flat, self.faces, (self.size, self.size))

    @cached_property
    def covered(self) -> Bool[np.ndarray, "s s"]:
        """Texels whose centre some triangle covers."""
        return self.texels.triangle >= 0

    @cached_property
    def symmetric(self) -> bool:
        """Whether u and 1 - u are the two sides of the face: the layout is its own mirror image."""
        both = self.covered & self.covered[:, ::-1]
        return bool(both.sum() >= SYMMETRIC * max(self.covered.sum(), 1))

    def mirrored(self, surface: Fragments) -> Fragments:
        """The same places on the other side of a symmetric face, to the nearest texel."""
        x, y = surface.interpolate(self.places, self.faces).transpose(2, 0, 1)
        column = (self.size - 1 - x.astype(int)).clip(0, self.size - 1)
        row = y.astype(int).clip(0, self.size - 1)
        triangle = np.where(surface.triangle >= 0, self.texels.triangle[row, column], -1)
        return Fragments(triangle, self.texels.barycentric[row, column], surface.depth)


def uv_texture(
    image: UInt8[np.ndarray, "h w 3"], vertices: Float[np.ndarray, "v 3"], layout: UvLayout
) -> tuple[UInt8[np.ndarray, "s s 3"], Bool[np.ndarray, "s s"]]:
    """(texture, texels that the picture shows) of a face whose mesh lies at `vertices` in the image frame.

    What the picture does not show (`MeshView.shows`) comes from the other side of the face where the layout is
    symmetric and that side is shown, and is continued smoothly from there. Black where nothing of the mesh is shown.
    """
    image, vertices = _at_texture_scale(image, vertices, layout)
    colours, shown = shown_colours(image, MeshView(vertices, layout.faces, image.shape[:2]), layout.texels)
    weight = np.where(shown, faded(shown | ~layout.covered, RIM * layout.size, drop_px=1), np.float32(0))
    completed = complete(colours, weight, symmetric=layout.symmetric)
    return np.rint(completed).clip(0, 255).astype(np.uint8), weight > 0


def shown_colours(
    image: UInt8[np.ndarray, "h w 3"], view: MeshView, surface: Fragments
) -> tuple[Float[np.ndarray, "i j 3"], Bool[np.ndarray, "i j"]]:
    """(colours of the picture at places of the surface, whether it shows them); `view`: the mesh in that picture."""
    points = surface.interpolate(view.vertices, view.faces)
    return bilinear(image, points[..., :2]).astype(np.float32), view.shows(points, surface.triangle)


def faded(mask: Bool[np.ndarray, "h w"], width_px: float, *, drop_px: float = 0) -> Float[np.ndarray, "h w"]:
    """0 outside the mask and on its outermost `drop_px`, rising to 1 within `width_px` from there; the picture's own
    edges are no rim."""
    inward = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return ((inward - drop_px) / max(width_px, 1)).clip(0, 1)


def share_of_first(first: Float[np.ndarray, "h w"], second: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 1"]:
    """Weight of the first of two pictures with weights 0..1: all where its own is 1 or the second's 0."""
    return (first / np.maximum(first + second * (1 - first), 1e-9))[..., None]


def complete(
    colours: Float[np.ndarray, "s s 3"], weight: Float[np.ndarray, "s s"], *, symmetric: bool
) -> Float[np.ndarray, "s s 3"]:
    """`colours` where `weight` is 1, fading to those of the mirrored place towards weight 0 where that is known and
    the texture `symmetric`; where neither is known, a smooth continuation.

    Mirrored colours are put in the light of their new side: the difference of the two sides where both are known,
    smooth, and continued to the rest, is added.
    """
    if symmetric:
        mirrored, mirror_weight = colours[:, ::-1], weight[:, ::-1]
        both = (weight > 0) & (mirror_weight > 0)
        change = cv2.GaussianBlur(continued(colours - mirrored, both), (0, 0), len(colours) / 32)
        own = share_of_first(weight, mirror_weight)
        colours = own * colours + (1 - own) * (mirrored + change)
        weight = weight + mirror_weight
    return continued(colours, weight > 0)


def continued(values: Float[np.ndarray, "h w 3"], known: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """`values` where `known`, elsewhere a smooth continuation (Gortler et al. 1996, pull and push): means of what is
    known in ever larger blocks, and back. 0 where nothing is known."""
    kept = np.where(known[..., None], values, np.float32(0))
    if known.all() or max(known.shape) == 1:
        return kept
    half = (-(-known.shape[1] // 2), -(-known.shape[0] // 2))
    weight = cv2.resize(known.astype(np.float32), half, interpolation=cv2.INTER_AREA)
    total = cv2.resize(kept, half, interpolation=cv2.INTER_AREA)
    coarse = continued(total / np.maximum(weight, 1e-9)[..., None], weight > 0)
    wide = cv2.resize(coarse, known.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.where(known[..., None], values, wide)


def vertex_colours(texture: UInt8[np.ndarray, "s t 3"], uv: Float[np.ndarray, "v 2"]) -> UInt8[np.ndarray, "v 3"]:
    """The texture's colours at the vertices; `uv` 0..1, v up."""
    return bilinear(texture, (uv * [1, -1] + [0, 1]) * texture.shape[1::-1])


def _at_texture_scale(
    image: UInt8[np.ndarray, "h w 3"], vertices: Float[np.ndarray, "v 3"], layout: UvLayout
) -> tuple[np.ndarray, np.ndarray]:
    """Picture and vertices, shrunk by the whole number of pixels that come to a texel: none is skipped."""
    areas = np.abs(signed_areas(vertices.T[:, layout.faces.T])).sum()
    texels = np.abs(signed_areas(layout.places.T[:, layout.faces.T])).sum()
    factor = max(1, round(float(np.sqrt(areas / max(texels, 1e-9)))))
    return (image, vertices) if factor == 1 else (shrink_by(image, factor), vertices / factor)
