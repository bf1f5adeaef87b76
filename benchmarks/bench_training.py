"""Samples a second of the lifter's training: batches alone, network alone, both; share of the device's matmul peak.

    python benchmarks/bench_training.py --views small=DIR base=DIR224 [--precisions 32-true bf16-mixed] [--threads 1 2]
        [--devices 1 2] [--workers 0 1] [--render] [--steps 20] [--out training.json]

Each row is a run of the real loop in fresh processes, as `facelift train lifter` runs it, on the accelerator that
torch sees; `--views` names a cache of `facelift views` of the encoder's input size for each encoder. Rates are medians
over the steps after the first five, over all devices. FLOPs are counted on one step of the network, forward and
backward; the peak is that of a large product of matrices, in the same run, precision and threads.
"""

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from facelift.atomic import written_whole
from facelift.datasets.packed import data_root
from facelift.training.config import LifterConfig, LoopConfig
from facelift.training.lifter_task import LifterTask
from facelift.training.loop import Batch, train, training_device

WARM_UP = 5


@dataclass(frozen=True)
class Row:
    """One training to measure."""

    encoder: str
    views: str
    precision: str
    threads: int
    devices: int
    workers: int
    render: bool
    batch: int
    steps: int
    accelerator: str

    def config(self, run: Path) -> LifterConfig:
        loop = LoopConfig(
            run=run,
            steps=self.steps + WARM_UP,
            batch=self.batch,
            precision=self.precision,
            threads=self.threads,
            devices=self.devices,
            workers=self.workers,
            accelerator=self.accelerator,
        )
        return LifterConfig(loop=loop, views=Path(self.views), encoder=self.encoder, render=self.render)


class Stopwatch:
    """A task that notes when each of its steps begins; with `batch`, that one at every step."""

    def __init__(self, task: LifterTask, batch: Batch | None = None):
        self.task, self.model, self.constant, self.began = task, task.model, batch, []

    def batch(self, step: int, rank: int, world: int) -> Batch:
        return self.constant or self.task.batch(step, rank, world)

    def losses(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        self.began.append(time.perf_counter())
        return self.task.losses(model, batch)

    def evaluate(self, model: Any) -> dict[str, float]:
        return {}

    def picture(self, model: Any) -> np.ndarray:
        return np.zeros((4, 4, 3), np.uint8)

    def step_seconds(self) -> float:
        return float(np.median(np.diff(self.began)[WARM_UP - 1 :]))


def measure(row: Row, folder: Path) -> dict[str, float]:
    """Called in every process of the row; the first one's numbers count."""
    torch.set_num_threads(row.threads)
    config = row.config(folder)
    task = LifterTask(config, data_root(None))
    found = {} if row.workers else _data_alone(task, row)
    device = training_device(config.loop)
    peak, flops = _peak(device, row.precision), _flops(task, device)
    for name, batch in (("network", task.batch(0)), ("both", None)):
        watch = Stopwatch(task, batch)
        train(watch, row.config(folder / name).loop, {})
        found[f"{name}_per_s"] = row.batch * row.devices / watch.step_seconds()
    share = found["both_per_s"] / row.devices * flops / peak
    return found | {"gflop_per_sample": flops / 1e9, "peak_tflops": peak / 1e12, "share_of_peak": share}


def _data_alone(task: LifterTask, row: Row) -> dict[str, float]:
    task.batch(0)
    wall, own = time.perf_counter(), time.process_time()
    for step in range(1, 1 + row.steps):
        task.batch(step)
    samples = row.steps * row.batch
    rate = samples / (time.perf_counter() - wall)
    return {"data_per_s": rate, "data_cpu_ms": (time.process_time() - own) / samples * 1e3}


def _flops(task: LifterTask, device: torch.device) -> float:
    """Of one sample, forward and backward, as torch counts them: products of matrices and convolutions."""
    model = task.model.to(device)
    image = torch.rand(2, 3, task.size, task.size, device=device)
    counter = FlopCounterMode(display=False)
    with counter:
        sum(part.sum() for part in model(image)).backward()
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops() / 2


def _peak(device: torch.device, precision: str, repeats: int = 5) -> float:
    """FLOP/s of a product of two square matrices, the best of some."""
    side, kind = (8192 if device.type == "cuda" else 1024), torch.bfloat16 if "bf16" in precision else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    best = np.inf
    for _ in range(repeats + 1):
        start = time.perf_counter()
        product = a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    assert product.shape == (side, side)
    return 2 * side**3 / best


def _in_fresh_processes(row: Row) -> dict[str, float]:
    """The row's numbers; a process that fails stops the benchmark with what it said."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--row", json.dumps(asdict(row)), "--folder", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{row}:\n{done.stderr}")
        return json.loads((Path(folder) / "row.json").read_text())


def _machine() -> dict[str, object]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    load = [round(value, 2) for value in os.getloadavg()]
    about = {"machine": platform.processor() or platform.machine(), "cpus": os.cpu_count(), "gpu": gpu}
    return about | {"torch": torch.__version__, "commit": commit, "load_before": load}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", nargs="+", default=[], help="ENCODER=FOLDER")
    parser.add_argument("--precisions", nargs="+", default=["32-true", "bf16-mixed"])
    for name in ("threads", "devices", "workers"):
        parser.add_argument(f"--{name}", nargs="+", type=int, default=[1])
    parser.add_argument("--render", action="store_true")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("training.json"))
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        found = measure(Row(**json.loads(options.row)), options.folder)
        if os.environ.get("LOCAL_RANK", "0") == "0":
            (options.folder / "row.json").write_text(json.dumps(found))
        return
    rows, machine = [], _machine()
    fixed = {name: getattr(options, name) for name in ("render", "batch", "steps", "accelerator")}
    varied = (options.precisions, options.threads, options.devices, options.workers)
    for (encoder, views), (precision, threads, devices, workers) in itertools.product(
        (pair.split("=", 1) for pair in options.views), itertools.product(*varied)
    ):
        row = Row(encoder, views, precision, threads, devices, workers, **fixed)
        rows.append(asdict(row) | {name: round(value, 4) for name, value in _in_fresh_processes(row).items()})
        print(json.dumps(rows[-1]), flush=True)
    with written_whole(options.out) as partial:
        partial.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))
    print(options.out)


if __name__ == "__main__":
    main()
