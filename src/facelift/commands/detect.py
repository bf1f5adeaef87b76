"""`facelift detect`: 2D landmarks of photos by a detector alone, as the lifting stage sees them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from facelift import __version__
from facelift.atomic import written_whole
from facelift.commands.inputs import DETECTIONS, Input, expand
from facelift.commands.predict import write_picture
from facelift.commands.report import Report, run_over, say
from facelift.commands.targets import refuse_foreign
from facelift.detectors2d.factory import build_detector
from facelift.detectors2d.protocol import Detections, Detector2D
from facelift.drawing import draw_points
from facelift.finders import FaceFinder, find_finder
from facelift.images import Photo, load_photo


@dataclass(frozen=True)
class DetectConfig:
    """Find the 2D landmarks of photos with one of the 2D detectors that lifting uses (no 3D, no pose)."""

    inputs: tyro.conf.Positional[tuple[str, ...]]
    """Photos, folders, or globs in quotes."""
    out: Path = Path("facelift-out")
    """Folder for the results: NAME.points.json, and NAME.points.jpg with the points drawn in."""
    detector: str = "mediapipe"
    """mediapipe, small (the lifter that comes with the package), or the path of an exported detector or lifter."""
    finder: Literal["auto", "mediapipe"] = "auto"
    """What finds the faces; auto is our own network."""
    boxes: Annotated[tuple[tuple[float, float, float, float], ...], tyro.conf.arg(metavar="X0 Y0 X1 Y1")] = ()
    """Face boxes in px, brows to chin, instead of a finder; the same for every photo."""


def detect(config: DetectConfig) -> int:
    """Runs the command; returns the exit code."""
    inputs = [entry for entry in expand(config.inputs) if not entry.is_video]
    if not inputs:
        raise ValueError(f"{' '.join(config.inputs) or 'detect'}: expected photos, found none")
    detector = build_detector(config.detector)
    finder = None if config.boxes else find_finder(config.finder)

    def work(entry: Input, report: Report) -> int:
        photo = load_photo(entry.path)
        boxes = _boxes(photo, config, finder)
        found = _detect(detector, photo, boxes)
        base = config.out / entry.stem
        report.written += _write(base, entry.path, photo, detector, boxes, found)
        for index in range(len(boxes)):
            say(_line(entry.path, index, found))
        if not len(boxes):
            say(f"{entry.path}: no face")
        return int(found.found.sum())

    report = run_over(inputs, work)
    say(report.summary(config.out))
    return report.exit_code


def _boxes(photo: Photo, config: DetectConfig, finder: FaceFinder | None) -> np.ndarray:
    """(n, 4) px of the photo as loaded."""
    if finder is None:
        return np.array(config.boxes) / photo.scale
    return finder.find(photo.pixels).boxes


def _detect(detector: Detector2D, photo: Photo, boxes: np.ndarray) -> Detections:
    """One entry per box, also where there is none."""
    if len(boxes):
        return detector.detect([photo.pixels] * len(boxes), boxes)
    size = detector.scheme.size
    return Detections(np.zeros((0, size, 2)), np.zeros((0, size)), np.zeros(0, bool), None)


def _line(path: Path, index: int, found: Detections) -> str:
    if not found.found[index]:
        return f"{path}: face {index + 1}  not found by the detector"
    low, high = found.points[index].min(0), found.points[index].max(0)
    box = " ".join(f"{value:.1f}" for value in (*low, *high))
    return f"{path}: face {index + 1}  points within {box}  mean confidence {found.confidence[index].mean():.2f}"


def _write(
    base: Path, path: Path, photo: Photo, detector: Detector2D, boxes: np.ndarray, found: Detections
) -> list[Path]:
    """Writes the points in px of the original, and the drawing."""
    faces = []
    for index, box in enumerate(boxes):
        seen = bool(found.found[index])
        points = (found.points[index] * photo.scale).round(4).tolist() if seen else None
        confidence = found.confidence[index].round(4).tolist() if seen else None
        box = (box * photo.scale).round(4).tolist()
        faces.append({"box": box, "found": seen, "points_2d": points, "confidence": confidence})
    document = {"format": "facelift-points", "version": 1, "facelift": __version__, "image": str(path)}
    document |= {"width": photo.original_wh[0], "height": photo.original_wh[1], "scheme": detector.scheme.name}
    target = base.with_name(f"{base.name}{DETECTIONS}.json")
    refuse_foreign(target, path)
    with written_whole(target) as partial:
        partial.write_text(json.dumps(document | {"faces": faces}, ensure_ascii=False), encoding="utf-8")
    canvas = draw_points(photo.pixels, found.points, detector.scheme, found.confidence)
    return [target, write_picture(base.with_name(f"{base.name}{DETECTIONS}.jpg"), canvas)]
