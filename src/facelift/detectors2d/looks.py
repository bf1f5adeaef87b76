"""How often a crop network looks at a face: a second time at a crop framed by the first points, and in a mirror."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from facelift.crops import CropTransform, crop_around, crop_transform, cut
from facelift.detectors2d.protocol import Detections
from facelift.landmarks import Scheme


@dataclass(frozen=True, eq=False)
class CropPoints:
    """What a network says of n crops, in crop widths."""

    points: Float[np.ndarray, "n landmarks 2"]
    covariance: Float[np.ndarray, "n landmarks 2 2"]
    visibility: Float[np.ndarray, "n landmarks"]
    """Probability."""


@runtime_checkable
class CropNetwork(Protocol):
    """A network that finds landmarks in square crops."""

    scheme: Scheme
    size: int
    """Side of its crops, px."""

    def run(self, crops: UInt8[np.ndarray, "n s s 3"]) -> CropPoints: ...


def look(
    network: CropNetwork,
    images: Sequence[UInt8[np.ndarray, "h w 3"]],
    boxes: Float[np.ndarray, "n 4"],
    *,
    refine: bool = False,
    mirror: bool = False,
) -> Detections:
    """Points in px of each image. Confidence is exp(-sigma / 2 % of the crop): 1 where the network is sure.

    `refine`: looks again, at the upright crop that the first look's points frame. `mirror`: averages the last look with
    that at the mirrored crop, and tells by how much the two disagree.
    """
    if len(images) != len(boxes):
        raise ValueError(f"expected one box per image, found {len(images)} images and {len(boxes)} boxes")
    transforms = [crop_transform(box, size=network.size) for box in np.asarray(boxes, float)]
    crops = _crops(images, transforms)
    found = network.run(crops)
    if refine:
        transforms = [_closer(t, p * t.size, network.scheme) for t, p in zip(transforms, found.points, strict=True)]
        crops = _crops(images, transforms)
        found = network.run(crops)
    gap = None
    if mirror:
        other = mirrored(network.run(np.ascontiguousarray(crops[:, :, ::-1])), network.scheme)
        gap = np.linalg.norm(found.points - other.points, axis=-1)
        found = CropPoints(
            (found.points + other.points) / 2,
            (found.covariance + other.covariance) / 2,
            (found.visibility + other.visibility) / 2,
        )
    sigma = np.sqrt(np.trace(found.covariance, axis1=-2, axis2=-1) / 2)
    to_image = np.stack([np.linalg.inv(t.crop_from_image[:, :2]) * t.size for t in transforms])
    sides = np.sqrt(np.linalg.det(to_image))[:, None]
    return Detections(
        points=np.stack([t.to_image(p * t.size) for t, p in zip(transforms, found.points, strict=True)]),
        confidence=np.exp(-sigma / 0.02),
        found=np.ones(len(transforms), bool),
        covariances=to_image[:, None] @ found.covariance @ np.swapaxes(to_image, -1, -2)[:, None],
        visibility=found.visibility,
        disagreement=None if gap is None else gap * sides,
    )


def mirrored(found: CropPoints, scheme: Scheme) -> CropPoints:
    """The same points in the mirrored crops, renamed."""
    flip = np.diag([-1.0, 1.0])
    return CropPoints(
        found.points[:, scheme.mirror] * [-1, 1] + [1, 0],
        flip @ found.covariance[:, scheme.mirror] @ flip,
        found.visibility[:, scheme.mirror],
    )


def _crops(images: Sequence[np.ndarray], transforms: list[CropTransform]) -> UInt8[np.ndarray, "n s s 3"]:
    return np.stack([cut(image, transform) for image, transform in zip(images, transforms, strict=True)])


def _closer(transform: CropTransform, points: Float[np.ndarray, "landmarks 2"], scheme: Scheme) -> CropTransform:
    """The crop framed by points given in px of a first one, turned until the mouth is below the eyes."""
    framing = np.delete(points, scheme.regions.get("pupils", []), axis=0)
    if not np.isfinite(points).all() or np.ptp(framing, axis=0).max() < 0.1 * transform.size:
        return transform  # nothing that a crop could be framed by
    down = points[scheme.regions["mouth"]].mean(0) - points[scheme.regions["eyes"]].mean(0)
    roll = transform.roll + float(np.arctan2(down[0], down[1]))
    return crop_around(transform.to_image(framing), size=transform.size, roll=roll)
