"""Real photos with human 2D labels as training samples: WFLW-98 points in crop widths, states, flips, augmentation."""

import hashlib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int8, UInt8

from facelift.archives import read_npz
from facelift.atomic import written_whole
from facelift.crops import crop_transform, cut
from facelift.datasets.augment import Augmentation, distort, occlude, random_crop
from facelift.datasets.densify import wflw98_from_ibug68
from facelift.datasets.packed import PackedSet
from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED, UNKNOWN, VISIBLE, FaceSample
from facelift.geometry import MIRROR, roll_rotation
from facelift.landmarks import JAW, WFLW98, normals, outline_weight, wflw98_of_ibug68
from facelift.lifting.single_view import SingleViews, fit_single_views, shape_space


@dataclass(frozen=True)
class CropSample:
    """A face crop ready for a network."""

    image: UInt8[np.ndarray, "s s 3"]
    points: Float[np.ndarray, "98 2"]
    """Crop widths; NaN where unlabelled."""
    state: Int8[np.ndarray, "98"]
    rotation: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.full((3, 3), np.nan))
    """cam_from_canonical; NaN where unknown."""
    hidden: Float[np.ndarray, "98 2"] = field(default_factory=lambda: np.full((98, 2), np.nan))
    """Where landmarks without a trusted label must lie; crop widths, NaN elsewhere."""
    weight: Float[np.ndarray, "98"] = field(default_factory=lambda: np.ones(98))
    """How much each label counts, 0..1; 1 for those of people."""


class RealFaces:
    """Faces of several packed sets; the last `dev` of the first set are held out."""

    def __init__(self, root: Path, sets: tuple[str, ...], *, labels: Path | None = None, dev: int = 0):
        self.sets = [PackedSet(root, name) for name in sets]
        keys = [(s, i) for s, packed in enumerate(self.sets) for i in range(len(packed))]
        first = len(self.sets[0])
        self.train = [key for key in keys if key[0] != 0 or key[1] < first - dev]
        self.dev = [key for key in keys if key[0] == 0 and key[1] >= first - dev]
        if not self.train:
            raise ValueError(
                f"{root}: expected more than the {dev} faces held out in {sets[0]}, found {first} and no more"
            )
        self._extra = _read_labels(labels) if labels else {}
        self._labelled: dict[tuple[int, int], FaceSample] = {}
        self._poses: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def yaw_deg(self, key: tuple[int, int]) -> float:
        """Rough yaw of a labelled face; NaN where its set has none."""
        yaw = self.sets[key[0]].labels.get("yaw")
        return float("nan") if yaw is None else float(yaw[key[1]])

    def labelled(self, key: tuple[int, int]) -> FaceSample:
        """The sample with WFLW-98 labels, in px of its stored image; labels are made once, pictures are not kept."""
        if key not in self._labelled:
            self._labelled[key] = self._densified(key)
        return replace(self._labelled[key])

    def _densified(self, key: tuple[int, int]) -> FaceSample:
        sample = self.sets[key[0]][key[1]]
        points = wflw98_from_ibug68(sample.points)
        extra = self._extra.get((self.sets[key[0]].name, sample.name))
        if extra is not None:
            points = np.where(np.isfinite(points), points, extra)
        return replace(sample, points=points, state=_states_98(sample.state, sample.points), scheme="wflw98")

    def fit_poses(self, landmarks: Float[np.ndarray, "n 98 3"], cache: Path | None = None) -> float:
        """Gives every training photo a rotation and its hidden landmarks, by fitting the space of these lifted
        landmarks to its labels; returns the share of photos whose fit is good, the others stay without.

        `cache` keeps the fits of these labels and shapes for the next start, and for the other processes of a training.
        """
        self._poses = {}
        crops = [self.crop(key, 16) for key in self.train]
        points = np.stack([crop.points for crop in crops])
        fits = _cached_fits(points, landmarks, cache)
        untrusted = ~np.isfinite(points).all(-1)
        untrusted[:, JAW] |= _bone(fits.rotation) < 0.5
        untrusted[:, 96:] = False
        hidden = np.where(untrusted[..., None], fits.points, np.nan)
        for index in np.flatnonzero(fits.good()):
            self._poses[self.train[index]] = fits.rotation[index], hidden[index]
        return len(self._poses) / max(1, len(self.train))

    def crop(self, key: tuple[int, int], size: int) -> CropSample:
        """The plain crop, for evaluation and for overfitting."""
        sample = self.labelled(key)
        image = sample.image  # before its box: a broken picture has none, and this names it
        crop = crop_transform(sample.box, size=size)
        rotation, hidden = self._pose(key, sample)
        points, hidden = crop.to_crop(sample.points) / size, crop.to_crop(hidden) / size
        return CropSample(cut(image, crop), points, sample.state, rotation, hidden)

    def augmented(
        self, key: tuple[int, int], size: int, rng: np.random.Generator, augmentation: Augmentation
    ) -> CropSample:
        """A random crop of the face, flipped half of the time."""
        sample = self.labelled(key)
        image, points, state = sample.image, sample.points, sample.state
        rotation, hidden = self._pose(key, sample)
        if rng.random() < 0.5:
            image, points, state = flip(image, points, state)
            rotation, hidden = MIRROR @ rotation @ MIRROR, flip_points(hidden, image.shape[1])
        transform = random_crop(rng, sample.box, size, augmentation)
        crop, points, hidden = cut(image, transform), transform.to_crop(points), transform.to_crop(hidden)
        rotation = roll_rotation(np.asarray(transform.roll)) @ rotation
        if rng.random() < augmentation.occluder:
            other = self.sets[0][int(rng.integers(len(self.sets[0])))].image
            crop, cover = occlude(rng, crop, other)
            state = cover_states(state, points, cover)
        crop = distort(rng, crop, augmentation.colour)
        return CropSample(crop, points / size, state, rotation, hidden / size)

    def _pose(self, key: tuple[int, int], sample: FaceSample) -> tuple[np.ndarray, np.ndarray]:
        """Rotation and hidden landmarks (px of the stored image); NaN without a good fit."""
        if key not in self._poses:
            return np.full((3, 3), np.nan), np.full((98, 2), np.nan)
        rotation, hidden = self._poses[key]
        return rotation, crop_transform(sample.box, size=1).to_image(hidden)


def _cached_fits(
    points: Float[np.ndarray, "n 98 2"], landmarks: Float[np.ndarray, "m 98 3"], cache: Path | None
) -> SingleViews:
    """`_fits`, from the file `cache` if it holds those of these very arrays."""
    arrays = [np.ascontiguousarray(points), np.ascontiguousarray(landmarks)]
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
    names = [field.name for field in fields(SingleViews)]
    if cache is not None and cache.exists():
        file = read_npz(cache, "fits of real photos", ("digest", *names))
        if str(file["digest"]) == digest:
            return SingleViews(*(file[name] for name in names))
    fits = _fits(points, landmarks)
    if cache is not None:
        with written_whole(cache) as partial, partial.open("wb") as stream:
            np.savez(stream, digest=digest, **{name: getattr(fits, name) for name in names})
    return fits


def _fits(points: Float[np.ndarray, "n 98 2"], landmarks: Float[np.ndarray, "m 98 3"]) -> SingleViews:
    """A first fit hardly looks at the jaw, a second one as far as the first says that its labels are the bone's."""
    space, weights = shape_space(landmarks), np.ones(points.shape[:2])
    weights[:, 96:] = 0  # lifted shapes know no pupils
    weights[:, JAW] = 0.1
    weights[:, JAW] = _bone(fit_single_views(points, weights, space).rotation)
    return fit_single_views(points, weights, space)


def _bone(rotation: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 33"]:
    """`outline_weight` of the jaw in these poses."""
    return outline_weight(-np.einsum("ni,li->nl", rotation[:, 2], normals()[JAW]))


def flip(image, points, state):
    """The mirrored face with its landmarks renamed."""
    return np.asarray(cv2.flip(image, 1)), flip_points(points, image.shape[1]), state[WFLW98.mirror]


def flip_points(points: Float[np.ndarray, "98 2"], width: int) -> Float[np.ndarray, "98 2"]:
    """The points in the mirrored picture, renamed."""
    return points[WFLW98.mirror] * [-1, 1] + [width, 0]


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
    file = read_npz(path, "pseudo-labels written by `facelift label fill`", ("set", "name", "points"))
    sets, names, points = file["set"], file["name"], file["points"]
    return {(str(s), str(n)): p.astype(np.float64) for s, n, p in zip(sets, names, points, strict=True)}
