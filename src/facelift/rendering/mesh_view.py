"""A mesh in the image frame, as the picture sees it: depth, values at its pixels, and what is seen of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from facelift.rendering.bilinear import bilinear
from facelift.rendering.fragments import FAR, Fragments
from facelift.rendering.orthographic import rasterize_orthographic, signed_areas

LEAST_FACING = 0.25
"""Cosine below which a surface is seen too flat to take its colour."""
TOLERANCE_PX = 1.0
"""How far a place may be from the surface that the picture shows there."""


@dataclass(frozen=True, eq=False)
class MeshView:
    """A mesh under parallel projection, rasterised once, when first needed.

    Triangles seen from behind hide what lies behind them, but are not drawn: an open mesh shows nothing of its inside.
    A triangle's front is where its corners run anticlockwise in the picture.
    """

    vertices: Float[np.ndarray, "v 3"]
    """Image frame."""
    faces: Int[np.ndarray, "f 3"]
    hw: tuple[int, int]
    """Height and width of the picture, px."""
    rasterize: Callable[..., Fragments] = rasterize_orthographic
    """Or another of the same arguments: `raster.rasterize_parallel` is faster where Numba is at hand."""

    @cached_property
    def nearest(self) -> Fragments:
        """The nearest surface at each pixel, whichever way it faces."""
        return self.rasterize(self.vertices, self.faces, self.hw)

    @cached_property
    def front(self) -> Fragments:
        """What is drawn: the nearest surface where it faces the camera."""
        found = self.nearest
        drawn = np.append(self.facing > 0, False)[found.triangle]
        return Fragments(np.where(drawn, found.triangle, -1), found.barycentric, np.where(drawn, found.depth, FAR))

    @cached_property
    def facing(self) -> Float[np.ndarray, "f"]:
        """Cosine between each triangle's normal and the way to the camera: 1 seen straight, below 0 from behind."""
        corners = self.vertices.T.astype(np.float64)[:, self.faces.T]
        (ax, bx), (ay, by), (az, bz) = corners[:, 1:] - corners[:, :1]
        normal = np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
        return -normal[2] / np.maximum(np.linalg.norm(normal, axis=0), 1e-12)

    def depth(self) -> Float[np.ndarray, "h w"]:
        """z of the surface in px; NaN where nothing is drawn."""
        return np.where(self.front.triangle >= 0, self.front.depth, np.float32(np.nan)).astype(np.float32)

    def interpolate(self, values: Float[np.ndarray, "v c"]) -> Float[np.ndarray, "h w c"]:
        """Values of the vertices at every pixel; 0 where nothing is drawn."""
        return self.front.interpolate(values, self.faces)

    def seen_vertices(self, *, tolerance_px: float = TOLERANCE_PX) -> Bool[np.ndarray, "v"]:
        """Vertices that lie in the picture, face the camera, and are no more than the tolerance behind the surface that
        is seen there. A vertex faces the camera if its triangles do, weighted by their area; one of no triangle never.
        """
        areas = signed_areas(self.vertices.T.astype(np.float64)[:, self.faces.T])
        total = np.bincount(self.faces.ravel(), weights=np.repeat(areas, 3), minlength=len(self.vertices))
        near = self.vertices[:, 2] <= bilinear(self.nearest.depth, self.vertices[:, :2]) + tolerance_px
        return (total < 0) & near & self._contains(self.vertices)

    def shows(self, points: Float[np.ndarray, "h w 3"], triangle: Int[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
        """Whether the picture shows points of the surface well enough to take their colours: they lie in it, are the
        surface seen there, two pixels away from what is not the mesh (the nearer one has colours of both), and their
        `triangle` (-1: none) faces the camera."""
        facing = np.append(self.facing, -1)[triangle] > LEAST_FACING
        near = np.abs(points[..., 2] - bilinear(self._inner_depth, points[..., :2])) < TOLERANCE_PX
        return facing & near & self._contains(points)

    @cached_property
    def _inner_depth(self) -> Float[np.ndarray, "h w"]:
        """Depth of the nearest surface; far also at the outermost pixels of the mesh."""
        inner = cv2.erode((self.nearest.triangle >= 0).astype(np.uint8), np.ones((3, 3), np.uint8))
        return np.where(inner > 0, self.nearest.depth, np.float32(FAR))

    def _contains(self, points: Float[np.ndarray, "*n 3"]) -> Bool[np.ndarray, "*n"]:
        x, y = points[..., 0], points[..., 1]
        return (x >= 0) & (x < self.hw[1]) & (y >= 0) & (y < self.hw[0])
