"""The camera space C that training cameras are drawn from (Ferman et al. 2024, supplement)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facelift.geometry.camera import (
    FOCAL,
    intrinsics,
    look_at_rotation,
    project,
    sphere_translation,
    to_camera,
)


@dataclass(frozen=True)
class CameraSpace:
    """Ranges of azimuth, elevation and roll, and how large the face is in the picture.

    A rotation drawn evenly from the ranges is kept with probability exp(-((az/A)^2 + (el/B)^2 + (roll/G)^2)). The
    translation then puts the landmarks' bounding box inside the image, its smaller side above half of it.
    """

    azimuth_deg: float = 110.0
    """A: azimuth in [-A, A]."""
    elevation_deg: float = 60.0
    """B: elevation in [-B, B]."""
    roll_deg: float = 90.0
    """G: roll in [-G, G]."""
    smaller_side: float = 0.5
    """Least smaller side of the landmarks' box, in image widths."""
    margin: float = 0.01
    """Least distance of the box from the image border, in image widths."""

    def angles(self, rng: np.random.Generator) -> tuple[float, float, float]:
        """Azimuth, elevation, roll in degrees by rejection sampling."""
        limits = np.array([self.azimuth_deg, self.elevation_deg, self.roll_deg])
        while True:
            angles = rng.uniform(-limits, limits)
            if rng.random() < np.exp(-((angles / limits) ** 2).sum()):
                return float(angles[0]), float(angles[1]), float(angles[2])

    def sample(
        self, rng: np.random.Generator, points: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
        """A camera (R, t) that sees `points` (canonical; NaN rows are ignored) as the class says.

        Raises ValueError for fewer than four points, which no box can frame from every side.
        """
        points = points[np.isfinite(points).all(-1)]
        if len(points) < 4:
            raise ValueError(f"camera space: expected at least 4 finite points to frame, found {len(points)}")
        while True:
            rotation = look_at_rotation(*self.angles(rng))
            translation = self._place(rng, points, rotation)
            if translation is not None:
                return rotation, translation

    def _place(self, rng, points, rotation) -> np.ndarray | None:
        """Draws a box size and place, and solves for the translation; None if the box cannot fit."""
        room = 1 - 2 * self.margin
        translation = sphere_translation(rotation)
        side = _box(points, rotation, translation)[1]
        largest = room * side.min() / side.max()
        if largest <= self.smaller_side:  # an elongated view: the longer side fills what there is
            return None
        target = rng.uniform(self.smaller_side, largest) * 1.005
        for _ in range(8):  # depth for the wanted size; perspective makes it a fixed point
            side = _box(points, rotation, translation)[1]
            translation[2] *= side.min() / target
        centre, side = _box(points, rotation, translation)
        slack = np.maximum((room - side) / 2, 0)
        wanted = 0.5 + rng.uniform(-slack, slack)
        depth = to_camera(points, rotation, translation)[:, 2].mean()
        for _ in range(4):
            centre, side = _box(points, rotation, translation)
            translation[:2] += (wanted - centre) * depth / FOCAL
        centre, side = _box(points, rotation, translation)
        inside = (centre - side / 2 >= 0).all() and (centre + side / 2 <= 1).all()
        return translation if inside and side.min() >= self.smaller_side else None


def _box(points, rotation, translation) -> tuple[np.ndarray, np.ndarray]:
    """Centre and sides of the projected points' box, in image widths."""
    pixels = project(points, rotation, translation, intrinsics(1.0))
    low, high = pixels.min(0), pixels.max(0)
    return (low + high) / 2, high - low
