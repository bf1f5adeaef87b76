"""Tables 4.1 to 4.6 of Simic (2022) rebuilt on rendered heads: every row one training under one budget.

    python benchmarks/dense_tables.py --views DIR --out DIR [--steps 1000] [--batch 32] [--size 128] [--points 1609]
        [--encoder mobilenetv3] [--start FILE] [--dev-heads 40] [--no-fit] [--rows NAME ...]
        [options of facelift train dense]

`--views`: a cache by `facelift views --faces N`; its last --dev-heads heads are held out and measured against exact
points. No photos teach. `--encoder`: of the rows that do not ask about it; `--start`: what these rows begin with (see
`facelift train dense`), where all others begin with fresh weights, so that tables compare only within themselves. Every
row sees the same number of pictures,
in the same order. MLME and MRLE are in px of a picture of 256, whatever the network's size; MVE in mm (36 cm a
canonical unit) between the fitted head and the true one after a rigid alignment with scale, over the face and over the
whole skin of the head. The fit (`facelift.fitting`) knows the picture's camera and weighs each coordinate by its
confidence.

Every row is a run of its own in OUT and goes on where it was stopped; finished rows are kept in OUT/dense.json and not
run again. Writes OUT/dense.md. What follows the options here goes to every row.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from facelift.atomic import written_whole
from facelift.datasets.views import ViewCache, generator_of, views_settings
from facelift.evaluation.metrics.heads import mean_landmark_error, mean_reprojection_error, mean_vertex_error
from facelift.geometry import UNIT_CM, intrinsics

Run = Callable[[list[str]], None]
STATED_PX = 256
FITTED = 32
"""Faces fitted at once."""
EDGES = ("--weights.edges", "20")
"""The vertex-edge loss: its usual error of a hundredth of the crop counts a fifth."""


@dataclass(frozen=True)
class DenseRow:
    """A row: its flags, and what the thesis has of the same question, on DAD-3DHeads."""

    name: str
    flags: tuple[str, ...]
    mlme_px: float | None = None
    mve_mm: tuple[float, float] | None = None
    """Face, head."""


def _both(name: str, flags: tuple[str, ...], plain: float | None, edges: float | None) -> tuple[DenseRow, DenseRow]:
    return DenseRow(name, flags, plain), DenseRow(f"{name}, edges", (*flags, *EDGES), edges)


def _loss(name: str) -> tuple[str, ...]:
    return ("--network.loss", name)


def _encoder(name: str, *more: str) -> tuple[str, ...]:
    return ("--network.encoder", name, *_loss("resll_exp"), *more)


SPIRAL = ("--network.predictor", "spiral")
SMALL = ("--network.features", "grid")
TABLES = {
    "Losses": (
        *_both("NGLL", _loss("ngll"), 2.17, 2.18),
        *_both("NLLL", _loss("nlll"), None, None),
        *_both("ResLL", _loss("resll"), 2.20, 2.18),
        *_both("ResLL exp", _loss("resll_exp"), 2.11, 2.13),
    ),
    "Backbones (ResLL exp)": (
        *_both("ResNet-50", _encoder("resnet50"), 2.11, 2.13),
        *_both("ConvNeXt-T", _encoder("convnext_t"), 2.13, 2.07),
        *_both("Swin-T", _encoder("swin_t"), 2.38, 2.35),
        *_both("MobileNetV3-L", _encoder("mobilenetv3"), 2.55, 2.57),
        *_both("our CPU encoder", _encoder("mobile", *SMALL), None, None),
    ),
    "Spiral decoder (ResLL exp)": (
        *_both("ResNet-50, spiral", _encoder("resnet50", *SPIRAL), 2.26, 2.01),
        *_both("ConvNeXt-T, spiral", _encoder("convnext_t", *SPIRAL), 2.10, 2.18),
        *_both("our CPU encoder, spiral", _encoder("mobile", *SMALL, *SPIRAL), None, None),
    ),
    "Points (ResLL exp)": tuple(
        DenseRow(f"{count} points", (*_loss("resll_exp"), "--network.points", str(count)), None, mve)
        for count, mve in ((1609, (7.8, 10.6)), (805, (7.5, 10.4)), (403, None), (202, None), (101, (7.8, 10.8)))
    ),
}
"""The thesis's loss rows, and those of subsets, are of ResNet-50; here of --encoder."""
ROWS = tuple(row for rows in TABLES.values() for row in rows)
METRICS = {
    "mlme_px": "MLME px",
    "mve_face_mm": "MVE face mm",
    "mve_head_mm": "MVE head mm",
    "mrle_px": "MRLE px",
    "unfitted": "not fitted",
    "cpu_minutes": "CPU min",
}


@dataclass(frozen=True)
class Budget:
    """What all rows get."""

    views: Path
    out: Path
    steps: int
    batch: int
    size: int
    points: int
    encoder: str
    start: Path | None
    dev_heads: int
    fit: bool
    extra: tuple[str, ...]

    def folder(self, row: DenseRow) -> Path:
        """Run folder of a row under this budget. What its name does not tell (views, start, held-out heads, further
        options) a training compares itself, and refuses to go on with others."""
        name = re.sub(r"[/,']", "", row.name).replace(" ", "-")
        return self.out / f"{name}-{self.encoder}-{self.points}-{self.steps}x{self.batch}-{self.size}px"

    def arguments(self, row: DenseRow) -> list[str]:
        """Those of `facelift` for a row; its own flags go before the common ones. Warm-up and averaging fit a short
        run."""
        fixed = {"encoder": self.encoder, "points": self.points, "size": self.size}
        flags = [w for k, v in fixed.items() if f"--network.{k}" not in row.flags for w in (f"--network.{k}", str(v))]
        start = [] if self.start is None or "--network.encoder" in row.flags else ["--start", str(self.start)]
        grid = [*SMALL] if self.encoder in ("mobile", "small") and "--network.encoder" not in row.flags else []
        loop = {"run": self.folder(row), "steps": self.steps, "batch": self.batch, "warmup": max(1, self.steps // 10)}
        loop |= {"lr": 3e-4, "ema": 0.99, "threads": 1, "evaluate-every": self.steps, "accelerator": "cpu"}
        flags += [word for key, value in loop.items() for word in (f"--loop.{key}", str(value))]
        heads = ["--dev-heads", str(self.dev_heads), "--sets"]
        return ["train", "dense", "--views", str(self.views), *heads, *start, *flags, *grid, *row.flags, *self.extra]


def train_row(arguments: list[str]) -> None:
    """One training, in a process of its own. Raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", "facelift.cli", *arguments], check=True)


def children_minutes() -> float:
    """CPU time of the processes that this one has waited for: other work on the machine does not count."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) / 60


def tabulate(rows: Sequence[DenseRow], budget: Budget, run: Run = train_row) -> Path:
    """Runs what is missing, writes dense.json after every row; returns the table's path."""
    kept = budget.out / "dense.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    for row in rows:
        arguments = budget.arguments(row)
        there = results.get(row.name, {})
        if there.get("arguments") == arguments and ("mve_face_mm" in there["metrics"] or not budget.fit):
            continue
        spent = there.get("metrics", {}).get("cpu_minutes", 0.0) if there.get("arguments") == arguments else 0.0
        before = children_minutes()
        run(arguments)
        metrics = measure(budget.folder(row), budget) | {"cpu_minutes": spent + children_minutes() - before}
        results[row.name] = {"arguments": arguments, "metrics": metrics}
        with written_whole(kept) as partial:
            partial.write_text(json.dumps(results, indent=2))
        print(row.name, {key: round(value, 3) for key, value in metrics.items()}, flush=True)
    table = budget.out / "dense.md"
    with written_whole(table) as partial:
        partial.write_text(markdown(results, budget))
    return table


def measure(run: Path, budget: Budget) -> dict[str, float]:
    """A finished run on the held-out heads."""
    from facelift.datasets.dense_views import DenseViews, head_points
    from facelift.exporting.dense import load_dense
    from facelift.morphable.vertex_sets import VERTICES, load_vertex_sets
    from facelift.training.dense_task import predict_network

    network = load_dense(run, json.loads((run / "config.json").read_text()))
    views, sets = ViewCache(budget.views, labels="exact"), load_vertex_sets(run / VERTICES)
    generator, count = generator_of(budget.views, None, None), network.config.points
    samples = DenseViews(views, head_points(views, generator, sets, count, run / "heads.npz"), size=network.config.size)
    rows = np.flatnonzero(views.face >= len(views.seeds) - budget.dev_heads)
    plain = [samples.plain(int(row)) for row in rows]
    found = predict_network(network, [sample.image for sample in plain])
    truth = np.stack([sample.points for sample in plain])
    points = STATED_PX * found.points.numpy().astype(float)
    metrics = {"mlme_px": float(np.nanmean(mean_landmark_error(points, STATED_PX * truth)))}
    if not budget.fit:
        return metrics
    confidence = np.clip(1 - found.sigma.numpy().astype(float), 0, 1)
    return metrics | fit_errors(points, confidence, sets[count].vertices, rows, views, generator)


def fit_errors(
    points: Float[np.ndarray, "n l 2"],
    confidence: Float[np.ndarray, "n l 2"],
    vertices: np.ndarray,
    rows: np.ndarray,
    views: ViewCache,
    generator,
) -> dict[str, float]:
    """MVE of the fitted heads, and MRLE; `points` in px of 256 of the views `rows`. Faces without a fit are counted."""
    from facelift.fitting.fit import fit_heads
    from facelift.fitting.head import SkinnedHead
    from facelift.fitting.models import load_head
    from facelift.morphable.face_cut import face_cut, face_region

    model = load_head("openhead" if generator.name == "open-head" else "procedural")
    head, K = SkinnedHead(model, vertices), intrinsics(STATED_PX)
    parts = [slice(first, first + FITTED) for first in range(0, len(points), FITTED)]
    fits = [fit_heads(head, points[part], confidence[part], K) for part in parts]
    shape, expression, joints, placed = (
        np.concatenate([getattr(fit, name) for fit in fits]) for name in ("shape", "expression", "joints", "points")
    )
    good = np.array([reason is None for fit in fits for reason in fit.failure])
    cut = face_cut(generator.head)
    skin = model.faces if model.skin is None else model.faces[model.skin]
    regions = {"face": cut.vertices[face_region(generator.head, cut)], "head": np.unique(skin)}
    errors: dict[str, list[float]] = {name: [] for name in regions}
    for index in np.flatnonzero(good):
        seed = int(views.seeds[views.face[rows[index]]])
        truth = generator.head.vertices(*generator.head.sample(np.random.default_rng([seed, 0])))
        mesh = model.vertices(shape[index], expression[index], joints[index])
        for name, region in regions.items():
            error = mean_vertex_error(mesh[None], truth[None], alignment="similarity", region=region)
            errors[name].append(10 * UNIT_CM * float(error[0]))
    return {
        **{f"mve_{name}_mm": float(np.mean(values)) if values else float("nan") for name, values in errors.items()},
        "mrle_px": float(np.nanmean(mean_reprojection_error(placed[good], points[good], confidence[good].mean(-1)))),
        "unfitted": float((~good).sum()),
    }


def markdown(results: dict, budget: Budget) -> str:
    """The tables with the thesis's numbers beside, which are of DAD-3DHeads and of 100 epochs."""
    cache = ViewCache(budget.views, labels="exact")
    settings = views_settings(budget.views)
    held = f"{len(cache.seeds) - budget.dev_heads} heads x {settings['views']} views, {budget.dev_heads} heads held out"
    lines = [
        f"{budget.steps} steps of {budget.batch} pictures of {budget.size} px a row; {held}. Where a row does not say: "
        f"{budget.encoder}, {budget.points} points, linear predictor, no edges. Losses and points begin with "
        f"{budget.start.name if budget.start else 'fresh weights'}, all others with fresh weights. "
        f"Options of all rows: `{' '.join(budget.extra) or 'none'}`. Thesis: half of DAD-3DHeads' validation split, "
        "ImageNet weights, 100 epochs; its loss and point rows are of ResNet-50.",
    ]
    columns = ["", *METRICS.values(), "thesis MLME px", "thesis MVE face / head mm"]
    for title, rows in TABLES.items():
        lines += ["", f"## {title}", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        for row in rows:
            metrics = results.get(row.name, {}).get("metrics", {})
            measured = [f"{metrics[key]:.2f}" if key in metrics else "not run" for key in METRICS]
            thesis = "-" if row.mlme_px is None else f"{row.mlme_px:.2f}"
            mve = "-" if row.mve_mm is None else "{:.1f} / {:.1f}".format(*row.mve_mm)
            lines.append("| " + " | ".join([row.name, *measured, thesis, mve]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--points", type=int, default=1609)
    parser.add_argument("--encoder", default="mobilenetv3")
    parser.add_argument("--start", type=Path, help="a lifter's ONNX file with --encoder's weights")
    parser.add_argument("--dev-heads", type=int, default=40)
    parser.add_argument("--fit", action=argparse.BooleanOptionalAction, default=True, help="MVE and MRLE too")
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], help="only these")
    arguments, extra = parser.parse_known_args()
    given = {name: value for name, value in vars(arguments).items() if name != "rows"}
    chosen = [row for row in ROWS if not arguments.rows or row.name in arguments.rows]
    print(tabulate(chosen, Budget(**given, extra=tuple(extra))))


if __name__ == "__main__":
    main()
