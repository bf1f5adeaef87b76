"""Tables of a benchmark whose faces have meshes: NMLC in the picture and in 3D, and pose.

Faces are read one at a time, twice, so that sets larger than the memory can be scored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from facelift.boxes import tight_box
from facelift.datasets.benchmarks import Benchmark, FacesOfMeshes
from facelift.evaluation.metrics.nme import region_nme
from facelift.evaluation.metrics.nmlc import Aligned, MeshFace, Nmlc, nmlc
from facelift.evaluation.metrics.normalisers import box_size
from facelift.evaluation.metrics.pose import frobenius, geodesic_deg
from facelift.evaluation.predictions import Predictions
from facelift.evaluation.tables import cells, published
from facelift.evaluation.tables.comparison import chosen, comparison_table
from facelift.evaluation.tables.entries import coverage, finite, place
from facelift.evaluation.tables.table import Row, Table
from facelift.landmarks import SCHEMES

SCHEME = "ibug68"
"""Of the papers' tables: their "full" columns are means over its 68 landmarks."""


@dataclass(frozen=True, eq=False)
class Labels:
    """What stays in memory of each face: no vertices."""

    name: np.ndarray
    identity: np.ndarray
    attributes: dict[str, np.ndarray]
    rotation: Float[np.ndarray, "m 3 3"] | None


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Predictions beside the vertices of each face, read anew at every pass."""

    faces: FacesOfMeshes
    predictions: Predictions
    in_3d: bool

    def __iter__(self) -> Iterator[MeshFace]:
        for index in range(len(self.faces)):
            sample = self.faces[index]
            found = self.predictions.found[index]
            if self.in_3d:
                assert self.predictions.points_3d is not None and sample.points_3d is not None
                vertices, points = sample.points_3d, self.predictions.points_3d[index]
            else:
                vertices, points = sample.points, self.predictions.points_2d[index]
            scale = float(box_size(tight_box(vertices[None]))[0])
            yield MeshFace(points if found else np.full_like(points, np.nan), vertices, scale)


@dataclass(frozen=True, eq=False)
class MeshEntry:
    """One system on the set."""

    system: str
    predictions: Predictions
    absent: int
    nmlc: Nmlc
    nmlc_3d: Nmlc | None


@dataclass(frozen=True, eq=False)
class MeshTables:
    """All tables of some systems on one benchmark with meshes."""

    benchmark: Benchmark
    labels: Labels
    entries: Sequence[MeshEntry]

    def tables(self) -> list[Table]:
        """Those that labels and predictions have the data for."""
        tables = [self.regions, *(self.categories(key) for key in self._category_keys)]
        tables += [table for table in (self.regions_3d, self.pose) if table.rows]
        return [*tables, self.vertices]

    @cached_property
    def regions(self) -> Table:
        """NMLC by region."""
        regions = SCHEMES[SCHEME].regions
        rows = [row for entry in self.entries for row in self._regions(entry.system, entry.nmlc, entry.predictions)]
        notes = (
            "The vertex of each landmark minimises the mean error over the whole set (Ferman et al. 2024, Eq. 5, 6).",
            "Error divided by sqrt(w h) of the box of the projected vertices; means over the faces found.",
            f"{cells.FAILED}: over all faces, one not found scores 100 %; it chooses no vertex.",
            *(coverage(entry.system, entry.predictions, entry.absent) for entry in self.entries),
        )
        known = published.nmlc_rows(self.benchmark.name)
        return Table(f"NMLC, % ({self.benchmark.name})", ("full", *regions, "not found"), (*rows, *known), notes)

    def categories(self, key: str) -> Table:
        """NMLC by the values of an attribute, by the vertices of the whole set."""
        labels = self.labels.attributes[key]
        values = [value for value in dict.fromkeys(sorted(labels.tolist())) if value]
        rows: list[Row] = []
        for entry in self.entries:
            per_face = entry.nmlc.per_face
            errors = {value: 100 * np.where(labels == value, per_face, np.nan) for value in values}
            rows += cells.both_ways(entry.system, errors, self.labels.identity, failure=100.0)
        return Table(f"NMLC by {key}, %", tuple(values), tuple(rows))

    @cached_property
    def regions_3d(self) -> Table:
        """NMLC of 3D points, aligned by the vertices that NMLC in the picture has chosen."""
        rows = [
            row
            for entry in self.entries
            if entry.nmlc_3d is not None
            for row in self._regions(entry.system, entry.nmlc_3d, entry.predictions)
        ]
        notes = (
            "Each prediction aligned by a similarity to the vertices chosen in 2D; then they are chosen anew in 3D.",
            "Error divided by sqrt(w h) of the mesh's box in its own x and y.",
        )
        columns = ("full", *SCHEMES[SCHEME].regions, "not found")
        return Table("NMLC in 3D, %", columns, tuple(rows), notes)

    @cached_property
    def pose(self) -> Table:
        """Distances between predicted and true rotations."""
        rows: list[Row] = []
        for entry in self.entries:
            if entry.predictions.rotation is None or self.labels.rotation is None:
                continue
            known = finite(self.labels.rotation)
            found = entry.predictions.found[:, None, None]
            predicted = np.where(found, entry.predictions.rotation, np.nan)
            errors = {
                "geodesic, degrees": geodesic_deg(predicted, self.labels.rotation),
                "||I - R R^T||": frobenius(predicted, self.labels.rotation),
            }
            lost = known & ~entry.predictions.found
            errors = {name: np.where(lost, np.inf, values) for name, values in errors.items()}
            failure = {"geodesic, degrees": 90.0, "||I - R R^T||": 2.0}
            rows += cells.both_ways(entry.system, errors, self.labels.identity, failure=failure)
        notes = (f"{cells.FAILED}: over all faces, one not found scores a quarter turn.",)
        return Table("Pose", ("geodesic, degrees", "||I - R R^T||"), tuple(rows), notes, digits=3)

    @cached_property
    def vertices(self) -> Table:
        """The chosen vertices, to be frozen and applied to another split."""
        columns = tuple(str(index) for index in range(SCHEMES[SCHEME].size))
        rows = tuple(
            Row(entry.system, {str(i): int(v) for i, v in enumerate(entry.nmlc.indices)}) for entry in self.entries
        )
        return Table("Chosen vertex of each landmark", columns, rows)

    def comparison(self, first: str, second: str) -> Table:
        """Paired difference of NMLC per face, each system by its own vertices."""
        a, b = chosen(self.entries, (first, second))
        found = cells.difference(100 * a.nmlc.per_face, 100 * b.nmlc.per_face, self.labels.identity)
        return comparison_table((first, second), {"NMLC, %": found})

    @cached_property
    def _category_keys(self) -> list[str]:
        held = self.labels.attributes
        return [key for key in self.benchmark.groups if key in held and held[key].dtype.kind == "U"]

    def _regions(self, system: str, found: Nmlc, predictions: Predictions) -> list[Row]:
        errors = {name: 100 * part for name, part in region_nme(found.errors, SCHEMES[SCHEME].regions).items()}
        first, *failed = cells.both_ways(system, errors, self.labels.identity, failure=100.0)
        return [Row(system, {**first.cells, "not found": int((~predictions.found).sum())}), *failed]


def mesh_labels(benchmark: Benchmark, faces: FacesOfMeshes) -> Labels:
    """One pass over the set for what is small. Raises what its reader raises."""
    names, identities, rotations = [], [], []
    columns: dict[str, list[str]] = {}
    for index in range(len(faces)):
        sample = faces[index]
        names.append(sample.name)
        identities.append(sample.identity or sample.name)
        rotations.append(np.full((3, 3), np.nan) if sample.rotation is None else sample.rotation)
        for key in benchmark.groups:
            columns.setdefault(key, []).append(str(sample.attributes.get(key, "")))
    attributes = {key: np.array(values, str) for key, values in columns.items() if any(values)}
    rotation = np.stack(rotations) if benchmark.pose else None
    return Labels(np.array(names, str), np.array(identities, str), attributes, rotation)


def placed_meshes(
    system: str, predictions: Predictions, labels: Labels, benchmark: Benchmark
) -> tuple[Predictions, int]:
    """The predictions in the set's order and in `SCHEME`, and how many faces the file does not name.

    Raises ValueError for a file without a face of the set, or a scheme that does not determine `SCHEME`.
    """
    placed, absent = place(system, predictions, labels.name.tolist(), benchmark.name)
    return placed.to(SCHEME), absent


def build_mesh_entry(
    system: str,
    predictions: Predictions,
    labels: Labels,
    faces: FacesOfMeshes,
    benchmark: Benchmark,
    indices: np.ndarray | None = None,
) -> MeshEntry:
    """Orders, converts and scores predictions; `indices` are vertices frozen from another split.

    Raises ValueError for a file without a face of the set, or a scheme that does not determine `SCHEME`.
    """
    placed, absent = placed_meshes(system, predictions, labels, benchmark)
    found = nmlc(_Pairs(faces, placed, in_3d=False), indices=indices)
    in_3d = None
    if placed.points_3d is not None and (found.indices >= 0).all():
        in_3d = nmlc(Aligned(_Pairs(faces, placed, in_3d=True), found.indices, with_scale=True))
    return MeshEntry(system, placed, absent, found, in_3d)
