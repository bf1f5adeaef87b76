"""Real photos with human 2D labels as training samples: WFLW-98 points in crop widths, states, flips, augmentation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int8, UInt8

from facelift.crops import MARGIN, crop_transform, cut
from facelift.datasets.augment import Augmentation, distort, occlude, random_crop
from facelift.datasets.densify import wflw98_from_ibug68
from facelift.datasets.packed import PackedSet
from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED, UNKNOWN, VISIBLE, FaceSample
from facelift.landmarks import WFLW98, wflw98_of_ibug68


@dataclass(frozen=True)
class CropSample:
    """A face crop ready for a network."""

    image: UInt8[np.ndarray, "s s 3"]
    points: Float[np.ndarray, "98 2"]
    """Crop widths; NaN where unlabelled."""
    state: Int8[np.ndarray, "98"]


class RealFaces:
    """Faces of several packed sets; the last `dev` of the first set are held out."""

    def __init__(self, root: Path, sets: tuple[str, ...], *, labels: Path | None = None, dev: int = 0):
        self.sets = [PackedSet(root, name) for name in sets]
        keys = [(s, i) for s, packed in enumerate(self.sets) for i in range(len(packed))]
        first = len(self.sets[0])
        self.train = [key for key in keys if key[0] != 0 or key[1] < first - dev]
        self.dev = [key for key in keys if key[0] == 0 and key[1] >= first - dev]
        self._extra = _read_labels(labels) if labels else {}

    def yaw_deg(self, key: tuple[int, int]) -> float:
        """Rough yaw of a labelled face; NaN where its set has none."""
        yaw = self.sets[key[0]].labels.get("yaw")
        return float("nan") if yaw is None else float(yaw[key[1]])

    def labelled(self, key: tuple[int, int]) -> FaceSample:
        """The sample with WFLW-98 labels, in px of its stored image."""
        sample = self.sets[key[0]][key[1]]
        points = wflw98_from_ibug68(sample.points)
        extra = self._extra.get((self.sets[key[0]].name, sample.name))
        if extra is not None:
            points = np.where(np.isfinite(points), points, extra)
        return FaceSample(
            sample.name, sample.image, sample.crop, points, _states_98(sample.state, sample.points), "wflw98"
        )

    def crop(self, key: tuple[int, int], size: int) -> CropSample:
        """The plain crop, for evaluation."""
        sample = self.labelled(key)
        crop = crop_transform(sample.crop, size=size, scale=1.0)
        return CropSample(cut(sample.image, crop), crop.to_crop(sample.points) / size, sample.state)

    def augmented(
        self, key: tuple[int, int], size: int, rng: np.random.Generator, augmentation: Augmentation
    ) -> CropSample:
        """A random crop of the face, flipped half of the time."""
        sample = self.labelled(key)
        image, points, state = sample.image, sample.points, sample.state
        if rng.random() < 0.5:
            image, points, state = flip(image, points, state)
        transform = random_crop(rng, _face_box(sample.crop), size, augmentation)
        crop, points = cut(image, transform), transform.to_crop(points)
        if rng.random() < augmentation.occluder:
            other = self.sets[0][int(rng.integers(len(self.sets[0])))].image
            crop, cover = occlude(rng, crop, other)
            state = cover_states(state, points, cover)
        crop = distort(rng, crop, augmentation.colour)
        return CropSample(crop, points / size, state)


def _face_box(crop: np.ndarray) -> np.ndarray:
    """The box whose crop by MARGIN is the given square."""
    centre, half = (crop[:2] + crop[2:]) / 2, (crop[2:] - crop[:2]) / 2 / MARGIN
    return np.concatenate([centre - half, centre + half])


def flip(image, points, state):
    """The mirrored face with its landmarks renamed."""
    width = image.shape[1]
    mirrored = points[WFLW98.mirror] * [-1, 1] + [width, 0]
    return np.ascontiguousarray(image[:, ::-1]), mirrored, state[WFLW98.mirror]


def cover_states(state, points, cover) -> np.ndarray:
    """States after something opaque was pasted: covered points that were seen are now occluded."""
    size = len(cover)
    inside = np.nan_to_num(points, nan=-1.0)
    x, y = np.floor(inside).astype(int).T
    valid = (x >= 0) & (y >= 0) & (x < size) & (y < size)
    covered = np.zeros(len(state), bool)
    covered[valid] = cover[y[valid], x[valid]]
    return np.where(covered & (state == VISIBLE), OCCLUDED, state).astype(np.int8)


def _states_98(state: np.ndarray, points: np.ndarray) -> np.ndarray:
    """States of the iBUG-68 points carried to WFLW-98; a point between two takes the more hidden of them."""
    dense = np.full(98, UNKNOWN, np.int8)
    dense[wflw98_of_ibug68()] = state
    dense[1:32:2] = np.maximum(state[:16], state[1:17])
    for middle, (first, second) in {62: (37, 38), 66: (40, 41), 70: (43, 44), 74: (46, 47)}.items():
        dense[middle] = max(state[first], state[second])
    assert not np.isfinite(points[state == SELF_OCCLUDED]).any()
    return dense


def _read_labels(path: Path) -> dict[tuple[str, str], np.ndarray]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected pseudo-labels written by `facelift label`, found no file")
    with np.load(path) as file:
        sets, names, points = file["set"], file["name"], file["points"]
    return {(str(s), str(n)): p.astype(np.float64) for s, n, p in zip(sets, names, points, strict=True)}
