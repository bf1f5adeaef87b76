"""Frames with 2D pseudo-labels by `facelift label frames` as training samples."""

import numpy as np
from jaxtyping import Float

from facelift.boxes import tight_box
from facelift.crops import crop_transform, cut
from facelift.datasets.augment import Augmentation, distort, occlude, random_crop
from facelift.datasets.real_faces import CropSample, flip
from facelift.datasets.sample import UNKNOWN
from facelift.labelling.gates import KEPT
from facelift.labelling.shards import load_shard, shard_paths
from facelift.landmarks import WFLW98
from facelift.scale.store import Place

SURE = 0.02
"""Sigma of a point in face sizes up to which its pseudo-label counts fully."""


class PseudoFrames:
    """The kept faces of folders of shards. States are unknown: nobody has looked at these points."""

    def __init__(self, folders: tuple[Place, ...]):
        """Raises FileNotFoundError for a folder without shards, ValueError for a damaged shard or where no face was
        kept."""
        self._shards = []
        for folder in folders:
            paths = shard_paths(folder)
            if not paths:
                raise FileNotFoundError(f"{folder}: expected shards by `facelift label frames`, found none")
            self._shards += [load_shard(path) for path in paths]
        self._faces: list[tuple[int, int]] = []
        videos: dict[str, list[int]] = {}
        for number, shard in enumerate(self._shards):
            for face in np.flatnonzero(shard.reason == KEPT).tolist():
                videos.setdefault(str(shard.sequence[shard.item_of_face[face]]), []).append(len(self._faces))
                self._faces.append((number, face))
        if not self._faces:
            shown = ", ".join(map(str, folders))
            raise ValueError(f"{shown}: expected labelled faces, found shards of which no face was kept")
        self.sequences = list(videos.values())
        """Keys of the faces of each video; a photo is a video of one frame. Paper: a random video first, then a random
        frame of it, so that long videos do not outweigh the others."""

    def __len__(self) -> int:
        return len(self._faces)

    def crop(self, key: int, size: int) -> CropSample:
        """The plain crop."""
        image, points, weight = self._face(key)
        transform = crop_transform(tight_box(points[:96]), size=size)
        return _sample(cut(image, transform), transform.to_crop(points) / size, weight)

    def augmented(self, key: int, size: int, rng: np.random.Generator, augmentation: Augmentation) -> CropSample:
        """A random crop of the face, flipped half of the time."""
        image, points, weight = self._face(key)
        if rng.random() < 0.5:
            image, points, weight = flip(image, points, weight)
        transform = random_crop(rng, tight_box(points[:96]), size, augmentation)
        crop = cut(image, transform)
        if rng.random() < augmentation.occluder:
            crop, _ = occlude(rng, crop, self._face(int(rng.integers(len(self))))[0])
        return _sample(distort(rng, crop, augmentation.colour), transform.to_crop(points) / size, weight)

    def _face(self, key: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Stored crop, points in its px, weights."""
        number, face = self._faces[key]
        shard = self._shards[number]
        points = shard.points[face].astype(np.float64)
        return shard.image(face), points, label_weight(points, shard.covariance[face].astype(np.float64))


def label_weight(points: Float[np.ndarray, "98 2"], covariance: Float[np.ndarray, "98 2 2"]) -> Float[np.ndarray, "98"]:
    """min(1, (SURE / sigma)^2), sigma the root mean variance of a point in face sizes: what a label that is off by
    sigma may weigh against a sure one in a least-squares sense."""
    box = tight_box(points[:96])
    variance = np.trace(covariance, axis1=-2, axis2=-1) / 2 / np.prod(box[2:] - box[:2])
    return np.minimum(1.0, SURE**2 / np.maximum(variance, 1e-12))


def _sample(image: np.ndarray, points: np.ndarray, weight: np.ndarray) -> CropSample:
    return CropSample(image, points, np.full(len(WFLW98.mirror), UNKNOWN, np.int8), weight=weight)
