"""Labelled pictures as crops for a network: cut, flipped, covered and distorted, whatever definitions they label."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from facelift.crops import CropTransform, crop_transform, cut
from facelift.datasets.augment import Augmentation, distort, occlude, random_crop, random_roll
from facelift.datasets.real_faces import cover_states
from facelift.datasets.training_sets import LabelledPicture, Labels, TrainingSet
from facelift.landmarks import DEFINITIONS, SCHEMES


@dataclass(frozen=True)
class LabelledCrop:
    """A crop ready for a network."""

    image: UInt8[np.ndarray, "s s 3"]
    labels: Mapping[str, Labels]
    """Points in crop widths."""


def plain(picture: LabelledPicture, size: int) -> LabelledCrop:
    """The crop of the face box, for evaluation and for overfitting."""
    return _cropped(picture, crop_transform(picture.box, size=size, roll=-picture.tilt))


def augmented(
    source: TrainingSet, index: int, size: int, rng: np.random.Generator, augmentation: Augmentation
) -> LabelledCrop:
    """A random crop, flipped half of the time; what covers it comes from another picture of the source."""
    picture = source[index]
    if rng.random() < 0.5:
        picture = mirrored(picture)
    if source.framed:
        roll = random_roll(rng, augmentation) if source.turns else 0.0
        transform = crop_transform(picture.box, size=size, roll=roll - picture.tilt)
    else:
        transform = random_crop(rng, picture.box, size, augmentation)
    crop = _cropped(picture, transform)
    image, labels = crop.image, dict(crop.labels)
    if rng.random() < augmentation.occluder:
        image, cover = occlude(rng, image, source[int(rng.choice(source.train))].image)
        labels = {
            name: Labels(one.points, cover_states(one.state, one.points * size, cover)) for name, one in labels.items()
        }
    return LabelledCrop(distort(rng, image, augmentation.colour), labels)


def mirrored(picture: LabelledPicture) -> LabelledPicture:
    """The face in a mirror, its landmarks renamed."""
    width = picture.image.shape[1]
    labels = {}
    for name, one in picture.labels.items():
        mirror = SCHEMES[DEFINITIONS[name]].mirror
        labels[name] = Labels(one.points[mirror] * [-1, 1] + [width, 0], one.state[mirror])
    x0, y0, x1, y1 = picture.box
    image = np.ascontiguousarray(picture.image[:, ::-1])
    return LabelledPicture(image, np.array([width - x1, y0, width - x0, y1]), labels, -picture.tilt)


def _cropped(picture: LabelledPicture, transform: CropTransform) -> LabelledCrop:
    labels = {
        name: Labels(transform.to_crop(one.points) / transform.size, one.state) for name, one in picture.labels.items()
    }
    return LabelledCrop(cut(picture.image, transform), labels)
