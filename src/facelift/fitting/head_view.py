"""A fitted head in its picture: drawn over it, and coloured by it."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from facelift.drawing import GREEN, RED
from facelift.geometry import project, to_camera
from facelift.meshes.coloured_mesh import ColouredMesh
from facelift.morphable.head import vertex_normals
from facelift.morphable.skinned import SkinnedModel
from facelift.rendering.bilinear import bilinear
from facelift.rendering.mesh_view import MeshView
from facelift.rendering.uv_textures import UvLayout, uv_texture

TEXTURE_PX = 512
_SHARE = 0.55
"""Of the drawn head, over the picture."""
_TONE = np.array([214, 222, 235], np.float32)


@dataclass(frozen=True, eq=False)
class HeadView:
    """One fitted mesh and the camera that sees it."""

    model: SkinnedModel
    vertices: Float[np.ndarray, "v 3"]
    """Of the head's own frame."""
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]
    intrinsics: Float[np.ndarray, "3 3"]
    """Of the picture that is drawn on."""

    @cached_property
    def faces(self) -> Int[np.ndarray, "f 3"]:
        """Triangles to draw."""
        return self.model.faces if self.model.skin is None else self.model.faces[self.model.skin]

    @cached_property
    def image_vertices(self) -> Float[np.ndarray, "v 3"]:
        """x, y px; z in px away from the camera: depth times px per unit at the head."""
        pixels = project(self.vertices, self.rotation, self.translation, self.intrinsics)
        depth = to_camera(self.vertices, self.rotation, self.translation)[:, 2]
        middle = float(np.median(depth))
        return np.column_stack([pixels, (depth - middle) * self.intrinsics[0, 0] / middle])

    def drawn(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """The picture with the head over it, lit from the camera; only the part around the head is touched."""
        flat = self.image_vertices
        if not np.isfinite(flat).all():
            return image
        low = np.clip(np.floor(flat[:, :2].min(0)).astype(int) - 1, 0, image.shape[1::-1])
        high = np.clip(np.ceil(flat[:, :2].max(0)).astype(int) + 1, 0, image.shape[1::-1])
        if (high - low).min() < 1:
            return image
        (left, top), (width, height) = low.tolist(), (high - low).tolist()
        part = (slice(top, top + height), slice(left, left + width))
        view = MeshView(flat - [left, top, 0], self.faces, (height, width))
        normals = vertex_normals(self.vertices, self.faces) @ self.rotation.T
        light = np.clip(-view.interpolate(normals)[..., 2], 0, 1) ** 0.8
        there = (view.front.triangle >= 0)[..., None]
        shade = (0.25 + 0.75 * light)[..., None] * _TONE
        drawn = image.copy()
        drawn[part] = np.where(there, _SHARE * shade + (1 - _SHARE) * image[part], image[part]).round()
        return drawn

    def coloured(self, image: UInt8[np.ndarray, "h w 3"] | None) -> ColouredMesh:
        """The mesh in the head's own frame, with what the picture shows of it as a texture where the model has places
        for one, as colours of its vertices elsewhere; plain without a picture."""
        used, corners = np.unique(self.faces, return_inverse=True)
        faces = corners.reshape(-1, 3).astype(np.int32)
        vertices = self.vertices[used].astype(np.float32)
        uv = None if self.model.uv is None else self.model.uv[used]
        if image is None:
            return ColouredMesh(vertices, faces, uv)
        flat = self.image_vertices[used]
        if uv is None:
            return ColouredMesh(vertices, faces, colours=_vertex_colours(image, flat, faces))
        picture, _ = uv_texture(image, flat, UvLayout(faces, uv, TEXTURE_PX))
        return ColouredMesh(vertices, faces, uv, picture)


def _vertex_colours(
    image: UInt8[np.ndarray, "h w 3"], flat: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> UInt8[np.ndarray, "v 3"]:
    """The picture's colours at the vertices it shows; the nearest shown vertex's elsewhere."""
    from scipy.spatial import cKDTree

    seen = MeshView(flat, faces, image.shape[:2]).seen_vertices()
    if not seen.any():
        return np.full((len(flat), 3), 160, np.uint8)
    colours = bilinear(image, flat[seen, :2])
    nearest = cKDTree(flat[seen]).query(flat)[1]
    return np.rint(colours[nearest]).clip(0, 255).astype(np.uint8)


def draw_residuals(
    image: UInt8[np.ndarray, "h w 3"], given: Float[np.ndarray, "l 2"], fitted: Float[np.ndarray, "l 2"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with given points green, fitted ones red and lines between; points without number are left out."""
    canvas = np.ascontiguousarray(image).copy()
    there = np.isfinite(given).all(-1) & np.isfinite(fitted).all(-1)
    size = float(np.ptp(given[there], axis=0).max()) if there.any() else 1.0
    radius, shift = max(1, round(0.006 * size)), 4
    fixed = lambda point: tuple(int(v) for v in np.round((point - 0.5) * 2**shift))  # noqa: E731
    for a, b in zip(given[there], fitted[there], strict=True):
        cv2.line(canvas, fixed(a), fixed(b), RED, max(1, radius // 2), cv2.LINE_AA, shift)
        cv2.circle(canvas, fixed(b), radius << shift, RED, -1, cv2.LINE_AA, shift)
        cv2.circle(canvas, fixed(a), radius << shift, GREEN, -1, cv2.LINE_AA, shift)
    return canvas
