"""DAD-3DHeads as crops with dense landmarks: vertices of FLAME that annotators fitted to photos."""

import numpy as np

from facelift.crops import crop_around, cut
from facelift.datasets.augment import Augmentation, distort, occlude, random_crop
from facelift.datasets.dense_views import DenseSample, flipped
from facelift.datasets.readers.dad3dheads import DAD3DHeads
from facelift.morphable.vertex_sets import VertexSets


class DenseDAD:
    """Crops about the set's points, `size` px. The vertex sets must be of FLAME's mesh."""

    def __init__(self, photos: DAD3DHeads, sets: VertexSets, count: int, *, size: int):
        """Raises ValueError for sets of another mesh."""
        if sets.head != "flame5023":
            raise ValueError(f"vertex sets for DAD-3DHeads: expected those of flame5023, found {sets.head}")
        self.photos, self.size = photos, size
        self._own, self._partners = sets[count].vertices, sets.partners[sets.places(count)]

    def __len__(self) -> int:
        return len(self.photos)

    def plain(self, index: int) -> DenseSample:
        """The upright crop."""
        face = self.photos[index].face
        points = face.points[self._own]
        crop = crop_around(points, size=self.size)
        return DenseSample(cut(face.image, crop), crop.to_crop(points) / self.size)

    def augmented(
        self, index: int, rng: np.random.Generator, augmentation: Augmentation, flips: tuple[float, float]
    ) -> DenseSample:
        """As `DenseViews.augmented`."""
        flip = rng.random() < flips[0], rng.random() < flips[1]
        face = self.photos[index].face
        points = face.points[self._partners if flip[0] != flip[1] else self._own]
        crop = random_crop(rng, np.concatenate([points.min(0), points.max(0)]), self.size, augmentation)
        image, points = flipped(cut(face.image, crop), crop.to_crop(points) / self.size, flip)
        if rng.random() < augmentation.occluder:
            image, _ = occlude(rng, image, self.photos[int(rng.integers(len(self)))].face.image)
        return DenseSample(distort(rng, image, augmentation.colour), points)
