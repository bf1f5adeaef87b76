"""Speed of fitting a head to 1,609 points: ours, SciPy's least_squares and a library's Levenberg-Marquardt.

    python benchmarks/bench_fitting.py [--faces 32] [--points 1609] [--repeats 5] [--threads 1 2]

A head of smooth random offsets, 100 + 100 coefficients and a pose; exact points of random faces with 1 px of noise,
from a start 20 degrees off. All minimise the same cost: squared residuals of the 1,609 points in deviations of 1 % of
the face, and squared coefficients. At most 20 rigid steps and 20 of everything.

ours          batch of --faces, float32; and with every step taken (`forced`), however little it promises
SciPy         least_squares (trf) with the analytic Jacobian, one face at a time, float64: 20 and 20 evaluations
Theseus       its dense Levenberg-Marquardt, if installed (docs/fitting.md): with an analytic Jacobian that is written
              for this problem, and with the residuals alone, which it differentiates itself (`autodiff`, mode vmap)
torch.func    20 lines of Levenberg-Marquardt with Jacobians by torch.func.jacfwd and a dense solve

Each row is one process with its threads; SciPy gets four of the faces, whose fits take as long alone as together. One
run to warm up, then the repeats: median and spread; CPU: time of all threads together, which says more on a machine
that others use; largest memory beyond that at the start; how far the worst of its faces' costs lies above ours.
`--no-warm-up` for solvers of minutes a run.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from bench_solver import commit, cpu
from fitting_problem import POINTS, Problem

SOLVERS = ("ours", "ours, forced", "SciPy", "Theseus", "Theseus, autodiff", "torch.func")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--points", type=int, default=POINTS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS), choices=SOLVERS)
    parser.add_argument("--library-faces", type=int, default=None, help="batch of the library, if it does not fit")
    parser.add_argument("--warm-up", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        solver, faces, repeats = arguments.row
        print(json.dumps(measure(solver, int(faces), int(repeats))))
        return
    rows = {}
    print(f"commit {commit()}, {cpu()}, {os.cpu_count()} cores; ms a face")
    columns = (
        ("threads", 7),
        ("faces", 6),
        ("median", 9),
        ("fastest .. slowest", 21),
        ("CPU", 8),
        ("MiB", 5),
        ("above", 8),
    )
    print(" " * 17, *(f"{name:>{width}}" for name, width in columns))
    for threads in arguments.threads:
        for solver in arguments.solvers:
            count = min(4, arguments.faces) if solver == "SciPy" else arguments.faces
            if solver in ("Theseus, autodiff", "torch.func"):
                count = arguments.library_faces or arguments.faces
            repeats = arguments.repeats if arguments.warm_up else -arguments.repeats
            row = in_process(solver, count, repeats, threads, arguments.points)
            if row is None:
                print(f"{solver:17} {threads:7}  not installed")
                continue
            rows[f"{solver}, {threads}"] = row
            spread = f"{row['ms'][0]:.1f} .. {row['ms'][-1]:.1f}"
            print(
                f"{solver:17} {threads:7} {count:6} {row['median']:9.1f}  {spread:>20} {row['cpu_ms']:8.1f} "
                f"{row['mib']:5.0f} {above(row, rows.get(f'ours, {threads}')):8.1e}",
                flush=True,
            )
    for threads in arguments.threads:
        own = rows.get(f"ours, {threads}")
        for solver in arguments.solvers:
            other = rows.get(f"{solver}, {threads}")
            if own and other and not solver.startswith("ours"):
                wall, cpu_time = other["median"] / own["median"], other["cpu_ms"] / own["cpu_ms"]
                print(f"{threads} threads: {wall:.0f} times as fast as {solver}, by CPU time {cpu_time:.0f} times")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))
        print(arguments.json)


def in_process(solver: str, faces: int, repeats: int, threads: int, points: int) -> dict | None:
    """One row, measured in a process of its own; None where the library is not installed."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), BENCH_POINTS=str(points))
    command = [sys.executable, __file__, "--row", solver, str(faces), str(repeats)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{solver}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def above(row: dict, own: dict | None) -> float:
    """Largest share by which a face's cost exceeds that of our fit; NaN without ours."""
    if own is None:
        return float("nan")
    return max(theirs / ours - 1 for theirs, ours in zip(row["cost"], own["cost"], strict=False))


def measure(solver: str, faces: int, repeats: int) -> dict | None:
    """A row; None where the library is not installed. `repeats`: negative without warm-up."""
    import torch

    from fitting_peers import functional_faces, scipy_faces, theseus_faces

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    problem = Problem(faces)
    try:
        run = {
            "ours": ours, "ours, forced": forced, "SciPy": scipy_faces, "Theseus": theseus_faces,
            "Theseus, autodiff": partial(theseus_faces, autodiff=True), "torch.func": functional_faces,
        }[solver](problem)  # fmt: skip
    except ImportError:
        return None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if repeats > 0:
        run()
    times, busy, cost = [], [], np.zeros(1)
    for _ in range(abs(repeats)):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        cost = run()
        times.append((time.perf_counter() - begin) / faces * 1e3)
        busy.append((time.process_time() - begin_cpu) / faces * 1e3)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "ms": sorted(times),
        "median": float(np.median(times)),
        "cpu_ms": float(np.median(busy)),
        "mib": used / 1024,
        "cost": [float(value) for value in cost],
    }


def ours(problem: Problem, **changes: float) -> Callable[[], np.ndarray]:
    from facelift.fitting.config import FitConfig
    from facelift.fitting.fit import fit_heads
    from facelift.fitting.head import SkinnedHead

    head = SkinnedHead(problem.model, np.arange(POINTS))
    config = FitConfig(**changes)  # type: ignore[arg-type]
    start = problem.rotation, problem.translation
    return lambda: fit_heads(head, problem.points, None, problem.K, start=start, config=config).cost


def forced(problem: Problem) -> Callable[[], np.ndarray]:
    return ours(problem, tolerance=0)


if __name__ == "__main__":
    main()
