"""What the pixels of a picture see of a mesh; common to all rasterisers, free of their dependencies."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

FAR = 1e9
"""Depth of a pixel that sees nothing."""


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees. `triangle` is -1 where there is nothing."""

    triangle: Int[np.ndarray, "h w"]
    barycentric: Float[np.ndarray, "h w 2"]
    """Weights of the first two corners, perspective-correct where the camera is; the third's is what remains."""
    depth: Float[np.ndarray, "h w"]

    def interpolate(
        self, values: Float[np.ndarray, "v c"], faces: Int[np.ndarray, "f 3"]
    ) -> Float[np.ndarray, "h w c"]:
        """Values of the mesh's vertices at every pixel; 0 where there is nothing."""
        picture = np.zeros((*self.triangle.shape, values.shape[1]), np.float32)
        row, column = np.nonzero(self.triangle >= 0)
        corners = faces[self.triangle[row, column]]
        first, second = self.barycentric[row, column, :, None].swapaxes(0, 1)
        a, b, c = (values[corners[:, k]] for k in range(3))
        picture[row, column] = first * a + second * b + (1 - first - second) * c
        return picture
