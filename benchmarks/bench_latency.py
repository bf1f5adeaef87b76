"""Latency beside MediaPipe's face mesh: per photo, per tracked frame of a video, per face, and of the network alone.

    python benchmarks/bench_latency.py [--photos DIR] [--video FILE] [--model FILE.onnx] [--out latency.json]

The rows take turns, photo by photo and frame by frame, so that what else the machine does hits all of them alike; CPU
ms (of all threads) leave out what other processes take. MediaPipe's rows are its own solution end to end: face
detection and mesh (478 points, refined). Per photo it is in static mode, which starts anew for each photo as the
Predictor does; in videos it tracks, as `facelift.tracking.Tracker` does. MediaPipe chooses its threads itself.
"""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from itertools import islice
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GLOG_minloglevel", "3")

import cv2
import numpy as np

from facelift.atomic import written_whole
from facelift.finders import find_finder
from facelift.images import load_photo
from facelift.onnx_models.lifter import DEFAULT, OnnxLifter
from facelift.predictors.predictor import Predictor
from facelift.tracking import Follow, Tracker
from facelift.video import VideoReader

PACKAGES = ("facelift", "numpy", "onnxruntime", "opencv-python-headless", "pillow", "mediapipe")

EXAMPLES = Path(__file__).parents[1] / "examples"
LOOKS: dict[str, dict[str, bool]] = {
    "two looks and mirror": {},
    "two looks": {"mirror": False},
    "one look": {"refine": False, "mirror": False},
}


Work = Callable[[np.ndarray], int]
"""Takes a picture, returns the number of faces."""


def photo_rows(model: str, finders: list[str]) -> dict[str, Work]:
    """Everything that starts anew with each photo."""
    table: dict[str, Work] = {}
    for name in finders:
        finder = find_finder(name)
        table[f"{name} finder alone"] = lambda image, finder=finder: len(finder.find(image).boxes)
        for threads in (1, 2):
            for looks, options in LOOKS.items():
                predictor = Predictor(model, finder=finder, threads=threads, **options)
                row = f"Predictor, {name}, {_threads(threads)}, {looks}"
                table[row] = lambda image, predictor=predictor: len(predictor.predict(image))
    return table | _face_mesh(tracked=False)


def frame_rows(model: str, finder: str) -> dict[str, Work]:
    """Everything that follows faces from frame to frame."""
    table: dict[str, Work] = {}
    for threads in (1, 2):
        for looks, follow in {"one look": Follow(), "one look and mirror": Follow(mirror=True)}.items():
            tracker = Tracker(Predictor(model, finder=finder, threads=threads), follow)
            row = f"Tracker, {finder}, {_threads(threads)}, {looks}"
            table[row] = lambda image, tracker=tracker: len(tracker.update(image))
    return table | _face_mesh(tracked=True)


def network_rows(model: str) -> dict[str, Work]:
    """The network on one crop that is cut already."""
    table: dict[str, Work] = {}
    for threads in (1, 2):
        network = OnnxLifter(model, threads=threads)
        crop = np.zeros((1, network.input_size, network.input_size, 3), np.uint8)
        table[f"network alone, {_threads(threads)}"] = lambda _, net=network, crop=crop: len(net.run(crop).landmarks)
    return table


def in_turns(table: dict[str, Work], images: list[np.ndarray], *, warm_up: int) -> dict[str, dict[str, float]]:
    """Every row on every picture; the first so many pictures are not counted."""
    samples: dict[str, list[tuple[float, float, int]]] = {name: [] for name in table}
    for turn, image in enumerate(images):
        for name, work in table.items():
            measured = _timed(lambda: work(image))  # noqa: B023
            if turn >= warm_up:
                samples[name].append(measured)
    return {name: _summary(np.array(values)) for name, values in samples.items()}


def per_face(model: str, image: np.ndarray, repeats: int) -> dict[str, dict[str, float]]:
    """ms for one given box, and for each of 16 in one call: the network and its crops without a finder."""
    height, width = image.shape[:2]
    box = [0.3 * width, 0.3 * height, 0.7 * width, 0.7 * height]
    found = {}
    for threads in (1, 2):
        for looks, options in LOOKS.items():
            predictor = Predictor(model, threads=threads, **options)
            for count in (1, 16):
                boxes = [box] * count
                work = lambda: len(predictor.predict(image, boxes))  # noqa: B023, E731
                samples = np.array([_timed(work) for _ in range(repeats + 2)])[2:] / count
                found[f"{_threads(threads)}, {looks}, {count} box{'es' * (count > 1)}"] = _summary(samples)
    return found


def _face_mesh(*, tracked: bool) -> dict[str, Work]:
    """MediaPipe's own solution; no row where it is not installed."""
    try:
        from mediapipe.python.solutions.face_mesh import FaceMesh
    except ImportError:
        return {}
    faces = 1 if tracked else 20
    mesh = FaceMesh(static_image_mode=not tracked, max_num_faces=faces, refine_landmarks=True)
    name = f"MediaPipe face mesh{', tracked' * tracked}"
    return {name: lambda image: len(mesh.process(image).multi_face_landmarks or [])}


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def _timed(work: Callable[[], int]) -> tuple[float, float, int]:
    """Wall ms, CPU ms of all threads, and what `work` returned."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3, result


def _summary(samples: np.ndarray) -> dict[str, float]:
    """Of (n, 3) wall ms, CPU ms, faces."""
    low, middle, high = np.percentile(samples[:, 0], [25, 50, 75])
    values = {
        "median_ms": middle,
        "quartile_low_ms": low,
        "quartile_high_ms": high,
        "mean_ms": samples[:, 0].mean(),
        "median_cpu_ms": np.median(samples[:, 1]),
        "mean_cpu_ms": samples[:, 1].mean(),
        "faces": samples[:, 2].mean(),
    }
    return {name: round(float(value), 2) for name, value in values.items()}


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
    parser.add_argument("--photos", type=Path, default=EXAMPLES, help="folder of .jpg photos")
    parser.add_argument("--video", type=Path, help="a video of one face")
    parser.add_argument("--model", default=DEFAULT, help="a shipped model's name, or an .onnx file")
    parser.add_argument("--finders", nargs="+", default=["auto"], help="names; the first one serves the video")
    parser.add_argument("--repeats", type=int, default=15, help="turns over the photos")
    parser.add_argument("--frames", type=int, default=150, help="frames of the video")
    parser.add_argument("--out", type=Path, default=Path("latency.json"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    machine, model = _machine(), arguments.model
    photos = {path.name: load_photo(path).pixels for path in sorted(arguments.photos.glob("*.jpg"))}
    if not photos:
        raise FileNotFoundError(f"{arguments.photos}: expected .jpg photos, found none")
    images = list(photos.values())
    parts = {
        "network": in_turns(network_rows(model), images[:1] * (10 * arguments.repeats), warm_up=5),
        "per photo": in_turns(
            photo_rows(model, arguments.finders), images * (arguments.repeats + 1), warm_up=len(images)
        ),
    }
    if arguments.video:
        frames = [frame.pixels for frame in islice(VideoReader(arguments.video), arguments.frames)]
        parts["per frame of a video"] = in_turns(frame_rows(model, arguments.finders[0]), frames, warm_up=5)
    parts["per given box"] = per_face(model, images[0], arguments.repeats)
    sizes = {name: list(image.shape[1::-1]) for name, image in photos.items()}
    with written_whole(arguments.out) as partial:
        partial.write_text(json.dumps({"machine": machine, "photos": sizes, **parts}, indent=1))
    print(json.dumps(machine))
    for part, rows in parts.items():
        print(f"\n{part}: median ms (quartiles), mean; CPU: median, mean; faces")
        for name, row in rows.items():
            print(
                f"  {name:<46} {row['median_ms']:7.2f} ({row['quartile_low_ms']} .. {row['quartile_high_ms']}), "
                f"{row['mean_ms']:.2f}; CPU {row['median_cpu_ms']:.2f}, {row['mean_cpu_ms']:.2f}; {row['faces']:.2f}"
            )
    print(arguments.out)


if __name__ == "__main__":
    main()
