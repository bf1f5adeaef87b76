"""Kills a small job again and again at random moments, and compares what it ends with with an undisturbed run's.

    python benchmarks/kill_runs.py [--job frames|lift|views] [--kills 180] [--with-workers 20] [--out DIR] [--seed 0]

The jobs: `facelift label frames` over 24 photos and a video made of examples/; `facelift lift` of 8 heads built by code
in 5 views of 64 px; `facelift views` of 24 such heads, 2 views of each; all in shards of a few pictures. A job is
started, killed by SIGKILL, and started again on the same folder until it is done; then its shards are compared byte for
byte with those of a run that nobody disturbed, and the next job begins, until there were so many kills.
`--with-workers`: kills of jobs of two worker processes, every second one of a worker alone, whose item must be done
again. Now and then the index is removed or cut in half. Prints the counts; the exit code is 1 if one job ended with
other bytes.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import cv2
import numpy as np

from facelift.datasets.views import ViewsConfig, build_views
from facelift.generators import morphable  # noqa: F401  a killed job has imported all it needs
from facelift.labelling.sources import Sampling
from facelift.labelling.stage import FramesConfig, label_frames
from facelift.lifting.stage import LiftConfig, lift
from facelift.scale.folder import INDEX

EXAMPLE = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
Job = Callable[[Path, Path, int], object]
"""Of photos, folder of the shards, and number of workers."""


def make_photos(folder: Path, count: int = 24) -> None:
    """Photos of one face in changing light and place, a blank and a broken one among them, and a short video."""
    folder.mkdir(parents=True, exist_ok=True)
    image = cv2.imread(str(EXAMPLE))
    image = cv2.resize(image, None, fx=200 / max(image.shape), fy=200 / max(image.shape), interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    pictures = []
    for number in range(count):
        rng = np.random.default_rng(number)
        matrix = cv2.getRotationMatrix2D((width / 2, height / 3), rng.uniform(-20, 20), rng.uniform(0.8, 1.3))
        moved = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        pictures.append(np.clip(moved * rng.uniform(0.5, 1.2), 0, 255).astype(np.uint8))
        cv2.imwrite(str(folder / f"{number:03d}.png"), pictures[-1])
    cv2.imwrite(str(folder / "blank.png"), np.full_like(image, 99))
    (folder / "broken.jpg").write_bytes(b"no picture")
    writer = cv2.VideoWriter(str(folder / "video.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (width, height))
    for picture in pictures[:6]:
        writer.write(picture)
    writer.release()


def label(photos: Path, out: Path, workers: int) -> None:
    """`facelift label frames`."""
    sampling = Sampling(every=1)
    label_frames(FramesConfig((str(photos),), out, sampling=sampling, shard_pictures=4, workers=workers))


HEADS = {"generator": "procedural", "photos": False}


def lift_heads(_photos: Path, out: Path, workers: int) -> None:
    """`facelift lift`."""
    lift(LiftConfig(out, "small", faces=8, views=5, size=64, shard_faces=2, workers=workers, **HEADS))


def view_heads(_photos: Path, out: Path, workers: int) -> None:
    """`facelift views`."""
    build_views(ViewsConfig(out, faces=24, shard_faces=4, views=2, size=64, workers=workers, **HEADS))


JOBS: dict[str, Job] = {"frames": label, "lift": lift_heads, "views": view_heads}


def digests(out: Path) -> dict[str, str]:
    """Of all shards, by name."""
    paths = [path for path in sorted(out.glob("*-?????.*")) if path.suffix in (".tar", ".npz")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def start(job: Job, photos: Path, out: Path, workers: int) -> BaseProcess:
    """The job in a process that has imported all it needs, so that kills fall into its work."""
    process = get_context("fork").Process(target=_quiet, args=(job, photos, out, workers))
    process.start()
    return process


def _quiet(job: Job, photos: Path, out: Path, workers: int) -> None:
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    job(photos, out, workers)


def kill_until_done(
    job: Job, photos: Path, out: Path, *, kills: int, workers: int, seconds: float, rng: np.random.Generator
) -> tuple[int, int, int]:
    """(kills of the job, kills of a worker alone, files that they left half-written under a passing name) until the job
    is done, or has been killed so often: then it is left to end."""
    killed = workers_killed = 0
    half_written: set[str] = set()
    while True:
        process = start(job, photos, out, workers)
        if killed + workers_killed < kills:
            process.join(rng.uniform(0, seconds))
        else:
            process.join()
        if not process.is_alive():
            if process.exitcode != 0:
                raise RuntimeError(f"{out}: expected the job to end well, found exit code {process.exitcode}")
            return killed, workers_killed, len(half_written)
        children = _children(process)
        if workers > 1 and (killed + workers_killed) % 2 and children:
            os.kill(int(rng.choice(children)), signal.SIGKILL)
            workers_killed += 1
            process.join(rng.uniform(0, seconds))
        if process.is_alive():
            process.kill()
            process.join()
            killed += 1
        half_written |= {path.name for path in out.glob(".partial-*")}
        if out.exists() and rng.random() < 0.2:
            _spoil(out / INDEX, rng)


def _children(process: BaseProcess) -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def _spoil(index: Path, rng: np.random.Generator) -> None:
    if index.exists():
        content = index.read_bytes()
        index.unlink() if rng.random() < 0.5 else index.write_bytes(content[: len(content) // 2])


def fault_run(folder: Path, *, kills: int, workers: int, seed: int = 0, job: str = "frames") -> dict[str, int | float]:
    """Counts of jobs, kills and jobs that ended with other shards than an undisturbed one."""
    rng, photos = np.random.default_rng(seed), folder / "photos"
    if job == "frames":
        make_photos(photos)
    began = time.monotonic()
    undisturbed = start(JOBS[job], photos, folder / "undisturbed", workers)
    undisturbed.join()
    seconds = time.monotonic() - began
    expected = digests(folder / "undisturbed")
    if undisturbed.exitcode or not expected:
        raise RuntimeError(f"{folder}: expected the undisturbed job to end well, found {undisturbed.exitcode}")
    counts: dict[str, int | float] = dict.fromkeys(("jobs", "kills", "worker_kills", "half_written", "different"), 0)
    counts |= {"shards": len(expected), "undisturbed_s": round(seconds, 2)}
    while counts["kills"] + counts["worker_kills"] < kills:
        out = folder / f"killed-{counts['jobs']}"
        left = int(kills - counts["kills"] - counts["worker_kills"])
        found = kill_until_done(JOBS[job], photos, out, kills=left, workers=workers, seconds=0.6 * seconds, rng=rng)
        for name, count in zip(("kills", "worker_kills", "half_written"), found, strict=True):
            counts[name] += count
        counts["jobs"] += 1
        counts["different"] += digests(out) != expected or bool(list(out.glob(".partial-*")))
        shutil.rmtree(out)
        print(json.dumps(counts), file=sys.stderr, flush=True)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", default="frames", choices=list(JOBS))
    parser.add_argument("--kills", type=int, default=180)
    parser.add_argument("--with-workers", type=int, default=20)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = arguments.out or Path(tempfile.mkdtemp(prefix="kill-runs-"))
    runs = {1: arguments.kills, 2: arguments.with_workers}
    counts = {
        f"{workers} process{'es' * (workers > 1)}": fault_run(
            folder / str(workers), kills=kills, workers=workers, seed=arguments.seed, job=arguments.job
        )
        for workers, kills in runs.items()
        if kills
    }
    print(json.dumps(counts, indent=1))
    return int(any(count["different"] for count in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
