"""The benchmarks by name: which reader opens each, and what its protocol says. docs/datasets.md describes the files."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from facelift.datasets.packed import PackedSet
from facelift.datasets.readers.aflw import AFLW
from facelift.datasets.readers.aflw2000 import AFLW2000Faces
from facelift.datasets.readers.aflw2000_sample import AFLW2000Sample
from facelift.datasets.readers.biwi import Biwi
from facelift.datasets.readers.celebv_hq import CelebVHQ
from facelift.datasets.readers.dad3dheads import ATTRIBUTES, DAD3DHeads
from facelift.datasets.readers.florence import Florence
from facelift.datasets.readers.lapa import LaPa
from facelift.datasets.readers.merl_rav import MerlRav
from facelift.datasets.readers.meshes import MeshSample
from facelift.datasets.readers.multiface import Multiface
from facelift.datasets.readers.now import NoW
from facelift.datasets.readers.w300 import W300
from facelift.datasets.readers.w300_full import W300Full
from facelift.datasets.readers.w300lp import W300LP
from facelift.datasets.readers.w300vw import W300VW
from facelift.datasets.readers.wflw import SUBSETS, WFLW
from facelift.datasets.sample import FaceSample

log = logging.getLogger(__name__)

Normaliser = Literal["box", "face_box", "inter_ocular", "none"]
"""What divides a 2D error: sqrt(w h) of the labelled points' tight box; the same of the box that the set gives; the
distance of the outer eye corners; "none" where the set has no 2D points to score."""


@runtime_checkable
class Faces(Protocol):
    """Labelled faces in a fixed order."""

    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> FaceSample: ...


@runtime_checkable
class MeshFaces(Protocol):
    """Faces with meshes in a fixed order."""

    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> MeshSample: ...


class FacesOfMeshes:
    """The faces of a set with meshes; `meshes` is the set itself."""

    def __init__(self, meshes: MeshFaces):
        self.meshes, self.name = meshes, meshes.name

    def __len__(self) -> int:
        return len(self.meshes)

    def __getitem__(self, index: int) -> FaceSample:
        return self.meshes[index].face


@dataclass(frozen=True)
class Benchmark:
    """A set, or the part of one that papers score."""

    name: str
    folder: str
    """Where it is expected in the data folder; "." for the packed sets, whose files lie in it."""
    read: Callable[[Path], Faces]
    scheme: str
    """Of the samples' points; "none" without any."""
    normaliser: Normaliser = "none"
    groups: tuple[str, ...] = ()
    """Attributes of the samples that its tables group by; "yaw" in bins of its absolute value, the others by value."""
    faces: int | None = None
    """How many the release has; None where that depends on what can still be downloaded."""
    visibility: bool = False
    """Whether points have visibility labels."""
    marked: bool = False
    """Whether people marked the points in the pictures: then a system's marks are scored, where it has any, and not the
    projections of its 3D landmarks."""
    pose: bool = False
    """Whether samples have a rotation of the head to score."""
    mesh: bool = False
    """Whether samples have 3D shapes: then the reader's samples are `FacesOfMeshes.meshes`."""


def open_benchmark(name: str, data: Path) -> Faces:
    """The faces of benchmark `name` in the data folder.

    Raises ValueError for an unknown name, FileNotFoundError or ValueError that says what is missing there or wrong.
    Logs a warning where the number of faces is not that of the release.
    """
    benchmark = find_benchmark(name)
    folder = Path(data) / benchmark.folder
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected the files of benchmark {name}, found none (docs/datasets.md)")
    faces = benchmark.read(folder)
    if benchmark.faces is not None and len(faces) != benchmark.faces:
        log.warning("%s: expected %d faces as released, found %d", folder, benchmark.faces, len(faces))
    return faces


def find_benchmark(name: str) -> Benchmark:
    """The protocol of a benchmark. Raises ValueError that lists the names for an unknown one."""
    for benchmark in BENCHMARKS:
        if benchmark.name == name:
            return benchmark
    raise ValueError(f"benchmark: expected one of {', '.join(benchmark_names())}, found {name!r}")


def benchmark_names() -> tuple[str, ...]:
    """All names, in the order of docs/datasets.md."""
    return tuple(benchmark.name for benchmark in BENCHMARKS)


def _aflw2000(name: str, folder: str, read: Callable[[Path], Faces], faces: int) -> Benchmark:
    return Benchmark(name, folder, read, "ibug68", "box", ("yaw",), faces, pose=True)


def _wflw(subset: str | None, faces: int) -> Benchmark:
    name = "wflw_test" if subset is None else f"wflw_test_{subset}"
    groups = SUBSETS if subset is None else ()
    read = lambda root: WFLW(root, subset=subset)  # noqa: E731
    return Benchmark(name, "WFLW", read, "wflw98", "inter_ocular", groups, faces, marked=True)


def _w300(split: str, faces: int) -> Benchmark:
    groups = ("subset",) if split == "full" else ("source",)
    read = lambda root: W300(root, split)  # noqa: E731
    return Benchmark(f"300w_{split}", "300W", read, "ibug68", "inter_ocular", groups, faces, marked=True)


def _w300vw(category: int | None) -> Benchmark:
    name, groups = ("300vw", ("category",)) if category is None else (f"300vw_{category}", ())
    return Benchmark(name, "300VW", lambda root: W300VW(root, category), "ibug68", "inter_ocular", groups, marked=True)


def _merl(name: str, faces: int) -> Benchmark:
    groups = ("yaw", "pose_group")
    read = lambda root: PackedSet(root, name)  # noqa: E731
    return Benchmark(name, ".", read, "ibug68", "box", groups, faces, visibility=True, marked=True)


BENCHMARKS: tuple[Benchmark, ...] = (
    _aflw2000("aflw2000", "AFLW2000-3D", AFLW2000Faces, 2000),
    _aflw2000("aflw2000_original", "AFLW2000-3D", lambda root: AFLW2000Faces(root, "original"), 2000),
    _aflw2000("aflw2000_sample", ".", AFLW2000Sample, 100),
    _aflw2000("aflw2000_sample_original", ".", lambda root: AFLW2000Sample(root, "original"), 100),
    Benchmark("300w_lp", "300W_LP", W300LP, "ibug68", "box", ("yaw", "source", "flipped"), 122450, pose=True),
    Benchmark("aflw", "AFLW", AFLW, "aflw21", "face_box", ("yaw",), marked=True),
    _w300("common", 554),
    _w300("challenge", 135),
    _w300("full", 689),
    _w300("train", 3148),
    _wflw(None, 2500),
    _wflw("pose", 326),
    _wflw("expression", 314),
    _wflw("illumination", 698),
    _wflw("makeup", 206),
    _wflw("occlusion", 736),
    _wflw("blur", 773),
    Benchmark("lapa_test", "LaPa", LaPa, "lapa106", "inter_ocular", (), 2000, marked=True),
    Benchmark(
        "merl_rav_test", "MERL-RAV", MerlRav, "ibug68", "box", ("pose_group",), 3865, visibility=True, marked=True
    ),
    Benchmark(
        "dad3dheads_val",
        "DAD-3DHeadsDataset",
        lambda root: FacesOfMeshes(DAD3DHeads(root)),
        "flame5023",
        "box",
        tuple(ATTRIBUTES),
        4312,
        pose=True,
        mesh=True,
    ),
    Benchmark(
        "multiface",
        "Multiface",
        lambda root: FacesOfMeshes(Multiface(root)),
        "multiface7306",
        "box",
        ("sequence", "camera"),
        mesh=True,
    ),
    Benchmark("celebv_hq", "CelebV-HQ", CelebVHQ, "none"),
    _w300vw(None),
    _w300vw(1),
    _w300vw(2),
    _w300vw(3),
    Benchmark("biwi", "BIWI", Biwi, "none", "none", ("yaw",), 15678, pose=True),
    Benchmark(
        "florence",
        "Florence",
        lambda root: FacesOfMeshes(Florence(root)),
        "nose_tip",
        "none",
        ("pitch", "yaw"),
        mesh=True,
    ),
    Benchmark("now_val", "NoW", lambda root: FacesOfMeshes(NoW(root)), "now7", "none", ("challenge",), 352, mesh=True),
    _merl("merl_test", 2548),
    _merl("merl_train", 10049),
    Benchmark(
        "w300_train",
        ".",
        lambda root: PackedSet(root, "w300_train"),
        "ibug68",
        "inter_ocular",
        ("source",),
        2009,
        marked=True,
    ),
    Benchmark("w300_full", ".", W300Full, "ibug68", "inter_ocular", ("source",), 1157, marked=True),
)
