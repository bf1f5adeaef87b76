"""DAD-3DHeads' table of whole heads: Chamfer distance and Z5, as released and corrected."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from facelift.archives import read_npz
from facelift.commands.report import progress
from facelift.datasets.readers.dad3dheads import VERTICES
from facelift.datasets.readers.meshes import MeshSample, points_on
from facelift.evaluation.metrics.bootstrap import bootstrap_mean
from facelift.evaluation.metrics.heads import DAD_SEVEN, dad_chamfer, z_accuracy
from facelift.evaluation.tables.entries import coverage
from facelift.evaluation.tables.mesh_set import MeshSet
from facelift.evaluation.tables.meshes import MeshEntry
from facelift.evaluation.tables.table import Measured, Row, Table, measured

CHAMFER, Z5 = ("Chamfer, released", "Chamfer, corrected"), ("Z5, released", "Z5, corrected")


@dataclass(frozen=True, eq=False)
class FlameSubsets:
    """Parts of FLAME that the benchmark measures and that no data set may hand on. What is None is not at hand."""

    face: Int[np.ndarray, "f"] | None = None
    """Vertices of the Chamfer distance."""
    head: Int[np.ndarray, "h"] | None = None
    """Vertices of Z5: 3,669 as released."""
    seven: Int[np.ndarray, "7"] | Float[np.ndarray, "7 v"] | None = None
    """The landmarks `DAD_SEVEN`: vertices, or weights of all vertices."""


def read_subsets(path: Path) -> FlameSubsets:
    """The arrays `face`, `head` and `seven` of an .npz, any of them.

    Raises FileNotFoundError, or ValueError that names the file for anything else.
    """
    path = Path(path)
    held = read_npz(path, "an .npz of FLAME's vertex subsets")
    if not held or not held.keys() <= {"face", "head", "seven"}:
        raise ValueError(f"{path}: expected arrays among face, head, seven, found {', '.join(held) or 'none'}")
    for key, value in held.items():
        _check_subset(path, key, value)
    return FlameSubsets(**held)


def _check_subset(path: Path, key: str, value: np.ndarray) -> None:
    if key == "seven" and value.shape == (7, VERTICES):
        sums = value.sum(1)
        if not np.allclose(sums, 1):
            raise ValueError(f"{path}: expected weights seven with sums 1, found {sums.min():.4g}..{sums.max():.4g}")
        return
    if value.ndim != 1 or value.dtype.kind not in "iu" or not len(value) or (key == "seven" and len(value) != 7):
        wanted = f"7 vertices or weights (7, {VERTICES})" if key == "seven" else "a list of vertices"
        raise ValueError(f"{path}: expected {key} as {wanted}, found an array {value.shape} of {value.dtype}")
    if value.min() < 0 or value.max() >= VERTICES:
        raise ValueError(f"{path}: expected vertices 0..{VERTICES - 1} in {key}, found {value.min()}..{value.max()}")


def head_table(meshes: MeshSet, entries: Sequence[MeshEntry], subsets: FlameSubsets) -> Table | None:
    """Chamfer and Z5 of the systems whose predictions hold `vertices`; None where none does.

    Raises ValueError for vertices without `points_3d`, which heads are aligned by.
    """
    scored = [entry for entry in entries if entry.predictions.vertices is not None]
    if not scored:
        return None
    for entry in scored:
        if entry.predictions.points_3d is None:
            raise ValueError(f"{entry.system}: expected points_3d beside vertices, to align heads by, found none")
    values = {entry.system: np.full((len(meshes), 4), np.nan) for entry in scored}
    for index in range(len(meshes)):
        progress(f"heads: {index + 1}/{len(meshes)}")
        sample = meshes.faces.meshes[index]
        for entry in scored:
            if entry.predictions.found[index]:
                values[entry.system][index] = [
                    *_chamfers(entry, sample, index, subsets),
                    *_z5s(entry, sample, index, subsets),
                ]
    progress("")
    rows = tuple(_row(entry, values[entry.system], meshes) for entry in scored)
    notes = (*_choices(subsets), *_skipped(scored), *(coverage(e.system, e.predictions, e.absent) for e in scored))
    return Table("Whole heads (DAD-3DHeads)", (*CHAMFER, *Z5, "not found"), rows, notes, digits=3)


def _has_z5(entry: MeshEntry) -> bool:
    vertices, rotation = entry.predictions.vertices, entry.predictions.rotation
    return vertices is not None and vertices.shape[1] == VERTICES and rotation is not None


def _chamfers(entry: MeshEntry, sample: MeshSample, index: int, subsets: FlameSubsets) -> list[float]:
    predictions, target = entry.predictions, sample.mesh.vertices
    assert predictions.vertices is not None and predictions.points_3d is not None
    seven = entry.nmlc.indices[DAD_SEVEN] if subsets.seven is None else subsets.seven
    face = np.arange(len(target)) if subsets.face is None else subsets.face
    arguments = (predictions.vertices[index], predictions.points_3d[index, DAD_SEVEN], target, points_on(target, seven))
    return [
        dad_chamfer(*arguments, face=face, variant="released"),
        dad_chamfer(*arguments, face=face, variant="corrected"),
    ]


def _z5s(entry: MeshEntry, sample: MeshSample, index: int, subsets: FlameSubsets) -> list[float]:
    """Both meshes turned into the camera's frame, where z is depth."""
    if not _has_z5(entry) or sample.camera is None:
        return [np.nan, np.nan]
    assert entry.predictions.vertices is not None and entry.predictions.rotation is not None
    head = slice(None) if subsets.head is None else subsets.head
    prediction = (entry.predictions.vertices[index] @ entry.predictions.rotation[index].T)[head]
    target = (sample.mesh.vertices @ sample.camera.R.T)[head]
    return [z_accuracy(prediction, target, variant="released"), z_accuracy(prediction, target, variant="corrected")]


def _row(entry: MeshEntry, values: np.ndarray, meshes: MeshSet) -> Row:
    cells: dict[str, Measured | float] = {
        column: measured(bootstrap_mean(values[:, i], groups=meshes.identity))
        for i, column in enumerate((*CHAMFER, *Z5))
        if column in CHAMFER or _has_z5(entry)
    }
    return Row(entry.system, cells | {"not found": int((~entry.predictions.found).sum())})


def _choices(subsets: FlameSubsets) -> Iterator[str]:
    yield "Chamfer: from the truth to the nearest predicted vertex, inner eye corners 20 apart; squared as released."
    yield "Z5: share of equal depth orders of neighbours, a fraction; means over the faces found."
    if subsets.face is None or subsets.head is None:
        names = " and ".join(name for name in ("face", "head") if getattr(subsets, name) is None)
        yield f"All {VERTICES} vertices instead of FLAME's {names} (--subsets): not comparable with published numbers."
    if subsets.seven is None:
        yield "The true landmarks to align by are the vertices that NMLC chose for each system (--subsets)."


def _skipped(entries: Sequence[MeshEntry]) -> Iterator[str]:
    for entry in entries:
        assert entry.predictions.vertices is not None
        count = entry.predictions.vertices.shape[1]
        if count != VERTICES:
            yield f"{entry.system}: no Z5, which needs FLAME's {VERTICES} vertices; its meshes have {count}."
        elif entry.predictions.rotation is None:
            yield f"{entry.system}: no Z5, which needs the array rotation."
