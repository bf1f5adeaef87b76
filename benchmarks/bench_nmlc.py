"""Time and memory of NMLC on 3,000 faces x 98 landmarks x 20,000 vertices, and brute force in the same run.

    python benchmarks/bench_nmlc.py [--faces 3000] [--vertices 20000] [--threads 2] [--json FILE]

Every face is made when it is asked for, as a reader would load it: a mesh of noise about one template, its landmarks
near 98 of the vertices, one in ten not counted. NMLC goes through the faces twice; the time spent on making them is
told apart. The peak is that of a fresh process, all of it: Python, NumPy, one block of faces and the sums. Limits:
2 GiB, and 120 s on two cores. Where other programs hold the cores, the CPU time of all threads together is the longest
that the wall clock would show without them. First, a small set must have the vertices and the value that loops over
all pairs find in float64. Ends with status 1 where anything of this fails.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from facelift.atomic import written_whole
from facelift.evaluation.metrics.nmlc import MeshFace, nmlc

LANDMARKS = 98
LIMIT_S, LIMIT_GIB = 120.0, 2.0


@dataclass
class Faces:
    """`count` random faces of `vertices` vertices, the same each time they are gone through; px, z about 100."""

    count: int
    vertices: int
    seconds: float = field(default=0.0, init=False)
    """Spent on making faces so far."""

    def __iter__(self) -> Iterator[MeshFace]:
        rng = np.random.default_rng(7)
        template = rng.normal(size=(self.vertices, 2))
        definition = rng.permutation(self.vertices)[:LANDMARKS]
        noise = rng.normal(size=(2 * self.vertices, 2)) * 0.02
        step = rng.normal(size=(LANDMARKS, 2)) * 0.03
        for _ in range(self.count):
            start = time.perf_counter()
            scale = rng.uniform(60, 200)
            shift = rng.integers(self.vertices)
            mesh = scale * (template + noise[shift : shift + self.vertices]) + rng.uniform(100, 900, 2)
            points = mesh[definition] + scale * (step + rng.normal(size=step.shape) * 0.03)
            counted = rng.uniform(size=LANDMARKS) < 0.9
            self.seconds += time.perf_counter() - start
            yield MeshFace(points, mesh, float(scale), counted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=3000)
    parser.add_argument("--vertices", type=int, default=20000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    arguments = parser.parse_args()
    result = {"commit": commit(), "cpu": cpu(), "cores": os.cpu_count(), "faces": arguments.faces,
              "landmarks": LANDMARKS, "vertices": arguments.vertices, "threads": arguments.threads}  # fmt: skip
    print(f"commit {result['commit']}, {result['cpu']}, {result['cores']} cores")
    result["small"] = agreement(faces=70, vertices=300)
    print(f"70 faces x {LANDMARKS} x 300: vertices as by brute force in {result['small']['equal_vertices']} of "
          f"{LANDMARKS} landmarks, value off by {result['small']['off_by']:.1e}")  # fmt: skip

    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        result |= fresh.apply(measure, (arguments.faces, arguments.vertices, arguments.threads))
    print(f"{arguments.faces} faces x {LANDMARKS} x {arguments.vertices}, {arguments.threads} threads: NMLC "
          f"{result['nmlc']:.6f}")  # fmt: skip
    print(f"wall clock       {result['wall_s']:8.1f} s    (limit {LIMIT_S:.0f} s; {result['making_s']:.1f} s of it to "
          f"make the faces twice)")  # fmt: skip
    print(f"CPU, all threads {result['cpu_s']:8.1f} s    (user {result['user_s']:.1f} s)")
    print(f"peak memory      {result['peak_gib']:8.2f} GiB  (limit {LIMIT_GIB:.0f} GiB)")
    if arguments.json:
        with written_whole(arguments.json) as partial:
            partial.write_text(json.dumps(result, indent=2))
        print(arguments.json)
    faults = [
        *(["vertices unlike those of brute force"] if result["small"]["equal_vertices"] < LANDMARKS else []),
        *(["value unlike that of brute force"] if result["small"]["off_by"] > 1e-12 else []),
        *(["too slow"] if min(result["wall_s"], result["cpu_s"]) > LIMIT_S else []),
        *(["too much memory"] if result["peak_gib"] > LIMIT_GIB else []),
    ]
    if faults:
        sys.exit("limits missed: " + ", ".join(faults))


def measure(faces: int, vertices: int, threads: int) -> dict[str, float]:
    """NMLC of the set: seconds of this process and its peak since it started."""
    made = Faces(faces, vertices)
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    value = nmlc(made, threads=threads).value
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return {
        "nmlc": value,
        "wall_s": wall,
        "making_s": made.seconds,
        "user_s": user,
        "system_s": system,
        "cpu_s": user + system,
        "peak_gib": after.ru_maxrss * unit / 2**30,
    }


def agreement(faces: int, vertices: int) -> dict[str, float]:
    """How NMLC and loops over all pairs in float64 agree on a small set."""
    small = list(Faces(faces, vertices))
    weight = np.array([face.counted / face.counted.sum() for face in small])
    indices, total = np.empty(LANDMARKS, int), 0.0
    for j in range(LANDMARKS):
        costs = np.zeros(vertices)
        for face, w in zip(small, weight[:, j], strict=True):
            costs += w * np.linalg.norm(face.points[j] - face.vertices, axis=-1) / face.scale
        indices[j] = costs.argmin()
        total += costs.min()
    found = nmlc(small)
    return {
        "equal_vertices": int((found.indices == indices).sum()),
        "nmlc": found.value,
        "off_by": abs(found.value - total / faces),
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
