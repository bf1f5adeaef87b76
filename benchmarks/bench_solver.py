"""Speed of the triangulation of 1,000 faces x 98 landmarks x 41 views, and of SciPy in the same run.

    python benchmarks/bench_solver.py [--faces 1000] [--repeats 7] [--json FILE]

Exact points and cameras of the rig, 2 px noise, a tenth of the detections 30 px off, 30 % masked; Cauchy loss of 4 px.
Numba's compilation is done before and told apart. scipy.optimize.least_squares ("trf", analytic Jacobian, Cauchy loss,
from the same linear triangulation) solves one landmark after the other of a few faces; its time is scaled up to all.
"""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numba
import numpy as np
import scipy.optimize

from facelift.atomic import written_whole
from facelift.geometry import intrinsics, project, to_camera
from facelift.lifting.rig import rig
from facelift.lifting.solver import SolverConfig, triangulate

K = intrinsics(256)
CAUCHY = 4.0
VIEWS = rig()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    arguments = parser.parse_args()
    points, weights, truth = problem(arguments.faces)
    cameras = (VIEWS.rotations, VIEWS.translations, K)
    result = {"commit": commit(), "cpu": cpu(), "cores": os.cpu_count(), "faces": arguments.faces, "seconds": {}}
    print(f"commit {result['commit']}, {result['cpu']}, {result['cores']} cores")
    print(f"{arguments.faces} faces x 98 landmarks x {len(VIEWS)} views; median [fastest .. slowest]")

    compiling = timed(lambda: triangulate(points[:1], weights[:1], *cameras))[0]
    rows = result["seconds"]
    for threads in (1, 2):
        if threads <= numba.config.NUMBA_NUM_THREADS:
            numba.set_num_threads(threads)
            row = f"numba, {threads} thread{'s' * (threads > 1)}"
            rows[row] = measure(lambda: triangulate(points, weights, *cameras), arguments.repeats)
    part = min(arguments.faces, 100)
    rows["numpy"] = measure(
        lambda: triangulate(points[:part], weights[:part], *cameras, backend="numpy"), 3, arguments.faces / part
    )
    few = min(arguments.faces, 2)
    lifted = triangulate(points, weights, *cameras, config=SolverConfig(cauchy=CAUCHY))
    found = scipy_points(points[:few], weights[:few])
    rows["scipy, landmark by landmark"] = measure(
        lambda: scipy_points(points[:few], weights[:few]), 3, arguments.faces / few
    )
    for name, row in rows.items():
        note = f"  (scaled up, x {row['scale']:.0f})" if row["scale"] > 1 else ""
        print(f"{name:30s} {row['median']:9.3f} s  [{row['min']:.3f} .. {row['max']:.3f}]{note}")
    ours = min(row["median"] for name, row in rows.items() if name.startswith("numba"))
    result["compilation_s"] = compiling
    result["speedup_over_scipy"] = rows["scipy, landmark by landmark"]["median"] / ours
    result["largest_difference_to_scipy"] = float(np.abs(lifted.points[:few] - found).max())
    result["mean_error"] = float(np.linalg.norm(lifted.points - truth, axis=-1).mean())
    print(f"compilation, once a process    {compiling:9.3f} s")
    print(f"{result['speedup_over_scipy']:.0f} times as fast as SciPy; points differ by at most "
          f"{result['largest_difference_to_scipy']:.1e} (unit: 36 cm)")  # fmt: skip
    if arguments.json:
        with written_whole(arguments.json) as partial:
            partial.write_text(json.dumps(result, indent=2))
        print(arguments.json)


def problem(faces: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(points, weights, truth) of `faces` random faces."""
    rng = np.random.default_rng(7)
    truth = rng.normal(size=(faces, 98, 3)) * 0.12
    exact = [project(np.tile(face, (len(VIEWS), 1, 1)), VIEWS.rotations, VIEWS.translations, K) for face in truth]
    points = np.stack(exact) + rng.normal(size=(faces, len(VIEWS), 98, 2)) * 2
    wrong = rng.uniform(size=points.shape[:-1]) < 0.1
    points[wrong] += rng.choice([-30, 30], (wrong.sum(), 2))
    weights = (rng.uniform(size=points.shape[:-1]) < 0.7).astype(float)
    return points, weights, truth


def scipy_points(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What scipy.optimize.least_squares finds for each landmark, from the linear triangulation."""
    start = triangulate(
        points, weights, VIEWS.rotations, VIEWS.translations, K,
        config=SolverConfig(cauchy=np.inf, iterations=0), backend="numpy",
    ).points  # fmt: skip
    found = np.empty_like(start)
    for face, landmark in np.ndindex(start.shape[:2]):
        seen = weights[face, :, landmark] > 0
        found[face, landmark] = scipy_point(points[face, seen, landmark], seen, start[face, landmark])
    return found


def scipy_point(points: np.ndarray, seen: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Minimum of the sum of Cauchy losses of the views' distances: a residual a view, with its analytic Jacobian."""
    R, t = VIEWS.rotations[seen], VIEWS.translations[seen]
    focal = K[0, 0]

    def errors(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        camera = to_camera(np.tile(X, (len(R), 1, 1)), R, t)[:, 0]
        return camera, focal * camera[:, :2] / camera[:, 2:] + K[:2, 2] - points

    def distances(X: np.ndarray) -> np.ndarray:
        return np.linalg.norm(errors(X)[1], axis=-1)

    def jacobian(X: np.ndarray) -> np.ndarray:
        camera, error = errors(X)
        ratio = camera[:, :2] / camera[:, 2:]
        rows = focal / camera[:, 2, None, None] * (R[:, :2] - ratio[..., None] * R[:, 2:])
        return np.einsum("vi,vij->vj", error, rows) / np.linalg.norm(error, axis=-1, keepdims=True)

    return scipy.optimize.least_squares(distances, start, jacobian, loss="cauchy", f_scale=CAUCHY).x


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    value = run()
    return time.perf_counter() - start, value


def measure(run: Callable[[], Any], repeats: int, scale: float = 1.0) -> dict[str, float]:
    """Seconds, times `scale`."""
    seconds = np.array([timed(run)[0] for _ in range(repeats)]) * scale
    return {
        "median": float(np.median(seconds)),
        "min": float(seconds.min()),
        "max": float(seconds.max()),
        "scale": scale,
        "repeats": repeats,
    }


def commit() -> str:
    here = Path(__file__).parent
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
