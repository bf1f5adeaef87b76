"""Rendered views with exact dense landmarks: a head's own vertices, seen by the view's camera."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from facelift.archives import read_npz
from facelift.atomic import written_whole
from facelift.crops import crop_transform, cut
from facelift.datasets.augment import Augmentation, distort, occlude
from facelift.datasets.views import ViewCache
from facelift.geometry import intrinsics, project
from facelift.morphable.vertex_sets import VertexSets

if TYPE_CHECKING:
    from facelift.generators.morphable import MorphableGenerator


@dataclass(frozen=True)
class DenseSample:
    """A face crop with its dense landmarks."""

    image: UInt8[np.ndarray, "s s 3"]
    points: Float[np.ndarray, "l 2"]
    """Crop widths; NaN where nobody knows."""


@dataclass(frozen=True, eq=False)
class HeadPoints:
    """Where a set's points lie on each head of a cache, canonical."""

    own: Float[np.ndarray, "heads l 3"]
    partners: Float[np.ndarray, "heads l 3"]
    """Where each point's mirror image lies."""


class DenseViews:
    """Views of a cache as crops of `size` px. A reflected picture shows each point where its partner was."""

    def __init__(self, views: ViewCache, heads: HeadPoints, *, size: int):
        self.views, self.heads, self.size = views, heads, size

    def __len__(self) -> int:
        return len(self.views)

    def points(self, index: int, *, reflected: bool = False) -> Float[np.ndarray, "l 2"]:
        """The true points in the view as it was rendered, in its widths; `reflected`: the partners', in their order."""
        places = self.heads.partners if reflected else self.heads.own
        rotation, translation = self.views.rotation[index].astype(float), self.views.translation[index].astype(float)
        return project(places[self.views.face[index]].astype(float), rotation, translation, intrinsics(1.0))

    def plain(self, index: int) -> DenseSample:
        """The view as it is."""
        image = cv2.resize(self.views[index].image, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return DenseSample(np.asarray(image), self.points(index))

    def augmented(
        self, index: int, rng: np.random.Generator, augmentation: Augmentation, flips: tuple[float, float]
    ) -> DenseSample:
        """The view moved, turned and scaled, covered by a patch of another view at times, distorted, and flipped left
        to right and upside down with the chances `flips`."""
        flip = rng.random() < flips[0], rng.random() < flips[1]
        image, points = self.views[index].image, self.points(index, reflected=flip[0] != flip[1])
        crop = _moved(rng, len(image), self.size, augmentation)
        image, points = flipped(image, points, flip)
        image, points = cut(image, crop), crop.to_crop(points * len(image)) / self.size
        if rng.random() < augmentation.occluder:
            image, _ = occlude(rng, image, self.views[int(rng.integers(len(self.views)))].image)
        return DenseSample(distort(rng, image, augmentation.colour), points)


def flipped(
    image: UInt8[np.ndarray, "s s 3"], points: Float[np.ndarray, "l 2"], flip: tuple[bool, bool]
) -> tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "l 2"]]:
    """The picture mirrored left to right, upside down, or both, and the places of the points (widths) in it. Which
    point a place belongs to after one mirroring is for the caller to know."""
    horizontal, vertical = flip
    image = image[:: -1 if vertical else 1, :: -1 if horizontal else 1]
    points = np.where(np.array(flip), 1 - points, points)
    return np.ascontiguousarray(image), points


def _moved(rng: np.random.Generator, side: int, size: int, augmentation: Augmentation):
    """A crop about that of a view: its side, place and turn drawn from the augmentation's ranges."""
    scale = float(np.exp(np.clip(rng.normal(0, augmentation.scale), -0.3, 0.3)))
    shift = np.clip(rng.normal(0, augmentation.shift, 2), -0.15, 0.15) * side
    box = np.array([0.0, 0, side, side]) + np.tile(shift, 2)
    return crop_transform(box, size=size, scale=scale, roll=np.radians(rng.normal(0, augmentation.roll_deg)))


def head_points(
    views: ViewCache, generator: "MorphableGenerator", sets: VertexSets, count: int, cache: Path | None = None
) -> HeadPoints:
    """The points of every head of a cache, from its mesh; the file `cache` keeps them."""
    vertices = sets[count].vertices
    partners = sets.partners[sets.places(count)]
    digest = hashlib.sha256(vertices.tobytes() + partners.tobytes() + views.seeds.tobytes()).hexdigest()
    if cache is not None and cache.exists():
        kept = read_npz(cache, "dense points of the heads of a cache of views", ("digest", "own", "partners"))
        if str(kept["digest"]) == digest:
            return HeadPoints(kept["own"], kept["partners"])
    own, mirrored = [], []
    for seed in views.seeds:
        mesh = generator.head.vertices(*generator.head.sample(np.random.default_rng([int(seed), 0])))
        own.append(mesh[vertices])
        mirrored.append(mesh[partners])
    found = HeadPoints(np.array(own, np.float32), np.array(mirrored, np.float32))
    if cache is not None:
        with written_whole(cache) as partial, partial.open("wb") as stream:
            np.savez(stream, digest=digest, own=found.own, partners=found.partners)
    return found
