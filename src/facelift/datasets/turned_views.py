"""Rendered views in a mirror, or turned about their middle: exactly what another camera would have seen."""

from dataclasses import replace

import numpy as np

from facelift.crops import box_of_crop, crop_transform, cut
from facelift.datasets.views import RenderedView
from facelift.geometry import MIRROR, head_tilt, roll_rotation
from facelift.landmarks import WFLW98


def mirrored(view: RenderedView) -> RenderedView:
    """The view in a mirror: x of head and camera negated, landmarks renamed. Exact, as the camera is symmetric."""
    return RenderedView(
        np.ascontiguousarray(view.image[:, ::-1]),
        view.landmarks[WFLW98.mirror] @ MIRROR,
        MIRROR @ view.rotation @ MIRROR,
        MIRROR @ view.translation,
        view.visible[WFLW98.mirror],
        view.covered[WFLW98.mirror],
    )


def turned(view: RenderedView, roll: float) -> RenderedView:
    """The view by a camera rolled so that the picture's content turns clockwise by `roll` rad; its edge is repeated.

    R' = Rz R, t' = Rz t, as the principal point is the picture's middle. What is seen stays so.
    """
    size = len(view.image)
    transform = crop_transform(box_of_crop(np.array([0.0, 0.0, size, size])), size=size, roll=roll)
    camera = roll_rotation(np.asarray(roll))
    rotation, translation = camera @ view.rotation, camera @ view.translation
    return replace(view, image=cut(view.image, transform), rotation=rotation, translation=translation)


def levelled(view: RenderedView, roll: float = 0.0) -> RenderedView:
    """The view turned until the head's up axis is clockwise by `roll` rad of the picture's; 0: as the predictor turns
    its crops."""
    return turned(view, roll - float(head_tilt(view.rotation)))
