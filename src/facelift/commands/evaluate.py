"""`facelift evaluate predict` and `facelift evaluate score`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from facelift.commands.report import say
from facelift.datasets.benchmarks import benchmark_names, find_benchmark, open_benchmark
from facelift.datasets.packed import data_root
from facelift.evaluation.predict_stage import PredictStage
from facelift.evaluation.systems import build_system


@dataclass(frozen=True)
class PredictPart:
    """Run a system over the faces of a benchmark and write one predictions file."""

    benchmark: str
    """Name of the benchmark; `facelift evaluate list` tells all."""
    out: Path
    """The .npz to write."""
    model: str = "small"
    """small, m3lrn or dense (come with the package), mediapipe, or the path of an exported one."""
    data: Path | None = None
    """Folder of the benchmarks; FACELIFT_DATA if not given."""


@dataclass(frozen=True)
class ScorePart:
    """Print and write the tables of some predictions files. Reads files only."""

    predictions: tyro.conf.Positional[tuple[Path, ...]]
    """Predictions files, side by side in the tables."""
    benchmark: str
    """Name of the benchmark that they are on."""
    out: Path | None = None
    """Folder for tables.txt, .md, .csv, .json and report.html."""
    data: Path | None = None
    """Folder of the benchmarks; FACELIFT_DATA if not given."""
    normaliser: Literal["box", "face_box", "diagonal", "inter_ocular", "inter_pupil"] | None = None
    """What divides an error, if not the benchmark's own choice."""
    threshold: float | None = None
    """Of AUC and failure rate, a fraction; 0.07 by box, 0.1 by eyes if not given."""
    compare: Annotated[tuple[str, str] | None, tyro.conf.arg(metavar="A B")] = None
    """Two systems, by the names in the tables: their paired difference with its interval."""
    vertices: Path | None = None
    """A tables.json of another split: NMLC by the vertices chosen there."""
    subsets: Path | None = None
    """For dad3dheads_val: an .npz with FLAME's vertices `face` and `head` and the landmarks `seven`."""
    upsample: int = 0
    """For NMLC: how many times every triangle of the meshes is cut into four first (FaceLift's supplement)."""


@dataclass(frozen=True)
class ListPart:
    """List the benchmarks: folder, faces, landmarks."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate landmark systems: predictions into a file, then tables from files."""

    part: Annotated[
        Annotated[PredictPart, tyro.conf.subcommand("predict")]
        | Annotated[ScorePart, tyro.conf.subcommand("score")]
        | Annotated[ListPart, tyro.conf.subcommand("list")],
        tyro.conf.arg(name=""),
    ]


def evaluate(config: EvaluateConfig) -> Path | None:
    """Runs the command; the path of what it wrote, if it wrote."""
    part = config.part
    if isinstance(part, ListPart):
        for name in benchmark_names():
            benchmark = find_benchmark(name)
            say(f"{name:26s} {benchmark.folder:20s} {benchmark.faces or '-':>7} faces  {benchmark.scheme}")
        return None
    if isinstance(part, PredictPart):
        faces = open_benchmark(part.benchmark, data_root(part.data))
        return PredictStage(build_system(part.model), faces, part.out).run()
    from facelift.evaluation.score_stage import ScoreStage

    if not part.predictions:
        raise ValueError("evaluate score: expected predictions files, found none")
    benchmark = find_benchmark(part.benchmark)
    stage = ScoreStage(
        part.predictions,
        benchmark,
        data_root(part.data),
        part.normaliser,
        part.threshold,
        part.vertices,
        part.subsets,
        part.upsample,
    )
    for table in stage.run(part.out, part.compare):
        say(table.text() + "\n")
    return part.out
