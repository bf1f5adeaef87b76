"""Whether a generator shows one face in all views: the shape that the shipped network sees in each, in the head's own
frame. It does not see textures; a face that changes its colour alone does not drift."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from facelift.crops import crop_transform, cut
from facelift.geometry.alignment import procrustes
from facelift.lifting.rig import Rig
from facelift.onnx_models.lifter import DEFAULT, OnnxLifter

_WIDEST_DEG = 45.0
"""Views beyond are left out: there a network guesses half of the face."""
_EYES = (60, 72)


class IdentityDrift:
    """Root mean square distance of each view's 3D landmarks from the views' mean, after alignment by a similarity, in %
    of the mean's distance between the outer eye corners."""

    def __init__(self, model: str | Path = DEFAULT):
        self._lifter = OnnxLifter(model, threads=1)

    def __call__(self, images: list[UInt8[np.ndarray, "s s 3"]], boxes: Float[np.ndarray, "v 4"], rig: Rig) -> float:
        """`boxes`: tight ones of the landmarks, px; views where it is not finite are left out. NaN for fewer than
        two."""
        near = np.flatnonzero((np.abs(rig.azimuth_deg) <= _WIDEST_DEG) & np.isfinite(boxes).all(-1))
        if len(near) < 2:
            return float("nan")
        size = self._lifter.input_size
        crops = np.stack([cut(images[view], crop_transform(boxes[view], size=size)) for view in near])
        return drift_of(self._lifter.run(crops).landmarks)


def drift_of(shapes: Float[np.ndarray, "v 98 3"]) -> float:
    """Drift of the shapes of several views, %."""
    mean = shapes.mean(0)
    aligned = procrustes(shapes, np.broadcast_to(mean, shapes.shape), with_scale=True).apply(shapes)
    mean = aligned.mean(0)
    spread = np.sqrt(((aligned - mean) ** 2).sum(-1).mean())
    return float(100 * spread / np.linalg.norm(mean[_EYES[0]] - mean[_EYES[1]]))
