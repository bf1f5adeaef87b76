"""Tables of the benchmarks whose truth are 3D scans: Florence (point to plane) and NoW (scan to mesh).

Scans are read one at a time, once for all systems.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from facelift.commands.report import progress
from facelift.datasets.benchmarks import Benchmark, FacesOfMeshes
from facelift.datasets.readers.florence import CROP_MM
from facelift.datasets.readers.meshes import MeshSample
from facelift.evaluation.metrics.definition_offset import px_per_unit
from facelift.evaluation.metrics.heads import DAD_SEVEN
from facelift.evaluation.metrics.scans import ScanErrors, florence_rmse, now_distances, now_summary
from facelift.evaluation.predictions import Predictions
from facelift.evaluation.tables import cells, published
from facelift.evaluation.tables.comparison import chosen, comparison_table
from facelift.evaluation.tables.entries import coverage
from facelift.evaluation.tables.mesh_set import MeshSet, gather_meshes
from facelift.evaluation.tables.meshes import SCHEME, place_meshes
from facelift.evaluation.tables.table import Measured, Row, Table
from facelift.geometry import Similarity

NOSE_TIP = 30
"""Of `SCHEME`."""
NOW_SEVEN = DAD_SEVEN
"""Landmarks of `SCHEME` in the order of NoW's seven: eye corners from the subject's right to the left, nose bottom,
right and left mouth corner."""
_DRAWS = 200
"""Of the bootstrap of a median over all vertices of all scans, too many for `bootstrap.DRAWS`."""


@dataclass(frozen=True, eq=False)
class ScanEntry:
    """One system on the set, and what is left of its meshes after alignment."""

    system: str
    predictions: Predictions
    """In the set's order."""
    absent: int
    distances_mm: Sequence[Float[np.ndarray, "..."]]
    """Of each face: Florence's RMSE alone, or NoW's distance of every scan vertex; empty where nothing is scored."""

    @property
    def per_face(self) -> Float[np.ndarray, "m"]:
        """Mean of each face, mm; NaN where nothing is scored."""
        return np.array([values.mean() if len(values) else np.nan for values in self.distances_mm], float)


@dataclass(frozen=True, eq=False)
class ScanTables:
    """All tables of some systems on one benchmark with scans."""

    meshes: MeshSet
    entries: Sequence[ScanEntry]
    unscored: int
    """Faces whose scan cannot be scored."""

    def tables(self) -> list[Table]:
        """The benchmark's own measure, over all faces and by the benchmark's groups."""
        if self.meshes.benchmark.name.startswith("now"):
            return [self.scan_to_mesh]
        return [self.point_to_plane, *(self.point_to_plane_by(key) for key in self.meshes.attributes)]

    @property
    def point_to_plane(self) -> Table:
        """Florence: mean over faces of the RMSE."""
        rows = tuple(
            Row(entry.system, {"RMSE": self._mean(entry.per_face), **self._counts(entry, slice(None))})
            for entry in self.entries
        )
        rows += published.FLORENCE
        notes = (
            "A mesh starts as its predicted rotation and size put it in the view, its nose tip (30) on the picked one.",
            f"Cropped to {CROP_MM:g} mm about the nose tip, then point-to-plane ICP with scale.",
            "RMSE over the predicted vertices of a face; means over the faces found, a face not found is in none.",
            "Papers give neither their camera nor their start: compare with systems that were measured here.",
            "Brackets: bootstrap 95 % interval over subjects.",
            f"{self.unscored} faces of scans without a picked nose tip are not scored.",
            *self._coverage(),
        )
        return Table(
            f"Point-to-plane RMSE, mm ({self.meshes.benchmark.name})", ("RMSE", *_COUNTS), rows, notes, digits=3
        )

    def point_to_plane_by(self, key: str) -> Table:
        """Florence: RMSE by an angle of the view."""
        angles = self.meshes.attributes[key].astype(float)
        rows = tuple(
            Row(
                entry.system,
                {f"{a:+g}": self._mean(np.where(angles == a, entry.per_face, np.nan)) for a in _set(angles)},
            )
            for entry in self.entries
        )
        return Table(f"Point-to-plane RMSE by {key}, mm", tuple(f"{a:+g}" for a in _set(angles)), rows, digits=3)

    @property
    def scan_to_mesh(self) -> Table:
        """NoW: median, mean and deviation over the vertices of all scans, of all photos and of each challenge."""
        challenge = self.meshes.attributes["challenge"]
        parts = {"": np.ones(len(challenge), bool)} | {f", {name}": challenge == name for name in _set(challenge)}
        rows = tuple(
            Row(entry.system + suffix, self._pooled(entry, np.flatnonzero(part)))
            for entry in self.entries
            for suffix, part in parts.items()
        )
        notes = (
            f"Aligned by a similarity of landmarks {', '.join(map(str, NOW_SEVEN))} of {SCHEME}, never mirrored.",
            "Then refined to the least squared distances, as in the released evaluation.",
            "Over all scan vertices of the photos found; a photo not found is in none of the three.",
            f"Brackets: bootstrap 95 % interval over subjects, {_DRAWS} draws.",
            *self._coverage(),
        )
        columns = ("median", "mean", "std", *_COUNTS)
        return Table(f"Scan-to-mesh distance, mm ({self.meshes.benchmark.name})", columns, rows, notes, digits=3)

    def comparison(self, first: str, second: str) -> Table:
        """Paired difference of the faces' RMSE (Florence) or mean distances (NoW)."""
        a, b = chosen(self.entries, (first, second))
        errors = {"mm": (a.per_face, b.per_face)}
        return comparison_table((first, second), errors, self.meshes.identity, digits=3)

    def _mean(self, values: np.ndarray) -> Measured:
        return cells.mean(values, self.meshes.identity)

    def _pooled(self, entry: ScanEntry, part: np.ndarray) -> Mapping[str, Measured | float]:
        scored = np.array([i for i in part if len(entry.distances_mm[i])], int)

        @cache  # the three statistics see the same draws
        def summary(drawn: bytes) -> ScanErrors:
            return now_summary([entry.distances_mm[scored[i]] for i in np.frombuffer(drawn, np.int64)])

        def measure(name: str) -> Measured:
            if not len(scored):
                return Measured(np.nan, 0, np.nan, np.nan)
            return cells.statistic(
                lambda drawn: getattr(summary(drawn.astype(np.int64).tobytes()), name),
                self.meshes.identity[scored],
                count=len(scored),
                draws=_DRAWS,
            )

        return {name: measure(name) for name in ("median", "mean", "std")} | self._counts(entry, part)

    def _counts(self, entry: ScanEntry, part: np.ndarray | slice) -> dict[str, int]:
        scored = np.isfinite(entry.per_face[part])
        return dict(zip(_COUNTS, (int(scored.sum()), int((~entry.predictions.found[part]).sum())), strict=True))

    def _coverage(self) -> Iterator[str]:
        return (coverage(entry.system, entry.predictions, entry.absent) for entry in self.entries)


_COUNTS = ("faces scored", "not found")


def build_scan_tables(benchmark: Benchmark, faces: FacesOfMeshes, predictions: Mapping[str, Predictions]) -> ScanTables:
    """Aligns and measures every system's meshes on the scans of "florence" or "now_val".

    Raises ValueError for a predictions file without the arrays that the benchmark needs or without a face of the set,
    for Florence without any picked nose tip, and for a scan or mesh that cannot be measured, naming system and face.
    """
    needed, measure = _PROTOCOLS[benchmark.name]
    for system, found in predictions.items():
        missing = [key for key in needed if getattr(found, key) is None]
        if missing:
            raise ValueError(
                f"{system}: expected the arrays {', '.join(needed)} to score meshes on {benchmark.name}, "
                f"found none of {', '.join(missing)} (docs/evaluation.md)"
            )
    meshes = gather_meshes(benchmark, faces)
    placed = {system: place_meshes(system, found, meshes) for system, found in predictions.items()}
    distances: dict[str, list[np.ndarray]] = {system: [] for system in predictions}
    unscored = 0
    for index in range(len(faces)):
        progress(f"{benchmark.name}: {index + 1}/{len(faces)}")
        sample = faces.meshes[index]
        scorable = sample.face.points_3d is not None and len(sample.face.points_3d) > 0
        unscored += not scorable
        for system, (found, _) in placed.items():
            values = np.zeros(0)
            if scorable and found.found[index]:
                try:
                    values = measure(sample, found, index)
                except ValueError as error:
                    raise ValueError(f"{system}, {sample.face.name}: {error}") from error
            distances[system].append(values)
    progress("")
    if unscored == len(faces):
        raise ValueError(
            f"{benchmark.name}: expected scans with a nose tip in NAME_picked_points.pp beside them, found none"
        )
    entries = [ScanEntry(system, *placed[system], distances[system]) for system in predictions]
    return ScanTables(meshes, entries, unscored)


def florence_start(sample: MeshSample, predictions: Predictions, index: int) -> Similarity:
    """Where ICP starts: scan_from_mesh by the prediction itself and the view that it was made from.

    The rotation is R_view^T R_predicted; the scale makes the mesh as large in the view, at the nose tip's depth, as the
    predicted points are (weak perspective); the predicted nose tip lies on the picked one. Raises ValueError where 3D
    points and rotation do not look like the 2D points.
    """
    assert sample.camera is not None and sample.face.points_3d is not None
    assert predictions.rotation is not None and predictions.points_3d is not None
    nose = sample.face.points_3d[0]
    depth = (sample.camera.R @ nose + sample.camera.t)[2]
    one = slice(index, index + 1)
    size = px_per_unit(predictions.points_2d[one], predictions.points_3d[one], predictions.rotation[one])
    scale = float(size[0] * depth / sample.camera.K[0, 0])
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(
            "expected points_3d that look like points_2d once `rotation` has turned them, "
            f"found a scale of {scale:.3g} between them"
        )
    rotation = sample.camera.R.T @ predictions.rotation[index]
    return Similarity(np.array(scale), rotation, nose - scale * rotation @ predictions.points_3d[index, NOSE_TIP])


def _florence(sample: MeshSample, predictions: Predictions, index: int) -> np.ndarray:
    assert predictions.vertices is not None and sample.face.points_3d is not None
    if sample.mesh.faces is None:
        raise ValueError("expected a scan with triangles to measure along its normals, found points alone")
    start = florence_start(sample, predictions, index)
    vertices, nose = predictions.vertices[index].astype(float), sample.face.points_3d[0]
    error = florence_rmse(
        vertices, sample.mesh.vertices, sample.mesh.faces, nose_tip=nose, with_scale=True, start=start
    )
    return np.array([error])


def _now(sample: MeshSample, predictions: Predictions, index: int) -> np.ndarray:
    assert predictions.vertices is not None and predictions.triangles is not None
    assert predictions.points_3d is not None and sample.face.points_3d is not None
    return now_distances(
        sample.mesh.vertices,
        sample.face.points_3d,
        predictions.vertices[index].astype(float),
        predictions.triangles,
        predictions.points_3d[index, NOW_SEVEN],
    )


def _set(values: np.ndarray) -> list:
    return [value for value in np.unique(values).tolist() if value != ""]


_PROTOCOLS: dict[str, tuple[tuple[str, ...], Callable[[MeshSample, Predictions, int], np.ndarray]]] = {
    "florence": (("vertices", "points_3d", "rotation"), _florence),
    "now_val": (("vertices", "triangles", "points_3d"), _now),
}
"""Arrays that a predictions file must hold, and the measure of one face."""
SCAN_BENCHMARKS = tuple(_PROTOCOLS)
