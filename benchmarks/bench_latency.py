"""Latency of the Predictor beside MediaPipe's face mesh, per photo and per face, in one process on the same photos.

    python benchmarks/bench_latency.py --photos DIR [--weights FILE.onnx] [--out latency.json]

The rows take turns, photo by photo, so that what else the machine does hits all of them alike. MediaPipe's row is its
own solution end to end: face detection and mesh (478 points, refined), in static mode, which starts anew for each photo
as the Predictor does. MediaPipe chooses its threads itself.
"""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GLOG_minloglevel", "3")

import cv2
import numpy as np

from facelift.atomic import written_whole
from facelift.finders import NetworkFinder
from facelift.finders.mediapipe import MediaPipeFinder
from facelift.images import load_photo
from facelift.predictor import Predictor

PACKAGES = ("facelift", "numpy", "onnxruntime", "opencv-python-headless", "pillow", "mediapipe")

LOOKS: dict[str, dict[str, bool]] = {
    "two looks and mirror": {},
    "two looks": {"mirror": False},
    "one look": {"refine": False, "mirror": False},
}


def rows(weights: Path | None) -> dict[str, Callable[[np.ndarray], int]]:
    """Name -> function that takes a photo and returns the number of faces."""
    table: dict[str, Callable[[np.ndarray], int]] = {}
    ours, mediapipe = NetworkFinder(), MediaPipeFinder()
    table["our finder alone, 1 thread"] = lambda image: len(ours.find(image).boxes)
    table["MediaPipe finder alone"] = lambda image: len(mediapipe.find(image).boxes)
    for threads in (1, 2):
        for finder in (ours, mediapipe):
            for looks, options in LOOKS.items():
                predictor = Predictor(weights, finder=finder, threads=threads, **options)
                name = f"Predictor, {finder.name} finder, {threads} thread{'s' * (threads > 1)}, {looks}"
                table[name] = lambda image, predictor=predictor: len(predictor.predict(image))
    table["MediaPipe face mesh"] = _face_mesh()
    return table


def per_face(weights: Path | None, image: np.ndarray, repeats: int) -> dict[str, dict[str, float]]:
    """ms for one given box, and for each of 16 in one call: the network and its crops without a finder."""
    height, width = image.shape[:2]
    box = [0.3 * width, 0.3 * height, 0.7 * width, 0.7 * height]
    found = {}
    for threads in (1, 2):
        for looks, options in LOOKS.items():
            predictor = Predictor(weights, threads=threads, **options)
            for count in (1, 16):
                boxes = [box] * count
                samples = [_timed(lambda: predictor.predict(image, boxes))[0] / count for _ in range(repeats)]  # noqa: B023
                name = f"{threads} thread{'s' * (threads > 1)}, {looks}, {count} box{'es' * (count > 1)}"
                found[name] = _summary(samples[2:])
    return found


def _face_mesh() -> Callable[[np.ndarray], int]:
    from mediapipe.python.solutions.face_mesh import FaceMesh

    mesh = FaceMesh(static_image_mode=True, max_num_faces=20, refine_landmarks=True)
    return lambda image: len(mesh.process(image).multi_face_landmarks or [])


def _timed(work: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = work()
    return (time.perf_counter() - start) * 1e3, result


def _summary(samples_ms: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(samples_ms, [25, 50, 75])
    return {"median_ms": round(middle, 2), "quartile_low_ms": round(low, 2), "quartile_high_ms": round(high, 2)}


def _machine() -> dict[str, object]:
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "commit": git.stdout.strip(),
        "versions": versions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of .jpg photos")
    parser.add_argument("--weights", type=Path, help="an .onnx file; without it, the weights of the package")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("latency.json"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    photos = {path.name: load_photo(path).pixels for path in sorted(arguments.photos.glob("*.jpg"))}
    machine, table = _machine(), rows(arguments.weights)
    samples: dict[str, list[float]] = {name: [] for name in table}
    faces = dict.fromkeys(table, 0)
    for turn in range(arguments.repeats + 1):  # the first is for warming up
        for image in photos.values():
            for name, work in table.items():
                ms, count = _timed(lambda: work(image))  # noqa: B023
                if turn:
                    samples[name].append(ms)
                    faces[name] += count
    report = {
        "machine": machine,
        "photos": {name: list(image.shape[1::-1]) for name, image in photos.items()},
        "per_photo": {
            name: _summary(values) | {"faces_per_photo": round(faces[name] / len(values), 2)}
            for name, values in samples.items()
        },
        "per_face": per_face(arguments.weights, next(iter(photos.values())), arguments.repeats + 2),
    }
    with written_whole(arguments.out) as partial:
        partial.write_text(json.dumps(report, indent=1))
    print(json.dumps(machine))
    for part in ("per_photo", "per_face"):
        print(f"\n{part}: median ms (quartiles)")
        for name, row in report[part].items():
            quartiles = f"({row['quartile_low_ms']} .. {row['quartile_high_ms']})"
            count = f"  {row['faces_per_photo']} faces a photo" if "faces_per_photo" in row else ""
            print(f"  {name:<44} {row['median_ms']:8.2f} {quartiles}{count}")
    print(arguments.out)


if __name__ == "__main__":
    main()
