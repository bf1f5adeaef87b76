"""The one sample type that every reader yields."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int8, UInt8

VISIBLE, OCCLUDED, SELF_OCCLUDED, UNKNOWN = 0, 1, 2, -1
"""Visibility states of MERL-RAV: seen; hidden by something else, coordinate estimated; hidden by the face itself, no
coordinate; and a point whose state nobody labelled."""


@dataclass(frozen=True)
class FaceSample:
    """One labelled face. Pixels have their centres at integer + 0.5."""

    name: str
    image: UInt8[np.ndarray, "h w 3"]
    """RGB."""
    crop: Float[np.ndarray, "4"]
    """Square that frames the face, x0 y0 x1 y1 px."""
    points: Float[np.ndarray, "n 2"]
    """px; NaN where there is no label."""
    state: Int8[np.ndarray, "n"]
    scheme: str
