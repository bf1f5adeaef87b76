"""The ablation table: each row one flag of `facelift train lifter`, all rows under one budget.

    python benchmarks/ablation.py --views DIR --out DIR [--steps 600] [--batch 48] [--processes 1] [--rows NAME ...]
        [options of train]

`--views`: a cache by `facelift views`, rendered from lifted heads; its last --dev-heads heads are held out. Photos are
those of FACELIFT_DATA; errors are on the faces of merl_train that no training sees, never on a test split, and on the
held-out heads against exact landmarks. What follows the options here goes to every row (`--sets`, `--labels`, ...).

Every row is a run of its own in OUT and goes on where it was stopped; finished rows are kept in OUT/ablation.json and
not run again. Rows whose data is not there are named in the table and left out: 1k and 10k heads in a smaller cache,
pseudo-labelled photos without --frames, encoders of 224 px without --views-224. Writes OUT/ablation.md.
"""

import argparse
import csv
import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from facelift.atomic import written_whole
from facelift.datasets.views import ViewCache
from facelift.evaluation.tables.published import NMLC_DAD3DHEADS, NMLC_MULTIFACE

Run = Callable[[list[str]], None]


@dataclass(frozen=True)
class Ablation:
    """A row: its flags, what it needs, and the paper's row of the same question."""

    name: str
    flags: tuple[str, ...] = ()
    published: str = ""
    heads: int = 0
    """Heads that it learns from, where that is the question."""
    exact: bool = False
    frames: bool = False
    large: bool = False
    """Whether its encoder takes views of 224 px."""


ROWS = (
    Ablation("both", published="FaceLift"),
    Ablation("multi-view only", ("--real-share", "0"), "FaceLift, multi-view only"),
    Ablation("multi-frame only", ("--real-share", "1"), "FaceLift, multi-frame only"),
    Ablation("both, fitted frames", ("--fit-frames",)),
    Ablation("multi-frame only, fitted frames", ("--real-share", "1", "--fit-frames")),
    Ablation("L1", ("--points-loss", "l1"), "FaceLift, L1 loss"),
    Ablation("MSE", ("--points-loss", "mse"), "FaceLift, MSE loss"),
    Ablation("100 heads", ("--heads", "100"), "FaceLift, 100 samples", heads=100),
    Ablation("1k heads", ("--heads", "1000"), "FaceLift, 1k samples", heads=1000),
    Ablation("10k heads", ("--heads", "10000"), "FaceLift", heads=10000),
    Ablation("exact 3D labels", ("--labels-3d", "exact"), exact=True),
    Ablation("a detector's labels on photos, not people's", ("--frames-share", "1"), frames=True),
    Ablation("both people's labels and a detector's", ("--frames-share", "0.5"), frames=True),
    Ablation("ResNet-50", ("--encoder", "resnet50"), "FaceLift ResNet-50", large=True),
    Ablation("ResNet-152", ("--encoder", "resnet152"), "FaceLift ResNet-152", large=True),
    Ablation("ViT-B/16", ("--encoder", "vit_b16"), "FaceLift", large=True),
)
METRICS = {
    "nme": "dev NME %",
    "nme_yaw_0_30": "yaw 0-30",
    "nme_yaw_30_60": "30-60",
    "nme_yaw_60_180": "beyond",
    "heads_nme": "heads NME %",
    "heads_3d_mm": "heads 3D mm",
    "heads_pose_deg": "heads pose deg",
    "cpu_minutes": "CPU min",
}
"""By their names in metrics.csv."""
PUBLISHED = {"DAD-3DHeads": NMLC_DAD3DHEADS, "Multiface": NMLC_MULTIFACE}


@dataclass(frozen=True)
class Budget:
    """What all rows get."""

    views: Path
    out: Path
    steps: int
    batch: int
    processes: int
    dev_heads: int
    frames: Path | None
    views_224: Path | None
    extra: tuple[str, ...]

    def folder(self, row: Ablation) -> Path:
        """Run folder of a row under this budget: another budget is another run."""
        name = re.sub(r"[/,']", "", row.name).replace(" ", "-")
        return self.out / f"{name}-{self.steps}x{self.batch * self.processes}"

    def arguments(self, row: Ablation) -> list[str]:
        """Those of `facelift` for a row. Warm-up and averaging fit a short run."""
        views = self.views_224 if row.large else self.views
        loop = {"run": self.folder(row), "steps": self.steps, "batch": self.batch, "warmup": max(1, self.steps // 6)}
        loop |= {"lr": 1.2e-3, "ema": 0.99, "threads": 1, "evaluate-every": self.steps}
        loop |= {"accelerator": "cpu", "devices": self.processes} if self.processes > 1 else {}
        fixed = [word for key, value in loop.items() for word in (f"--loop.{key}", str(value))]
        frames = ("--frames", str(self.frames)) if row.frames else ()
        heads = ("--dev-heads", str(self.dev_heads))
        return ["train", "lifter", "--views", str(views), *heads, *fixed, *row.flags, *frames, *self.extra]

    def missing(self, row: Ablation, cache: ViewCache) -> str:
        """Why a row cannot be run; empty where it can."""
        there = len(cache.landmarks) - self.dev_heads
        if row.heads > there:
            return f"the cache has {there} heads beside those held out"
        if row.exact and cache.exact is None:
            return "the cache has no exact landmarks"
        if row.frames and self.frames is None:
            return "no --frames"
        return "no --views-224" if row.large and self.views_224 is None else ""


def train_row(arguments: list[str]) -> None:
    """One training, in a process of its own. Raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", "facelift.cli", *arguments], check=True)


def children_minutes() -> float:
    """CPU time of the processes that this one has waited for: other work on the machine does not count."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) / 60


def ablate(rows: Sequence[Ablation], budget: Budget, run: Run = train_row) -> Path:
    """Runs what is missing, writes ablation.json after every row; returns the table's path."""
    cache, kept = ViewCache(budget.views), budget.out / "ablation.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    for row in rows:
        arguments = budget.arguments(row)
        if results.get(row.name, {}).get("arguments") == arguments or budget.missing(row, cache):
            continue
        before = children_minutes()
        run(arguments)
        spent = children_minutes() - before
        with (budget.folder(row) / "metrics.csv").open(newline="") as file:
            last = list(csv.DictReader(file))[-1]
        metrics = {key: float(last[key]) for key in METRICS if last.get(key)} | {"cpu_minutes": spent}
        results[row.name] = {"arguments": arguments, "metrics": metrics}
        with written_whole(kept) as partial:
            partial.write_text(json.dumps(results, indent=2))
    table = budget.out / "ablation.md"
    with written_whole(table) as partial:
        partial.write_text(markdown(rows, results, budget, cache))
    return table


def markdown(rows: Sequence[Ablation], results: dict, budget: Budget, cache: ViewCache) -> str:
    """The rows with the paper's numbers beside, which are NMLC on other data and after another budget."""
    columns = ["", "flags", *METRICS.values(), *(f"paper, {name}" for name in PUBLISHED)]
    lines = [
        f"{budget.steps} steps of {budget.batch * budget.processes} samples each; "
        f"{len(cache.landmarks) - budget.dev_heads} "
        f"heads, {budget.dev_heads} held out. All rows: `{' '.join(budget.extra) or 'no further options'}`. "
        "Paper: NMLC in %, published, full training.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
    ]
    left_out = []
    for row in rows:
        if reason := budget.missing(row, cache):
            left_out.append(f"- {row.name}: {reason}")
            continue
        metrics = results[row.name]["metrics"]
        measured = [f"{metrics[key]:.2f}" if key in metrics else "-" for key in METRICS]
        flags = f"`{' '.join(row.flags)}`" if row.flags else ""
        lines.append("| " + " | ".join([row.name, flags, *measured, *published(row)]) + " |")
    return "\n".join([*lines, *(["", "Not run:", *left_out] if left_out else [])]) + "\n"


def published(row: Ablation) -> list[str]:
    """The paper's NMLC over all landmarks for each of its sets."""
    found = []
    for table in PUBLISHED.values():
        cells = [entry.cells["full"] for entry in table if entry.system == row.published]
        found.append(f"{cells[0]:.2f}" if cells else "-")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=48, help="of each process")
    parser.add_argument("--processes", type=int, default=1, help="of one thread each, on the CPU")
    parser.add_argument("--dev-heads", type=int, default=40)
    parser.add_argument("--frames", type=Path, help="folder of `facelift label frames`")
    parser.add_argument("--views-224", type=Path, help="a cache of 224 px, for the other encoders")
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], help="only these")
    arguments, extra = parser.parse_known_args()
    chosen = [row for row in ROWS if arguments.rows is None or row.name in arguments.rows]
    del arguments.rows
    path = ablate(chosen, Budget(**vars(arguments), extra=tuple(extra)))
    print(path.read_text())
    print(path)


if __name__ == "__main__":
    main()
