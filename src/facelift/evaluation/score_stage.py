"""`facelift evaluate score`: tables and a report from predictions files and a benchmark's labels alone."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facelift.atomic import written_whole
from facelift.datasets.benchmarks import Benchmark, FacesOfMeshes, open_benchmark
from facelift.evaluation.predictions import Predictions, read_predictions
from facelift.evaluation.report.figures import cumulative_curves
from facelift.evaluation.report.meshes import figures_of_meshes, galleries_of_meshes
from facelift.evaluation.report.page import Report
from facelift.evaluation.report.points import figures_of_points, galleries
from facelift.evaluation.tables.consistency import consistency_table, gather_frames
from facelift.evaluation.tables.entries import NORMALISERS, Protocol, build_entry
from facelift.evaluation.tables.heads import FlameSubsets, head_table, read_subsets
from facelift.evaluation.tables.mesh_set import MeshSet, gather_meshes
from facelift.evaluation.tables.meshes import MeshEntry, build_mesh_entry, mesh_comparison, mesh_tables
from facelift.evaluation.tables.points import point_comparison, point_tables
from facelift.evaluation.tables.scans import SCAN_BENCHMARKS, build_scan_tables
from facelift.evaluation.tables.table import Table
from facelift.evaluation.tables.vertices import read_vertices
from facelift.evaluation.truth import Truth, gather, is_part
from facelift.landmarks import SCHEMES, conversion

FLAME = "flame5023"
"""Scheme of sets whose meshes have FLAME's vertices."""
THRESHOLDS = {"box": 0.07, "face_box": 0.07, "diagonal": 0.05, "inter_ocular": 0.10, "inter_pupil": 0.10}
"""Usual thresholds of AUC and failure rate: 7 % of the box (Bulat et al. 2017), 10 % of the eyes (WFLW)."""


@dataclass(frozen=True)
class ScoreStage:
    """Predictions files of some systems on one benchmark."""

    files: Sequence[Path]
    benchmark: Benchmark
    data: Path
    normaliser: str | None = None
    """None for the benchmark's own."""
    threshold: float | None = None
    """Of AUC and failure rate, a fraction; None for the usual one of the normaliser."""
    vertices: Path | None = None
    """For NMLC: a tables.json of another split whose chosen vertices are applied, not chosen anew."""
    subsets: Path | None = None
    """For DAD-3DHeads: an .npz with FLAME's vertices `face` and `head` and the landmarks `seven`."""
    upsample: int = 0
    """For NMLC: how many times every triangle is cut into four first."""

    def run(self, out: Path | None, compare: tuple[str, str] | None = None) -> list[Table]:
        """The tables; writes them and the report into `out`. Raises ValueError or OSError, naming the file.

        Pictures are read, and Matplotlib is needed, for the report alone.
        """
        self._check()
        predictions = _named([read_predictions(path) for path in self.files], self.files)
        faces = open_benchmark(self.benchmark.name, self.data)
        if self.benchmark.mesh:
            if not isinstance(faces, FacesOfMeshes):
                raise TypeError(f"{self.benchmark.name}: expected faces with meshes, found {type(faces).__name__}")
            score = self._scans if self.benchmark.name in SCAN_BENCHMARKS else self._meshes
            tables, report = score(predictions, faces, compare)
        else:
            tables, report = self._points(predictions, gather(self.benchmark, faces), compare)
        if out is not None:
            write_tables(out, tables)
            report().write(out / "report.html")
        return tables

    def _check(self) -> None:
        name, given = self.benchmark.name, self.normaliser is not None or self.threshold is not None
        if self.subsets and self.benchmark.scheme != FLAME:
            raise ValueError(f"subsets: expected them with a set of FLAME meshes, found {name}")
        if self.benchmark.normaliser == "none" and not (self.benchmark.pose or self.benchmark.mesh):
            raise ValueError(f"{name}: expected a benchmark with labels to score, found one without")
        if given and (self.benchmark.mesh or self.benchmark.normaliser == "none"):
            raise ValueError(f"{name}: expected no normaliser or threshold, its tables have none to choose, found one")
        if self.vertices is not None and not self.benchmark.mesh:
            raise ValueError(f"{name}: expected no vertices, for it has no meshes, found {self.vertices}")
        if self.upsample < 0 or (self.upsample and (not self.benchmark.mesh or name in SCAN_BENCHMARKS)):
            raise ValueError(f"upsample: expected 0, or with meshes that NMLC is scored on more, found {self.upsample}")

    def _points(
        self, predictions: dict[str, Predictions], truth: Truth, compare: tuple[str, str] | None
    ) -> tuple[list[Table], Callable[[], Report]]:
        protocol = self._protocol()
        truth = truth.to(common_scheme(truth.scheme, {name: found.scheme for name, found in predictions.items()}))
        entries = [build_entry(name, found, truth, protocol) for name, found in predictions.items()]
        made = point_tables(truth, protocol, entries)
        made += [point_comparison(truth, entries, compare)] if compare else []
        title = f"{self.benchmark.name}: {', '.join(predictions)}"
        return made, lambda: Report(title, made, figures_of_points(truth, protocol, entries), galleries(truth, entries))

    def _meshes(
        self, predictions: dict[str, Predictions], faces: FacesOfMeshes, compare: tuple[str, str] | None
    ) -> tuple[list[Table], Callable[[], Report]]:
        subsets = read_subsets(self.subsets) if self.subsets else FlameSubsets()
        meshes = gather_meshes(self.benchmark, faces).upsampled(self.upsample)
        frozen = read_vertices(self.vertices) if self.vertices else None
        if frozen:
            frozen.check(meshes)
        entries = [
            build_mesh_entry(name, found, meshes, frozen.of(name) if frozen else None)
            for name, found in predictions.items()
        ]
        made = mesh_tables(meshes, entries) + self._of_the_set(meshes, entries, subsets)
        made += [mesh_comparison(meshes, entries, compare)] if compare else []
        title = f"{self.benchmark.name}: {', '.join(predictions)}"
        return made, lambda: Report(title, made, figures_of_meshes(entries), galleries_of_meshes(meshes, entries))

    def _of_the_set(self, meshes: MeshSet, entries: Sequence[MeshEntry], subsets: FlameSubsets) -> list[Table]:
        """What only this set's meshes or cameras allow."""
        if self.benchmark.scheme == FLAME:
            table = head_table(meshes, entries, subsets)
            return [table] if table else []
        return [consistency_table(entries, gather_frames(meshes.faces))] if self.benchmark.name == "multiface" else []

    def _scans(
        self, predictions: dict[str, Predictions], faces: FacesOfMeshes, compare: tuple[str, str] | None
    ) -> tuple[list[Table], Callable[[], Report]]:
        tables = build_scan_tables(self.benchmark, faces, predictions)
        made = tables.tables() + ([tables.comparison(*compare)] if compare else [])
        curves = {entry.system: _or_lost(entry.per_face, entry.predictions.found) for entry in tables.entries}
        title, caption = (
            f"{self.benchmark.name}: {', '.join(predictions)}",
            "Cumulative error; not found is never reached",
        )
        return made, lambda: Report(title, made, [(caption, cumulative_curves(curves, 5, "mm"))], ())

    def _protocol(self) -> Protocol:
        normaliser = self.normaliser or self.benchmark.normaliser
        if normaliser == "none":
            return Protocol(normaliser, float("nan"))
        if normaliser not in NORMALISERS:
            raise ValueError(f"normaliser: expected one of {', '.join(NORMALISERS)}, found {normaliser!r}")
        return Protocol(normaliser, THRESHOLDS[normaliser] if self.threshold is None else self.threshold)


def common_scheme(labels: str, systems: Mapping[str, str]) -> str:
    """The labels' scheme, or the largest part of it that every system's (by name) determines.

    Raises ValueError that names a system whose scheme determines no part of the labels.
    """
    parts = sorted((scheme for scheme in SCHEMES if is_part(scheme, labels)), key=lambda part: -SCHEMES[part].size)
    for part in parts:
        if all(_determines(scheme, part) for scheme in systems.values()):
            return part
    if not parts:  # labels without points
        return labels
    name, scheme = next((name, scheme) for name, scheme in systems.items() if not _determines(scheme, parts[-1]))
    raise ValueError(f"{name}: expected landmarks that determine {' or '.join(parts)}, found {scheme}")


def _determines(scheme: str, part: str) -> bool:
    try:
        conversion(scheme, part)
    except ValueError:
        return False
    return True


def write_tables(folder: Path, tables: Sequence[Table]) -> None:
    """tables.txt, .md, .csv and .json, each whole or not at all."""
    rows = [table.csv().splitlines() for table in tables]
    texts = {
        "txt": "\n\n".join(table.text() for table in tables) + "\n",
        "md": "\n\n".join(table.markdown() for table in tables) + "\n",
        "csv": "\n".join([rows[0][0], *(line for part in rows for line in part[1:])]) + "\n",
        "json": json.dumps([table.document() for table in tables], indent=2, ensure_ascii=False, allow_nan=False),
    }
    for ending, text in texts.items():
        with written_whole(folder / f"tables.{ending}") as partial:
            partial.write_text(text, encoding="utf-8")


def _named(predictions: Sequence[Predictions], files: Sequence[Path]) -> dict[str, Predictions]:
    """By system, or by file name where two files hold one system or a file does not say."""
    systems = [str(found.about.get("system", "")) for found in predictions]
    names = [
        system if system and systems.count(system) == 1 else path.stem
        for system, path in zip(systems, files, strict=True)
    ]
    if len(set(names)) < len(names):
        raise ValueError(f"predictions: expected files of different names, found {', '.join(map(str, files))}")
    return dict(zip(names, predictions, strict=True))


def _or_lost(per_face: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Errors of the faces that could be scored; infinite where one was not found."""
    return _scored(np.where(found, per_face, np.inf))


def _scored(per_face: np.ndarray) -> np.ndarray:
    return per_face[~np.isnan(per_face)]
