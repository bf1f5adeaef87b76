"""The calibrated cameras of data sets."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from facelift.geometry import to_camera

_INVERSE_STEPS = 100


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with lens distortion; OpenCV axes, pixel centres at integer + 0.5."""

    K: Float[np.ndarray, "3 3"]
    """px; last row 0 0 1."""
    R: Float[np.ndarray, "3 3"]
    """cam_from_world."""
    t: Float[np.ndarray, "3"]
    """cam_from_world, in the world's unit."""
    distortion: Float[np.ndarray, "5"] = field(default_factory=lambda: np.zeros(5))
    """k1 k2 p1 p2 k3 of OpenCV's model."""

    def __post_init__(self) -> None:
        if not np.array_equal(self.K[2], [0, 0, 1]):
            raise ValueError(f"camera: expected a K whose last row is 0 0 1, found {self.K[2].tolist()}")

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        """World points -> px. Points at depth <= 0 get NaN.

        With (x, y) = (X, Y) / Z, r2 = x^2 + y^2 and s = 1 + k1 r2 + k2 r2^2 + k3 r2^3 (OpenCV's calib3d):
        x' = s x + 2 p1 x y + p2 (r2 + 2 x^2), y' = s y + p1 (r2 + 2 y^2) + 2 p2 x y, px = K (x', y', 1).
        """
        camera = to_camera(points, self.R, self.t)
        depth = np.where(camera[:, 2:] > 0, camera[:, 2:], np.nan)
        rays = camera[:, :2] / depth
        radial, shift = self._bend(rays)
        return self._pixels(radial * rays + shift)

    def without_distortion(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Where the same rays would meet a picture of the same K without distortion, px; NaN stays NaN.

        Fixed-point iteration of the model above, as OpenCV's. Not finite where the distortion has no inverse.
        """
        if not self.distortion.any():
            return points
        bent = (points - self.K[:2, 2]) @ np.linalg.inv(self.K[:2, :2]).T
        rays = bent
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for _ in range(_INVERSE_STEPS):
                radial, shift = self._bend(rays)
                rays = (bent - shift) / radial
        return self._pixels(rays)

    def _bend(self, rays: Float[np.ndarray, "n 2"]) -> tuple[Float[np.ndarray, "n 1"], Float[np.ndarray, "n 2"]]:
        """s, and the terms of p1 and p2."""
        k1, k2, p1, p2, k3 = self.distortion
        x, y = rays.T
        r2 = x**2 + y**2
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        shift_x = 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
        shift_y = p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
        return radial[:, None], np.stack([shift_x, shift_y], axis=-1)

    def _pixels(self, rays: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        return rays @ self.K[:2, :2].T + self.K[:2, 2]

    def of_moved(self, R: Float[np.ndarray, "3 3"], t: Float[np.ndarray, "3"]) -> "Camera":
        """The camera of points y with x_world = R y + t: R_c R, R_c t + t_c."""
        return Camera(self.K, self.R @ R, self.R @ t + self.t, self.distortion)
