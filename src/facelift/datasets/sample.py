"""The one sample type that every reader yields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int8, UInt8

VISIBLE, OCCLUDED, SELF_OCCLUDED, UNKNOWN = 0, 1, 2, -1
"""Visibility states of MERL-RAV: seen; hidden by something else, coordinate estimated; hidden by the face itself, no
coordinate; and a point whose state nobody labelled."""


@dataclass(frozen=True, eq=False)
class FaceSample:
    """One labelled face in one picture. Pixels have their centres at integer + 0.5, whatever the set's files say."""

    name: str
    """Unique in its set."""
    read: Callable[[], UInt8[np.ndarray, "h w 3"]] = field(repr=False)
    """Loads the picture, RGB. Raises FileNotFoundError or ValueError that names the file."""
    box: Float[np.ndarray, "4"]
    """Face box that the set's protocol gives, x0 y0 x1 y1 px."""
    points: Float[np.ndarray, "n 2"]
    """px; NaN where there is no label."""
    state: Int8[np.ndarray, "n"]
    scheme: str
    """Name of the landmark scheme."""
    points_3d: Float[np.ndarray, "n 3"] | None = None
    """In the frame and unit that the reader documents."""
    rotation: Float[np.ndarray, "3 3"] | None = None
    """cam_from_head, OpenCV axes; the reader documents the head's frame."""
    identity: str = ""
    """Person or sequence: what a bootstrap draws as one."""
    attributes: Mapping[str, str | float] = field(default_factory=dict)
    """What tables group by: yaw, subset, occlusion, ..."""

    @cached_property
    def image(self) -> UInt8[np.ndarray, "h w 3"]:
        """The picture, RGB, loaded when first asked for."""
        return self.read()
