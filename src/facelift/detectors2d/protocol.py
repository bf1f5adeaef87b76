"""What every 2D landmark detector takes and gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from facelift.landmarks import Scheme


@dataclass(frozen=True)
class Detections:
    """2D landmarks of n faces, in px of each one's image."""

    points: Float[np.ndarray, "n landmarks 2"]
    confidence: Float[np.ndarray, "n landmarks"]
    """0..1."""
    found: Bool[np.ndarray, "n"]
    """False where no face was found; its points are NaN."""
    covariances: Float[np.ndarray, "n landmarks 2 2"] | None
    """px^2, where the detector says."""
    visibility: Float[np.ndarray, "n landmarks"] | None = None
    """Probability that a landmark is seen, where the detector says."""
    disagreement: Float[np.ndarray, "n landmarks"] | None = None
    """px between what the detector says of a face and of its mirror picture, where it looked at both."""


@runtime_checkable
class Detector2D(Protocol):
    """Landmarks of one face in a picture whose face box is known."""

    scheme: Scheme

    def detect(self, images: Sequence[UInt8[np.ndarray, "h w 3"]], boxes: Float[np.ndarray, "n 4"]) -> Detections:
        """`boxes`: one per image, the tight box of the landmarks from brows to chin, x0 y0 x1 y1 px."""
        ...
