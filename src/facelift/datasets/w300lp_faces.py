"""300W-LP as samples of the linear face model that it was made with."""

from pathlib import Path

import numpy as np
from jaxtyping import Int

from facelift.archives import read_npz
from facelift.atomic import written_whole
from facelift.boxes import tight_box
from facelift.crops import CropTransform, crop_transform, cut
from facelift.datasets.augment import Augmentation, random_crop
from facelift.datasets.morphable_faces import MorphableSample
from facelift.datasets.readers.w300lp import W300LP
from facelift.morphable.linear import LinearModel, place

FARTHEST = 0.15
"""Largest median over pictures of the landmarks' mean distance from the file's, in sides of the face: more is another
model."""
CHECKED = 16
"""Pictures that are looked at for that."""


class W300LPFaces:
    """The pictures without their mirror images, cropped about the landmarks; `size`: of the crops, px.

    Landmarks are the model's own, as the set was made by it; `identity` counts the photos that pictures were made of.
    The file `cache` keeps the parameters, which lie in one .mat a picture.
    """

    def __init__(self, folder: Path, model: LinearModel, *, size: int, cache: Path | None = None):
        """Raises FileNotFoundError, or ValueError for parameters of another linear model."""
        self.photos, self.size = W300LP(folder, flips=False), size
        self._poses, self._coefficients = self._kept(cache, len(model.shape), len(model.expression))
        points = model.landmarks(*np.split(self._coefficients, [len(model.shape)], axis=1))
        self._points = points.astype(float)
        seen = [place(own, pose)[:, :2] for own, pose in zip(self._points, self._poses, strict=True)]
        self._boxes = np.stack([tight_box(flat) for flat in seen])
        placed = [self._placed(i, crop_transform(self._boxes[i], size=size)) for i in range(len(seen))]
        self.landmarks, self.parameters = (np.stack(values) for values in zip(*placed, strict=True))
        self.identity = self._photos()
        self._check(model)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> MorphableSample:
        image = cut(self.photos[index].image, crop_transform(self._boxes[index], size=self.size))
        return MorphableSample(image, self.landmarks[index], self.parameters[index])

    def drawn(self, index: int, rng: np.random.Generator, augmentation: Augmentation) -> MorphableSample:
        """The face in a random crop."""
        crop = random_crop(rng, self._boxes[index], self.size, augmentation)
        return MorphableSample(cut(self.photos[index].image, crop), *self._placed(index, crop))

    def _placed(self, index: int, crop: CropTransform) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks (68, 3) and parameters (p) in px of a crop; depth grows as the picture does."""
        pose = self._poses[index].copy()
        pose[:2] = crop.crop_from_image[:, :2] @ pose[:2]
        pose[:2, 3] += crop.crop_from_image[:, 2]
        pose[2] *= crop.scale
        return place(self._points[index], pose), np.concatenate([pose.ravel(), self._coefficients[index]])

    def _kept(self, cache: Path | None, shape: int, expression: int) -> tuple[np.ndarray, np.ndarray]:
        """Poses (n, 3, 4) in px of the pictures and coefficients (n, k), from the cache or the files."""
        names = np.array(self.photos.names)
        if cache is not None and cache.exists():
            kept = read_npz(cache, "parameters of 300W-LP", ("name", "pose", "coefficients", "shape"))
            same = np.array_equal(kept["name"], names) and int(kept["shape"]) == shape
            if same and kept["coefficients"].shape[1] == shape + expression:
                return kept["pose"], kept["coefficients"]
        found = [self.photos.parameters(i, shape=shape, expression=expression) for i in range(len(names))]
        poses, coefficients = (np.stack(values) for values in zip(*found, strict=True))
        if cache is not None:
            with written_whole(cache) as partial, partial.open("wb") as stream:
                np.savez(stream, name=names, pose=poses, coefficients=coefficients, shape=shape)
        return poses, coefficients

    def _photos(self) -> Int[np.ndarray, "n"]:
        stems = [name.rpartition("_")[0] or name for name in self.photos.names]
        return np.unique(stems, return_inverse=True)[1]

    def _check(self, model: LinearModel) -> None:
        errors = []
        for index in np.linspace(0, len(self) - 1, min(CHECKED, len(self))).astype(int).tolist():
            found = place(self._points[index], self._poses[index])[:, :2]
            off = np.linalg.norm(found - self.photos[index].points, axis=1).mean()
            errors.append(off / np.ptp(self.photos[index].points, axis=0).max())
        if not np.median(errors) <= FARTHEST:
            raise ValueError(
                f"{model.name}: expected the linear model that 300W-LP was made with (facelift morphable "
                f"tddfa), found one whose landmarks lie {np.median(errors):.0%} of the face away from the files'"
            )
