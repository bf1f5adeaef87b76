"""Training sets of the 2D detector: each gives pictures and, of one or more landmark definitions, the labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Int8, UInt8

from facelift.archives import read_npz
from facelift.boxes import tight_box
from facelift.crops import box_of_crop
from facelift.datasets.benchmarks import Faces
from facelift.datasets.real_faces import RealFaces
from facelift.datasets.sample import UNKNOWN
from facelift.datasets.views import Labels3D, ViewCache
from facelift.geometry import head_tilt, intrinsics, project
from facelift.landmarks import DEFINITIONS, SCHEMES, WFLW98, conversion, wflw98_of_ibug68

LIDS_AND_LIPS = np.concatenate([WFLW98.regions["eyes"], WFLW98.regions["mouth"]])


@dataclass(frozen=True)
class Labels:
    """One face's labels of one definition."""

    points: Float[np.ndarray, "n 2"]
    """px of the picture (of a crop: crop widths); NaN where there is none."""
    state: Int8[np.ndarray, "n"]


@dataclass(frozen=True)
class LabelledPicture:
    """A face and all that is labelled of it."""

    image: UInt8[np.ndarray, "h w 3"]
    box: Float[np.ndarray, "4"]
    """Face box, px."""
    labels: Mapping[str, Labels]
    """By definition, a key of `facelift.landmarks.DEFINITIONS`."""
    tilt: float = 0.0
    """Clockwise angle in rad of the face in the picture, which its crop takes back."""


@runtime_checkable
class TrainingSet(Protocol):
    """A training set."""

    name: str
    definitions: tuple[str, ...]
    """What it labels."""
    framed: bool
    """The pictures are crops already, that training must not cut anew."""
    turns: bool
    """Training turns the crops at random."""
    yaw_deg: Float[np.ndarray, "n"]
    """Rough yaw of each face; NaN where it is not known."""
    train: Int[np.ndarray, "k"]
    dev: Int[np.ndarray, "k"]
    """Samples to learn from, and those held out."""

    def __getitem__(self, index: int) -> LabelledPicture: ...

    def scored(self, definition: str) -> Int[np.ndarray, "k"]:
        """The landmarks whose labels are good enough to measure errors by."""


class PackedPhotos:
    """A packed set of photos with human iBUG-68 labels.

    A set with visibility states is labelled as MERL-RAV is (merl68), one without as 300-W (ibug68). The WFLW-98 points
    that these determine are labels of wflw98, but for the jaw of 300-W, which is the outline in the picture. `labels`
    (of `facelift label`) add brows' lower edges and pupils to wflw98, `mesh` (of `facelift mesh`) mediapipe478.

    The last `dev` faces are held out; with None, every tenth block of ten.
    """

    framed, turns = False, True

    def __init__(self, root: Path, name: str, *, labels: Path | None, mesh: Path | None, dev: int | None):
        self.name = name
        self._faces = RealFaces(root, (name,), labels=labels)
        packed = self._faces.sets[0]
        self.human = "merl68" if "state" in packed.labels else "ibug68"
        self._mesh = read_mesh(mesh, name) if mesh else {}
        self.definitions: tuple[str, ...] = ("wflw98", self.human, *(("mediapipe478",) if mesh else ()))
        self.yaw_deg = np.array([self._faces.yaw_deg((0, index)) for index in range(len(packed))])
        self.train, self.dev = split(len(packed), dev)

    def __getitem__(self, index: int) -> LabelledPicture:
        sample = self._faces.labelled((0, index))
        human = wflw98_of_ibug68()
        labels = {self.human: Labels(sample.points[human], sample.state[human])}
        shared = sample.points if self.human == "merl68" else without_jaw(sample.points)
        labels["wflw98"] = Labels(shared, sample.state)
        mesh = self._mesh.get(sample.name)
        if mesh is not None:
            labels["mediapipe478"] = unseen_labels(mesh)
        return LabelledPicture(sample.image, sample.box, labels)

    def scored(self, definition: str) -> Int[np.ndarray, "k"]:
        """Of wflw98 those that people labelled."""
        return wflw98_of_ibug68() if definition == "wflw98" else np.arange(SCHEMES[DEFINITIONS[definition]].size)


class ReaderPhotos:
    """Photos of a data set in its official layout, by its reader. Every tenth block of ten faces is held out.

    WFLW labels wflw98_outline, LaPa lapa106; both also label wflw98, but for the jaw, which is the outline in the
    picture.
    """

    framed, turns = False, True

    def __init__(self, faces: Faces, definition: str):
        self.name, self._faces = faces.name, faces
        self._definition = definition
        self.definitions: tuple[str, ...] = ("wflw98", definition)
        self.yaw_deg = np.full(len(faces), np.nan)
        self.train, self.dev = split(len(faces), None)

    def __getitem__(self, index: int) -> LabelledPicture:
        sample = self._faces[index]
        shared = without_jaw(conversion(DEFINITIONS[self._definition], "wflw98") @ sample.points)
        labels = {self._definition: Labels(sample.points, sample.state), "wflw98": unseen_labels(shared)}
        return LabelledPicture(sample.image, tight_box(sample.points), labels)

    def scored(self, definition: str) -> Int[np.ndarray, "k"]:
        return np.arange(SCHEMES[DEFINITIONS[definition]].size)


class RenderedViews:
    """Cached views: the landmarks that they were cached with, projected by the exact camera.

    Under head98 their lids and lips, where people and the head model mean the same points, label wflw98 too: photos
    show few closed eyes. Every tenth face is held out in all its views. `upright`: crops are turned so that the head
    is upright.
    """

    framed = True

    def __init__(self, root: Path, definition: str, labels: Labels3D = "lifted", *, upright: bool = False):
        self.name, self.turns = "views", upright
        self.definitions: tuple[str, ...] = (definition, "wflw98") if definition == "head98" else (definition,)
        self._cache = ViewCache(root, labels=labels)
        centre = -np.einsum("nji,nj->ni", self._cache.rotation, self._cache.translation)
        self.yaw_deg = np.degrees(np.arctan2(centre[:, 0], centre[:, 2]))
        faces = np.unique(self._cache.face)
        if len(faces) < 2:
            raise ValueError(f"{root}: expected views of two faces or more, one to hold out, found {len(faces)}")
        held_out = np.isin(self._cache.face, faces[min(9, len(faces) - 1) :: 10])
        self.train, self.dev = np.flatnonzero(~held_out), np.flatnonzero(held_out)

    def __getitem__(self, index: int) -> LabelledPicture:
        view = self._cache[index]
        points = project(view.landmarks.astype(float), view.rotation, view.translation, intrinsics(self._cache.size))
        whole = box_of_crop(np.array([0.0, 0.0, self._cache.size, self._cache.size]))
        labels = {self.definitions[0]: Labels(points, view.state())}
        if "wflw98" not in labels:
            shared = np.full_like(points, np.nan)
            shared[LIDS_AND_LIPS] = points[LIDS_AND_LIPS]
            labels["wflw98"] = Labels(shared, view.state())
        return LabelledPicture(view.image, whole, labels, float(head_tilt(view.rotation)) if self.turns else 0.0)

    def scored(self, definition: str) -> Int[np.ndarray, "k"]:
        return np.arange(WFLW98.size) if definition == self.definitions[0] else LIDS_AND_LIPS


def split(count: int, dev: int | None) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "m"]]:
    """(train, dev): the last `dev` of the samples held out; with None, every tenth block of ten, at least one face."""
    index = np.arange(count)
    held_out = index >= count - dev if dev is not None else index // 10 % 10 == 9
    if not held_out.any():
        held_out[-1:] = True
    return index[~held_out], index[held_out]


def without_jaw(points: Float[np.ndarray, "98 2"]) -> Float[np.ndarray, "98 2"]:
    """WFLW-98 points with NaN along the jaw."""
    points = points.copy()
    points[WFLW98.regions["contours"]] = np.nan
    return points


def unseen_labels(points: Float[np.ndarray, "n 2"]) -> Labels:
    """Labels without states."""
    return Labels(points, np.full(len(points), UNKNOWN, np.int8))


def read_mesh(path: Path, name: str) -> dict[str, Float[np.ndarray, "478 2"]]:
    """MediaPipe's points (px) of the photos of packed set `name`, by photo; those where it found no face are left out.

    Raises FileNotFoundError or ValueError for what `facelift mesh` did not write.
    """
    file = read_npz(path, "dense points written by `facelift mesh`", ("set", "name", "mesh"))
    if file["mesh"].shape[1:] != (478, 2):
        raise ValueError(f"{path}: expected mesh of shape (n, 478, 2), found {file['mesh'].shape}")
    chosen = (file["set"] == name) & np.isfinite(file["mesh"]).all((1, 2))
    return dict(zip(file["name"][chosen].tolist(), file["mesh"][chosen].astype(np.float64), strict=True))
