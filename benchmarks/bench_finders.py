"""How many faces each finder finds at one false box in ten pictures, and what a photo of 640 px costs it.

    python benchmarks/bench_finders.py --data DIR [--weights FILE.onnx] [--test] [--out finders.json]

Beside our own: MediaPipe's short- and full-range detectors alone, and both together as `--finder mediapipe` uses them.
Held-out pictures only (`FinderScenes`): photos of w300_full; photos without a face; the last 400 faces of merl_train,
as crops of 120 px alone ("crops") and pasted, turned by up to 75 degrees, four to a picture of 640 px without other
faces ("pasted"). A finder's threshold is the least at which it has at most one false box in ten of the photos, with and
without faces, together; a box on a face that nobody labelled is none. The photos without faces were chosen as those in
which MediaPipe sees none, so its false boxes are too few here.
`--test` adds the share found, at the threshold that is shipped, of two sets that were used for nothing else.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GLOG_minloglevel", "3")

import cv2
import numpy as np

from facelift.atomic import written_whole
from facelift.boxes import tight_box
from facelift.datasets.finder_scenes import FinderScenes, Scene
from facelift.datasets.packed import PackedSet
from facelift.datasets.readers.aflw2000_sample import AFLW2000Sample
from facelift.evaluation.metrics.finding import Matches, match, recall, threshold_at
from facelift.finders import FaceFinder, NetworkFinder
from facelift.finders.mediapipe import MediaPipeFinder

FALSE_PER_PICTURE = 0.1
POSES = {"frontal": (0, 30), "half": (30, 60), "profile": (60, 181)}
SIDES = {"below 20 px": (0, 20), "20-40 px": (20, 40), "40-80 px": (40, 80), "80 px on": (80, 1e6)}
TURNS = {"turned below 30": (0, 30), "turned 30-60": (30, 60)}


def finders(weights: Path | None, *, shipped: bool) -> dict[str, FaceFinder]:
    """Name -> finder, at the thresholds that are shipped, or letting all through that may be a face."""
    ours, theirs = ({}, {}) if shipped else ({"min_score": 0.05}, {"min_score": 0.0})
    return {
        "facelift": NetworkFinder(weights, **ours),
        "MediaPipe short range": MediaPipeFinder(looks=("short_range",), **theirs),
        "MediaPipe full range": MediaPipeFinder(looks=("full_range",), **theirs),
        "MediaPipe both": MediaPipeFinder(**theirs),
    }


def matched(finder: FaceFinder, scenes: list[Scene]) -> list[Matches]:
    """Of each picture."""
    return [match(finder.find(scene.image), scene.boxes, scene.ignored) for scene in scenes]


def by_group(scores: np.ndarray, values: np.ndarray, groups: dict, threshold: float) -> dict[str, float]:
    """Recall within each range of values, and over all."""
    rows = {name: recall(scores[(values >= a) & (values < b)], threshold) for name, (a, b) in groups.items()}
    return {"all": recall(scores, threshold), **rows}


def sides(scenes: list[Scene]) -> np.ndarray:
    """Longer sides of all boxes, px."""
    boxes = np.concatenate([scene.boxes for scene in scenes])
    return (boxes[:, 2:] - boxes[:, :2]).max(1)


def joined(matches: list[Matches]) -> np.ndarray:
    """Scores of all faces."""
    return np.concatenate([part.found for part in matches])


def measure(finder: FaceFinder, data: FinderScenes, pasted: list[tuple[Scene, np.ndarray]]) -> dict:
    """Recall in every group at one false box in ten pictures."""
    photos = [photo.scene() for photo in data.dev_photos]
    empty = [Scene(image, np.zeros((0, 68, 2)), np.zeros((0, 4))) for image in data.dev_backgrounds]
    crops = [data.crop(key) for key in data.dev_crops]
    in_photos, in_empty = matched(finder, photos), matched(finder, empty)
    threshold = threshold_at(in_photos + in_empty, FALSE_PER_PICTURE)
    in_pasted, angles = joined(matched(finder, [scene for scene, _ in pasted])), np.concatenate([a for _, a in pasted])
    yaws = np.abs([data.yaw_deg(key) for key in data.dev_crops])
    return {
        "threshold": threshold,
        "false boxes a photo without faces": float(np.mean([(part.false >= threshold).sum() for part in in_empty])),
        "photos": by_group(joined(in_photos), sides(photos), SIDES, threshold),
        "crops": by_group(joined(matched(finder, crops)), yaws, POSES, threshold),
        "pasted": by_group(in_pasted, np.abs(angles[:, 0]), POSES, threshold),
        "pasted by size": by_group(in_pasted, sides([scene for scene, _ in pasted]), SIDES, threshold),
        "pasted by turn": by_group(in_pasted, np.abs(angles[:, 1]), TURNS, threshold),
    }


def bias(finder: FaceFinder, data: FinderScenes) -> dict[str, float]:
    """Medians of how far a found box lies off, in longer sides of the labelled one, and of its size over that one's."""
    rows = []
    for scene in (photo.scene() for photo in data.dev_photos):
        found = finder.find(scene.image).boxes
        for box in scene.boxes:
            if len(found):
                middles, middle = (found[:, :2] + found[:, 2:]) / 2, (box[:2] + box[2:]) / 2
                size, side = box[2:] - box[:2], (box[2:] - box[:2]).max()
                nearest = int(np.abs(middles - middle).sum(1).argmin())
                if np.abs(middles[nearest] - middle).max() < 0.5 * side:
                    rows.append(
                        [*(middles[nearest] - middle) / side, *(found[nearest, 2:] - found[nearest, :2]) / size]
                    )
    medians = np.median(rows, axis=0).tolist()
    return dict(zip(("right", "down", "width", "height"), medians, strict=True)) | {"faces": len(rows)}


def milliseconds(table: dict[str, FaceFinder], data: FinderScenes, turns: int) -> dict[str, dict[str, float]]:
    """Median and quartiles for a photo of 640 px; the finders take turns."""
    images = []
    for photo in data.dev_photos[:20]:
        image = photo.scene().image
        scale = 640 / max(image.shape[:2])
        images.append(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))
    samples: dict[str, list[float]] = {name: [] for name in table}
    for turn in range(turns + 1):  # the first is for warming up
        for image in images:
            for name, finder in table.items():
                start = time.perf_counter()
                finder.find(image)
                if turn:
                    samples[name].append((time.perf_counter() - start) * 1e3)
    return {
        name: dict(zip(("quartile low", "median", "quartile high"), np.percentile(v, [25, 50, 75]), strict=True))
        for name, v in samples.items()
    }


def share_found(table: dict[str, FaceFinder], data: Path) -> dict:
    """Share of the labelled faces of the test sets that are found, by yaw."""
    report: dict = {}
    for faces in (PackedSet(data, "merl_test"), AFLW2000Sample(data)):
        samples = [faces[index] for index in range(len(faces))]
        yaws = np.abs([float(sample.attributes["yaw"]) for sample in samples])
        report[faces.name] = {}
        for name, finder in table.items():
            found = [
                match(finder.find(sample.image), tight_box(sample.points)[None], np.zeros((0, 4))).found[0]
                for sample in samples
            ]
            report[faces.name][name] = by_group(np.array(found), yaws, POSES, 0.0)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the packed sets")
    parser.add_argument("--weights", type=Path, help="an .onnx file; without it, the weights of the package")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--test", action="store_true", help="also the share found of merl_test and aflw2000_sample")
    parser.add_argument("--out", type=Path, default=Path("finders.json"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    data = FinderScenes(arguments.data, ("merl_train", "w300_train"), heads=None, dev=400, every=8)
    pasted = [data.dev_scene(index, 640) for index in range(100)]
    table = finders(arguments.weights, shipped=True)
    report: dict = {"ms at 640 px": milliseconds(table, data, arguments.turns), "bias": bias(table["facelift"], data)}
    report["dev"] = {
        name: measure(finder, data, pasted) for name, finder in finders(arguments.weights, shipped=False).items()
    }
    if arguments.test:
        report["test"] = share_found(table, arguments.data)
    with written_whole(arguments.out) as partial:
        partial.write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))
    print(arguments.out)


if __name__ == "__main__":
    main()
