"""How MediaPipe's boxes lie to the tight box of the human landmarks, and how many faces it finds.

    python benchmarks/calibrate_finders.py --data DIR

prints the constants of `facelift.finders.mediapipe` (medians over the labelled photos of w300_full, in longer sides of
the finder's box), and recall and false boxes with the constants in place.
"""

import argparse
import tarfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from facelift.finders import overlaps
from facelift.finders.mediapipe import BoxMap, MediaPipeFinder


def photos(data: Path, name: str) -> Iterator[tuple[int, np.ndarray]]:
    """(row, RGB picture) of a packed set."""
    rows = {str(file): row for row, file in enumerate(np.load(data / f"{name}.npz")["name"])}
    with tarfile.open(data / f"{name}.tar") as tar:
        for member in tar:
            jpeg = np.frombuffer(tar.extractfile(member).read(), np.uint8)
            yield rows[member.name], cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB)


def fit(finder, data: Path) -> None:
    """Prints the medians of shift and size. Shifts are in the head's frame (turned back by the finder's roll)."""
    labels = dict(np.load(data / "w300_full.npz"))
    rows = []
    for photo, image in photos(data, "w300_full"):
        found = finder.find(image)
        for truth in labels["face_box"][labels["face_image_index"] == photo].astype(float):
            if not len(found.boxes) or (truth[3] - truth[1]) < 30:
                continue
            best = int(overlaps(truth, found.boxes).argmax())
            box = found.boxes[best]
            if overlaps(truth, box[None])[0] < 0.25:
                continue
            side, roll = max(box[2] - box[0], box[3] - box[1]), found.rolls[best]
            dx, dy = (truth[:2] + truth[2:] - box[:2] - box[2:]) / 2 / side
            cos, sin = np.cos(roll), np.sin(roll)
            rows.append([cos * dx + sin * dy, cos * dy - sin * dx, *((truth[2:] - truth[:2]) / side)])
    medians = np.median(rows, axis=0)
    spread = np.median(np.abs(rows - medians), axis=0)
    print(f"  {len(rows)} faces: BoxMap({', '.join(f'{m:.3f}' for m in medians)}), spread {np.round(spread, 3)}")


def measure(finder, data: Path) -> None:
    """Prints recall on labelled faces, how well boxes fit, and false boxes on photos without a face."""
    labels = dict(np.load(data / "w300_full.npz"))
    fits, sizes = [], []
    for photo, image in photos(data, "w300_full"):
        boxes = finder.find(image).boxes
        for truth in labels["face_box"][labels["face_image_index"] == photo].astype(float):
            fits.append(overlaps(truth, boxes).max() if len(boxes) else 0.0)
            sizes.append(max(truth[2:] - truth[:2]))
    fits, sizes = np.array(fits), np.array(sizes)
    for low, high in ((0, 20), (20, 40), (40, 80), (80, 999)):
        part = fits[(sizes >= low) & (sizes < high)]
        print(f"  faces {low:3d}-{high:3d} px: found {np.mean(part > 0.3):.1%} of {len(part)}", end="")
        print(f", median overlap {np.median(part[part > 0.3]) if (part > 0.3).any() else 0:.2f}")
    false = [len(finder.find(image).boxes) for _, image in photos(data, "backgrounds")]
    print(f"  boxes on {len(false)} photos without a face: {sum(false)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with w300_full and backgrounds")
    data = parser.parse_args().data
    raw = MediaPipeFinder()
    raw.box_map = BoxMap(0.0, 0.0, 1.0, 1.0)
    fit(raw, data)
    measure(MediaPipeFinder(), data)


if __name__ == "__main__":
    main()
