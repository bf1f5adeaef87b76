"""Faces with the parameters of a linear model, mirrored and distorted for training."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from facelift.datasets.augment import Augmentation, distort, occlude
from facelift.geometry import MIRROR
from facelift.landmarks import IBUG68
from facelift.morphable.linear import LinearModel, place, split_parameters


@dataclass(frozen=True)
class MorphableSample:
    """A face crop with what a linear model is to make of it."""

    image: UInt8[np.ndarray, "s s 3"]
    landmarks: Float[np.ndarray, "68 3"]
    """px of the crop, z away from the camera; NaN where nobody knows."""
    parameters: Float[np.ndarray, "p"]
    """Pose, shape, expression; NaN for photos."""


@runtime_checkable
class MorphableSource(Protocol):
    """Faces whose parameters are known: `morphable_views.MorphableViews`, `w300lp_faces.W300LPFaces`."""

    @property
    def parameters(self) -> Float[np.ndarray, "n p"]: ...
    @property
    def landmarks(self) -> Float[np.ndarray, "n 68 3"]: ...
    @property
    def identity(self) -> Int[np.ndarray, "n"]:
        """Faces of one person or head share it; 0, 1, ..."""
        ...

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> MorphableSample: ...
    def drawn(self, index: int, rng: np.random.Generator, augmentation: Augmentation) -> MorphableSample:
        """The face as a training sees it this time."""
        ...


class MorphableFaces:
    """The faces of `source` in crops of `size` px, as a training wants them."""

    def __init__(self, source: MorphableSource, model: LinearModel, *, size: int):
        self.source, self.model, self.size = source, model, size

    def augmented(self, index: int, rng: np.random.Generator, augmentation: Augmentation) -> MorphableSample:
        """The face in a mirror half of the time, covered by a patch of another one at times, and distorted."""
        sample = self.source.drawn(index, rng, augmentation)
        if rng.random() < 0.5:
            sample = self.mirrored(sample)
        image = sample.image
        if rng.random() < augmentation.occluder:
            image, _ = occlude(rng, image, self.source[int(rng.integers(len(self.source)))].image)
        return MorphableSample(distort(rng, image, augmentation.colour), sample.landmarks, sample.parameters)

    def mesh(self, sample: MorphableSample) -> Float[np.ndarray, "v 3"]:
        """The model's vertices of a sample; px of the crop, z away from the camera."""
        pose, *coefficients = split_parameters(sample.parameters, len(self.model.shape), len(self.model.expression))
        return place(self.model.vertices(*coefficients), pose)

    def mirrored(self, sample: MorphableSample) -> MorphableSample:
        """The sample flipped left to right, landmarks renamed, parameters those of the mirrored face."""
        image = np.ascontiguousarray(sample.image[:, ::-1])
        landmarks = sample.landmarks[IBUG68.mirror] @ MIRROR + [self.size, 0, 0]
        return MorphableSample(image, landmarks, self.model.mirror_parameters(sample.parameters, self.size))
