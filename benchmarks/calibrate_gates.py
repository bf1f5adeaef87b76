"""What each gate of `facelift label frames` rejects: error of rejected and of kept faces against human labels.

    python benchmarks/calibrate_gates.py --data DIR [--detector small|FILE.onnx]

takes the last 400 faces of merl_train, which no training of ours sees, as they are and damaged (blurred, covered,
shrunk, cut off by the picture's border, framed wrongly), and as many squares of the photos without a face in
backgrounds. NME: visible points, in % of sqrt(w h) of the labelled points' box.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from facelift.datasets.augment import occlude
from facelift.datasets.packed import decode_jpeg, tar_files
from facelift.datasets.real_faces import RealFaces
from facelift.datasets.sample import VISIBLE
from facelift.detectors2d.factory import build_detector
from facelift.labelling.gates import MEASURES, REASONS, GateConfig, Measures, judge, measure

DEV = 400
DAMAGES = ("none", "blurred", "covered", "shrunk", "cut off", "framed wrongly")


def damaged(rng: np.random.Generator, kind: str, image: np.ndarray, points: np.ndarray, box: np.ndarray):
    """(picture, points, box) after a damage."""
    side = max(box[2:] - box[:2])
    if kind == "blurred":
        image = cv2.GaussianBlur(image, (0, 0), side * rng.uniform(0.01, 0.06))
    elif kind == "covered":
        for _ in range(2):
            image, _ = occlude(rng, image, image[::-1])
    elif kind == "shrunk":
        factor = rng.uniform(0.15, 0.6)
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        points, box = points * factor, box * factor
    elif kind == "cut off":
        left = int(box[0] + rng.uniform(0, 0.6) * side)
        image, points, box = image[:, left:], points - [left, 0], np.maximum(box - [left, 0, left, 0], 0)
    elif kind == "framed wrongly":
        box = box + np.tile(rng.uniform(-0.4, 0.4, 2) * side, 2)
    return image, points, box


def faces(data: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray, float]]:
    """(kind, picture, visible labels or NaN, box, yaw in degrees)."""
    real = RealFaces(data, ("merl_train",), dev=DEV)
    rng = np.random.default_rng(0)
    for kind in DAMAGES:
        for key in real.dev:
            sample = real.labelled(key)
            points = np.where((sample.state == VISIBLE)[:, None], sample.points, np.nan)
            image, points, box = damaged(rng, kind, sample.image, points, sample.box)
            yield kind, np.ascontiguousarray(image), points, box, real.yaw_deg(key)
    for name, jpeg in sorted(tar_files(data / "backgrounds.tar").items())[:DEV]:
        image = decode_jpeg(jpeg, name)
        side = rng.uniform(0.3, 0.8) * min(image.shape[:2])
        corner = rng.uniform(0, 1, 2) * (np.array(image.shape[1::-1]) - side)
        yield "no face", image, np.full((98, 2), np.nan), np.concatenate([corner, corner + side]), np.nan


def error(found: np.ndarray, labels: np.ndarray) -> float:
    """NME in %; NaN without labels."""
    known = np.isfinite(labels).all(-1)
    if not known.any():
        return np.nan
    return 100 * float(np.linalg.norm(found - labels, axis=-1)[known].mean() / np.sqrt(np.ptp(labels[known], 0).prod()))


def row(name: str, errors: np.ndarray, chosen: np.ndarray) -> str:
    """Share chosen, and the errors' mean, median and share above 10 % inside and outside of the choice."""
    cells = [f"{name:24s} {100 * chosen.mean():5.1f} %"]
    for part in (errors[chosen], errors[~chosen]):
        part = part[np.isfinite(part)]
        text = f"{part.mean():6.2f} {np.median(part):6.2f} {100 * (part > 10).mean():6.1f}" if len(part) else " " * 20
        cells.append(text)
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--detector", default="small")
    arguments = parser.parse_args()
    detector = build_detector(arguments.detector, refine=True, mirror=True)
    kinds, errors, measured, yaw = [], [], [], []
    for kind, image, labels, box, yaw_deg in faces(arguments.data):
        yaw.append(yaw_deg)
        found = detector.detect([image], box[None])
        kinds.append(kind)
        errors.append(error(found.points[0], labels))
        measured.append(measure(found, *image.shape[1::-1]))
    kind, error_pct = np.array(kinds), np.array(errors)
    measures = Measures(*(np.concatenate([getattr(m, n) for m in measured]) for n in MEASURES))
    report(kind, error_pct, measures, np.abs(yaw))


def report(kind: np.ndarray, errors: np.ndarray, measures: Measures, yaw: np.ndarray) -> None:
    """Prints the tables."""
    verdict = np.array(judge(measures, GateConfig()))
    real = kind != "no face"
    header = f"{'':24s}         |  mean  median  > 10 % |  mean  median  > 10 %"
    print(f"kept faces of each kind{'':8s} | of kept{'':13s} | of rejected\n{header}")
    for name in (*DAMAGES, "no face"):
        print(row(name, errors[kind == name], verdict[kind == name] == "kept"))
    for low, high in ((0, 30), (30, 60), (60, 180)):
        part = (kind == "none") & (yaw >= low) & (yaw < high)
        print(row(f"none, yaw {low}-{high}", errors[part], verdict[part] == "kept"))
    print(f"\nfaces of all kinds by verdict (none of 'no face') | of these | of others\n{header}")
    for reason in REASONS:
        print(row(reason, errors[real], verdict[real] == reason))
    print(f"\none gate alone, undamaged faces and all: share within | of kept | of rejected\n{header}")
    limits = {"sigma": (0.025, 0.03, 0.035, 0.04, 0.045, 0.05, 0.06), "flip": (0.01, 0.015, 0.02, 0.025, 0.03, 0.04)}
    for gate, values in limits.items():
        for limit in values:
            within = getattr(measures, gate) <= limit
            print(row(f"{gate} <= {limit}, undamaged", errors[kind == "none"], within[kind == "none"]))
            print(row(f"{gate} <= {limit}, all", errors[real], within[real]))
            print(row(f"{gate} <= {limit}, no face", errors[~real], within[~real]))


if __name__ == "__main__":
    main()
