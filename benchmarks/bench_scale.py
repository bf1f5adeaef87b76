"""How fast faces are prepared, and what engines cost: the bare loop, local with 1 and 2 processes, Ray with 2 actors.

    python benchmarks/bench_scale.py [--faces 12] [--repeats 3] [--stage lift|frames] [--out FILE.json]

The bare loop also tells CPU seconds an item without the start (`cpu_steady`) and pictures in all.

`lift` renders 41 views of each head at 256 px, detects with the shipped lifter and lifts; `frames` decodes, finds,
detects and judges photos (of `benchmarks/kill_runs.py`). The bare loop calls the same functions one after the other,
with no engine, shard or dashboard. Every row is a process of its own, timed from its start to its end. *Steady* leaves
the start out (imports, workers, compilation, models): items a second between the first result and the last. *At work*
is the share of the workers' time spent in the stages, of the steady part; CPU seconds an item do not depend on what
else the machine does, but are not known of Ray's actors.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench_solver import commit, cpu
from facelift.detectors2d.factory import build_detector
from facelift.generators.stage import build_generator
from facelift.labelling.sources import Sampling, find_items
from facelift.labelling.stage import FramesConfig, label_frames, load_labeller
from facelift.lifting.observations import observe, render_rig
from facelift.lifting.rig import rig
from facelift.lifting.stage import LiftConfig, lift
from facelift.scale.dashboard import Dashboard
from facelift.scale.stages import Clock, Passage
from kill_runs import make_photos

UNSEEN = 1_000_000
ROWS = {"bare loop": ("bare", 1), "local, 1": ("local", 1), "local, 2": ("local", 2), "Ray, 2": ("ray", 2)}


def bare(stage: str, photos: Path, faces: int) -> dict[str, float]:
    """The work alone."""
    ends, used = [], []

    def done() -> None:
        ends.append(time.monotonic())
        used.append(time.process_time())

    pictures = 0
    if stage == "lift":
        source, detector, views = build_generator("morphable"), build_detector("small"), rig()
        for seed in range(UNSEEN, UNSEEN + faces):
            observe(detector, render_rig(source, seed, views), views)
            pictures += len(views)
            done()
    else:
        config = FramesConfig((str(photos),), photos, sampling=Sampling(per_second=5))
        work = load_labeller(config, None, None)
        for item in find_items(config.sources, config.sampling):
            pictures += work(item, Clock()).pictures
            done()
    late = len(ends) - 1
    found = {"items": len(ends), "steady": late / (ends[-1] - ends[0]), "at_work": 1.0}
    return found | {"pictures": pictures, "cpu_steady": (used[-1] - used[0]) / late}


def with_engine(stage: str, photos: Path, faces: int, engine: str, workers: int) -> dict[str, float]:
    """The stage, watched through its dashboard."""
    ends, busy = [], []
    watch = Dashboard.watch

    def watched(self: Dashboard, passages: Any) -> Any:
        for passage in watch(self, passages):
            assert isinstance(passage, Passage) and not passage.error.startswith("a worker")
            ends.append(time.monotonic())
            busy.append(sum(passage.clock.busy.values()))
            yield passage

    Dashboard.watch = watched  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as out:
        where: dict[str, Any] = {"out": out, "engine": engine, "workers": workers}
        if stage == "lift":
            lift(LiftConfig(**where, detector="small", faces=faces, first_seed=UNSEEN, shard_faces=max(2, faces // 4)))
        else:
            label_frames(FramesConfig((str(photos),), **where, sampling=Sampling(per_second=5), shard_pictures=8))
    span = ends[-1] - ends[0]
    first = ends[0] + 1e-3  # results that were done together with the first one's say nothing
    late = [seconds for end, seconds in zip(ends, busy, strict=True) if end > first]
    return {"items": len(ends), "steady": len(late) / span, "at_work": sum(late) / span / workers}


def row(stage: str, photos: Path, faces: int, engine: str, workers: int) -> dict[str, float]:
    """One run in a process of its own."""
    code = (
        "import json, sys, bench_scale as b; from pathlib import Path\n"
        f"found = b.bare({stage!r}, Path({str(photos)!r}), {faces}) if {engine!r} == 'bare' else "
        f"b.with_engine({stage!r}, Path({str(photos)!r}), {faces}, {engine!r}, {workers})\n"
        "print(json.dumps(found))"
    )
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    whole = time.monotonic() - start
    found["start"] = whole - found["items"] / found["steady"]
    return found | {"whole": found["items"] / whole, "cpu": used / found["items"] if engine != "ray" else float("nan")}


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """Medians, and the range of the steady rate."""
    lines = [
        "| engine, workers | steady, items/s | range | at work | start and end, s | CPU s an item |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in results.items():
        middle = {key: float(np.median([run[key] for run in runs])) for key in runs[0]}
        rates = [run["steady"] for run in runs]
        used = "-" if np.isnan(middle["cpu"]) else f"{middle['cpu']:.2f}"
        lines.append(
            f"| {name} | {middle['steady']:.3f} | {min(rates):.3f}..{max(rates):.3f} | {100 * middle['at_work']:.0f} % "
            f"| {middle['start']:.0f} | {used} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stage", default="lift", choices=("lift", "frames"))
    parser.add_argument("--photos", type=Path, help="for frames: a folder of photos or videos instead of ours")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.rows}
    with tempfile.TemporaryDirectory() as photos:
        if arguments.stage == "frames" and arguments.photos is None:
            make_photos(Path(photos), count=8 * arguments.faces)
        where = arguments.photos or Path(photos)
        for _ in range(arguments.repeats):  # in turn: what else the machine does falls on all rows
            for name in arguments.rows:
                found = row(arguments.stage, where, arguments.faces, *ROWS[name])
                results[name].append(found)
                print(name, {key: round(value, 3) for key, value in found.items()}, file=sys.stderr, flush=True)
    load = os.getloadavg()[0]
    print(table(results), f"\n{cpu()}, {os.cpu_count()} cores, load {load:.1f}; {commit()}")
    if arguments.out:
        about = {"commit": commit(), "cpu": cpu(), "load": load, "stage": arguments.stage}
        arguments.out.write_text(json.dumps(about | {"rows": results}, indent=1))


if __name__ == "__main__":
    main()
