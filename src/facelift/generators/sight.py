"""Who sees a face's landmarks: one rule, whichever rasteriser drew the picture."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from facelift.geometry import intrinsics, project, to_camera
from facelift.landmarks import WFLW98
from facelift.rendering import materials

_TOLERANCE = 0.012
"""Depth by which a visible landmark may lie behind the nearest surface, canonical units (4 mm)."""
_LASH_LENGTH = 0.035
"""The same behind lashes."""
_LEAST_FACING = np.full(98, -0.05)
_LEAST_FACING[WFLW98.regions["eyes"]] = _LEAST_FACING[88:96] = -1.1
"""Least cosine of normal and view of a visible landmark. The edges of lids and inner lips are folds, whose normals
point anywhere: depth alone decides."""


@dataclass(frozen=True)
class Marks:
    """A face's exact landmarks and the normals of its surface there, canonical."""

    points: Float[np.ndarray, "98 3"]
    normals: Float[np.ndarray, "98 3"]

    def around(
        self, rotation: Float[np.ndarray, "3 3"], translation: Float[np.ndarray, "3"], size: int
    ) -> tuple[Int[np.ndarray, "98 3 3"], Int[np.ndarray, "98 3 3"]]:
        """(rows, columns) of the nine fragments about each landmark in a picture of `size`; at its rim the nearest."""
        pixel = np.floor(project(self.points, rotation, translation, intrinsics(size))).astype(int)
        column, row = np.clip(pixel, 1, size - 2).T[..., None, None]
        step = np.arange(-1, 2)
        rows, columns = np.broadcast_arrays(row + step[:, None], column + step)
        return rows, columns

    def seen(
        self,
        rotation: Float[np.ndarray, "3 3"],
        translation: Float[np.ndarray, "3"],
        size: int,
        depth: Float[np.ndarray, "98 3 3"],
        material: Int[np.ndarray, "98 3 3"],
    ) -> tuple[Bool[np.ndarray, "98"], Bool[np.ndarray, "98"]]:
        """(visible, covered) by depth and material of the fragments `around`, whose material is -1 where nothing is.

        Visible: facing the camera, inside the picture, and no more than a tolerance behind what is seen there. Covered:
        facing the camera, but behind hair or a thing.
        """
        camera = to_camera(self.points, rotation, translation)
        pixel = np.floor(project(self.points, rotation, translation, intrinsics(size)))
        inside = ((pixel >= 1) & (pixel < size - 1)).all(-1)
        tolerance = np.where(material == materials.LASHES, _LASH_LENGTH, _TOLERANCE)
        tolerance[material >= materials.HAIR] = 0  # cloth and hair lie closer than the tolerance
        own = (material >= 0) & (camera[:, 2, None, None] < depth + tolerance)
        own[96:] &= material[96:] == materials.EYE  # and so do lids
        seen = own.any((1, 2))
        seen[96:] = own[96:, 1, 1] | (seen[96:] & (material[96:, 1, 1] == materials.LENS))  # through a tinted lens
        towards = -(self.normals @ rotation.T * camera).sum(-1)
        facing = (towards > _LEAST_FACING * np.linalg.norm(camera, axis=-1)) & inside
        return facing & seen, facing & ~seen & (material[:, 1, 1] >= materials.HAIR)
