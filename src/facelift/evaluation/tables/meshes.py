"""Tables of a benchmark whose faces have meshes: NMLC in the picture and in 3D, and pose.

Faces are read one at a time, twice, so that sets larger than the memory can be scored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facelift.boxes import tight_box
from facelift.evaluation.metrics.nme import region_nme
from facelift.evaluation.metrics.nmlc import Aligned, MeshFace, Nmlc, nmlc
from facelift.evaluation.metrics.normalisers import box_size
from facelift.evaluation.metrics.pose import frobenius, geodesic_deg
from facelift.evaluation.predictions import Predictions
from facelift.evaluation.tables import cells, published
from facelift.evaluation.tables.comparison import chosen, comparison_table
from facelift.evaluation.tables.entries import coverage, finite, place
from facelift.evaluation.tables.mesh_set import MeshSet
from facelift.evaluation.tables.table import Row, Table
from facelift.evaluation.tables.vertices import vertex_table
from facelift.landmarks import SCHEMES

SCHEME = "ibug68"
"""Of the papers' tables: their "full" columns are means over its 68 landmarks."""
REGIONS = SCHEMES[SCHEME].regions
POSE_FAILURE = {"geodesic, degrees": 90.0, "||I - R R^T||": 2.0}
"""The columns of the table of pose, and what a face not found scores where it counts: a quarter turn."""


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Predictions beside the vertices of each face, read anew at every pass."""

    meshes: MeshSet
    predictions: Predictions
    in_3d: bool

    def __iter__(self) -> Iterator[MeshFace]:
        for index in range(len(self.meshes)):
            if self.in_3d:
                assert self.predictions.points_3d is not None
                vertices, points = self.meshes.vertices_3d(index), self.predictions.points_3d[index]
            else:
                vertices, points = self.meshes.vertices_2d(index), self.predictions.points_2d[index]
            scale = float(box_size(tight_box(vertices[None]))[0])
            yield MeshFace(points if self.predictions.found[index] else np.full_like(points, np.nan), vertices, scale)


@dataclass(frozen=True, eq=False)
class MeshEntry:
    """One system on the set."""

    system: str
    predictions: Predictions
    absent: int
    nmlc: Nmlc
    nmlc_3d: Nmlc | None
    error_3d_mm: Float[np.ndarray, "m"] | None = None
    """Mean over the landmarks to the vertices of `nmlc_3d`; None where the set's unit is not mm."""
    frozen: bool = False
    """Whether the vertices were chosen on another split."""


def build_mesh_entry(
    system: str, predictions: Predictions, meshes: MeshSet, indices: np.ndarray | None = None
) -> MeshEntry:
    """Orders, converts and scores predictions; `indices` are vertices frozen from another split.

    Raises ValueError for a file without a face of the set, or a scheme that does not determine `SCHEME`.
    """
    placed, absent = place_meshes(system, predictions, meshes)
    found = nmlc(_Pairs(meshes, placed, in_3d=False), indices=indices)
    frozen = indices is not None
    if placed.points_3d is None or (found.indices < 0).any():
        return MeshEntry(system, placed, absent, found, None, frozen=frozen)
    pairs = _Pairs(meshes, placed, in_3d=True)
    in_3d = nmlc(Aligned(pairs, found.indices, with_scale=True))
    mm = in_3d.per_face * np.array([pair.scale for pair in pairs]) if meshes.unit == "mm" else None
    return MeshEntry(system, placed, absent, found, in_3d, mm, frozen)


def place_meshes(system: str, predictions: Predictions, meshes: MeshSet) -> tuple[Predictions, int]:
    """The predictions in the set's order and in `SCHEME`, and how many faces the file does not name.

    Raises ValueError for a file without a face of the set, or a scheme that does not determine `SCHEME`.
    """
    placed, absent = place(system, predictions, meshes.name.tolist(), meshes.benchmark.name)
    return placed.to(SCHEME), absent


def mesh_tables(meshes: MeshSet, entries: Sequence[MeshEntry]) -> list[Table]:
    """Those that labels and predictions have the data for."""
    optional = [table for table in (nmlc_3d_table(meshes, entries), pose_table(meshes, entries)) if table.rows]
    chosen = vertex_table(meshes, {entry.system: entry.nmlc.indices for entry in entries}, SCHEME)
    return [nmlc_table(meshes, entries), *category_tables(meshes, entries), *optional, chosen]


def mesh_comparison(meshes: MeshSet, entries: Sequence[MeshEntry], names: tuple[str, str]) -> Table:
    """Paired difference of NMLC per face, whole and by region, each system by its own vertices."""
    a, b = (region_nme(entry.nmlc.errors, REGIONS) for entry in chosen(entries, names))
    errors = {f"NMLC {region}, %": (100 * a[region], 100 * b[region]) for region in a}
    return comparison_table(names, errors, meshes.identity)


def nmlc_table(meshes: MeshSet, entries: Sequence[MeshEntry]) -> Table:
    """NMLC by region."""
    rows = tuple(row for entry in entries for row in _regions(entry, entry.nmlc, meshes))
    frozen = any(entry.frozen for entry in entries)
    notes = (
        "The vertices of the landmarks were chosen on another split (--vertices)."
        if frozen
        else "The vertex of each landmark minimises the mean error over the whole set (Ferman et al. 2024, Eq. 5, 6).",
        *([f"Meshes upsampled {len(meshes.edges)} times before (--upsample)."] if meshes.edges else []),
        "Error divided by sqrt(w h) of the box of the projected vertices; means over the faces found.",
        f"{cells.FAILED}: over all faces, one not found scores 100 %; it chooses no vertex.",
        *(coverage(entry.system, entry.predictions, entry.absent) for entry in entries),
    )
    name = meshes.benchmark.name
    return Table(f"NMLC, % ({name})", ("full", *REGIONS, "not found"), rows + published.nmlc_rows(name), notes)


def category_tables(meshes: MeshSet, entries: Sequence[MeshEntry]) -> list[Table]:
    """NMLC by the values of each attribute, by the vertices of the whole set."""
    keys = [key for key in meshes.benchmark.groups if key in meshes.attributes]
    return [_category_table(meshes, entries, key) for key in keys]


def _category_table(meshes: MeshSet, entries: Sequence[MeshEntry], key: str) -> Table:
    labels = meshes.attributes[key]
    values = [value for value in dict.fromkeys(sorted(labels.tolist())) if value]
    rows: list[Row] = []
    for entry in entries:
        errors = {value: 100 * np.where(labels == value, entry.nmlc.per_face, np.nan) for value in values}
        rows += cells.both_ways(entry.system, errors, meshes.identity, failure=100.0)
    known = published.nmlc_rows(meshes.benchmark.name, key)
    return Table(f"NMLC by {key}, %", tuple(values), (*rows, *known))


def nmlc_3d_table(meshes: MeshSet, entries: Sequence[MeshEntry]) -> Table:
    """NMLC of 3D points, aligned by the vertices that NMLC in the picture has chosen."""
    rows: list[Row] = []
    for entry in entries:
        if entry.nmlc_3d is None:
            continue
        first, *failed = _regions(entry, entry.nmlc_3d, meshes)
        mm = {} if entry.error_3d_mm is None else {"full, mm": cells.mean(entry.error_3d_mm, meshes.identity)}
        rows += [Row(first.system, {**first.cells, **mm}), *failed]
    columns = ("full", *REGIONS, *(["full, mm"] if meshes.unit == "mm" else []), "not found")
    notes = (
        "Each prediction aligned by a similarity to the vertices chosen in 2D; then they are chosen anew in 3D.",
        "Error divided by sqrt(w h) of the mesh's box in its own x and y.",
    )
    return Table("NMLC in 3D, %", columns, tuple(rows), notes)


def pose_table(meshes: MeshSet, entries: Sequence[MeshEntry]) -> Table:
    """Distances between predicted and true rotations."""
    rows: list[Row] = []
    for entry in entries:
        if entry.predictions.rotation is None or meshes.rotation is None:
            continue
        found = entry.predictions.found
        predicted = np.where(found[:, None, None], entry.predictions.rotation, np.nan)
        distances = (geodesic_deg(predicted, meshes.rotation), frobenius(predicted, meshes.rotation))
        lost = finite(meshes.rotation) & ~found
        errors = {n: np.where(lost, np.inf, values) for n, values in zip(POSE_FAILURE, distances, strict=True)}
        rows += cells.both_ways(entry.system, errors, meshes.identity, failure=POSE_FAILURE)
    notes = (f"{cells.FAILED}: over all faces, one not found scores a quarter turn.",)
    return Table("Pose", tuple(POSE_FAILURE), tuple(rows), notes, digits=3)


def _regions(entry: MeshEntry, found: Nmlc, meshes: MeshSet) -> list[Row]:
    errors = {name: 100 * part for name, part in region_nme(found.errors, REGIONS).items()}
    first, *failed = cells.both_ways(entry.system, errors, meshes.identity, failure=100.0)
    return [Row(entry.system, {**first.cells, "not found": int((~entry.predictions.found).sum())}), *failed]
