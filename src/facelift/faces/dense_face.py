"""Dense landmarks of one face in a picture: points of the face's mesh, each with how sure the network is."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class DenseFace:
    """x, y in px of the upright original, centres at integer + 0.5."""

    points: Float[np.ndarray, "l 2"]
    sigma: Float[np.ndarray, "l 2"]
    """Deviation of each coordinate along the axes of the crop that was looked at, px of the original."""
    confidence: Float[np.ndarray, "l 2"]
    """1 - sigma in crop widths, 0..1: what a fit weights each coordinate by."""
    landmarks: Float[np.ndarray, "68 2"]
    """iBUG-68 on the mesh of points."""
    roll_deg: float
    """By how much the crop's content was turned clockwise against the photo: the axes of `sigma`."""
    box: Float[np.ndarray, "4"]
    """The box that the face was found in, x0 y0 x1 y1 px."""
    score: float
    """The face finder's, 0..1; 1 for a box that the caller gave."""
