"""What M3-LRN knows about one face in a picture: 68 refined 3D landmarks, 3DMM parameters, a mesh."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float

from facelift.crops import CropTransform
from facelift.geometry.euler import euler_deg
from facelift.geometry.weak_perspective import scale_and_rotation


@dataclass(frozen=True, eq=False)
class MeshFace:
    """Landmarks and mesh in the image frame: x, y in px of the upright original (centres at integer + 0.5), z in px
    away from the camera, 0 where the model's origin is."""

    landmarks: Float[np.ndarray, "68 3"]
    """iBUG-68, refined: the output of the system."""
    coarse: Float[np.ndarray, "68 3"]
    """Those of the 3DMM, before refinement."""
    pose: Float[np.ndarray, "3 4"]
    """[sR | t], model -> image frame."""
    shape: Float[np.ndarray, "s"]
    """Coefficients of the 3DMM's shape, its own unit."""
    expression: Float[np.ndarray, "e"]
    vertices: Float[np.ndarray, "v 3"] | None
    """The 3DMM's mesh; None unless it was asked for."""
    box: Float[np.ndarray, "4"]
    """The box that the face was found in, x0 y0 x1 y1 px."""
    score: float
    """The face finder's, 0..1; 1 for a box that the caller gave."""

    @cached_property
    def _scale_and_rotation(self) -> tuple[float, np.ndarray]:
        scale, rotation = scale_and_rotation(self.pose)
        return float(scale), rotation

    @property
    def scale(self) -> float:
        """px per model unit."""
        return self._scale_and_rotation[0]

    @property
    def rotation(self) -> Float[np.ndarray, "3 3"]:
        """cam_from_model, OpenCV axes (x right, y down, z forward): the rotation nearest to `pose`."""
        return self._scale_and_rotation[1]

    @property
    def euler_deg(self) -> Float[np.ndarray, "3"]:
        """(pitch, yaw, roll) in degrees; positive: looks up, nose to the image's right, head tilts clockwise."""
        return euler_deg(self.rotation)

    def moved(self, back: CropTransform, photo_scale: float) -> "MeshFace":
        """The face of a crop in px of the photo that it was cut from, `photo_scale` times larger. A crop's turn is
        about the optical axis: z and lengths only change their scale."""
        factor = photo_scale / back.scale
        cos, sin = np.cos(-back.roll), np.sin(-back.roll)
        linear = factor * np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        offset = np.append(photo_scale * back.to_image(np.zeros((1, 2)))[0], 0.0)
        return replace(
            self,
            landmarks=self.landmarks @ linear.T + offset,
            coarse=self.coarse @ linear.T + offset,
            pose=linear @ self.pose + np.column_stack([np.zeros((3, 3)), offset]),
            vertices=None if self.vertices is None else self.vertices @ linear.T + offset,
        )
