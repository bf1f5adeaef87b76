"""A 3D-aware GAN through the whole chain: 41 views, detections, lifted points, and how well they agree.

    python benchmarks/bench_gan_chain.py --generator RUN_OR_FILE --out DIR [--faces 50] [--detector small] [--size 256]

Writes DIR/sheet.jpg (the 41 views of the first accepted face, else of the first: detections green, lifted points
projected into the view red), DIR/lift with the pseudo-labels and their gate.md, and DIR/cameras.json (the focal length
under which the views agree best). Prints the tables. The last row of the
run's metrics.csv, whose Frechet distance is in the shipped encoder's features, is printed beside them.
"""

import argparse
import csv
import json
from pathlib import Path

import cv2
import numpy as np

from facelift.detectors2d.factory import build_detector
from facelift.generators.stage import build_generator
from facelift.geometry import intrinsics, project
from facelift.lifting.consistency import CheckConfig, check_generator
from facelift.lifting.masks import MaskConfig, mask
from facelift.lifting.observations import SIZE, observe, render_rig, solve
from facelift.lifting.rig import rig
from facelift.lifting.solver import SolverConfig
from facelift.lifting.stage import LiftConfig, competence_of, lift
from facelift.training.pictures import sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--detector", default="small")
    parser.add_argument("--faces", type=int, default=50)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--truncation", type=float, default=0.7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--checked", type=int, default=16, help="faces whose views the focal length is fitted to")
    parser.add_argument("--heads", type=int, default=16, help="heads on which the detector is measured for that")
    arguments = parser.parse_args()
    common = {name: getattr(arguments, name) for name in ("generator", "detector", "size", "truncation")}
    lifted = lift(LiftConfig(arguments.out / "lift", faces=arguments.faces, workers=arguments.workers, **common))
    cameras = check_generator(CheckConfig(out=arguments.out, faces=arguments.checked, heads=arguments.heads, **common))
    faces = json.loads((lifted / "gate.json").read_text())["faces"]
    seed = next((face["seed"] for face in faces if face["accepted"]), faces[0]["seed"])
    drawn = views_of(seed, arguments)
    cv2.imwrite(str(arguments.out / "sheet.jpg"), drawn[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    print((lifted / "gate.md").read_text())
    print(cameras.read_text())
    metrics = Path(arguments.generator) / "metrics.csv"
    if metrics.is_file():
        with metrics.open(newline="") as file:
            print(list(csv.DictReader(file))[-1])
    print(arguments.out / "sheet.jpg")


def views_of(seed: int, arguments: argparse.Namespace) -> np.ndarray:
    """The rig's views of a face with what was detected and lifted."""
    views, size = rig(41), arguments.size
    source = build_generator(arguments.generator, truncation=arguments.truncation)
    observed = observe(build_detector(arguments.detector), render_rig(source, seed, views, size=size), views)
    found = solve(observed, views, MaskConfig(), competence_of(arguments.detector), SolverConfig())
    trusted = mask(views, MaskConfig(), competence_of(arguments.detector)) > 0
    points = np.tile(found.points[0], (len(views), 1, 1))
    projected = project(points, views.rotations, views.translations, intrinsics(SIZE))
    tiles = []
    for view, picture in enumerate(source.render(seed, views.rotations, views.translations, size)):
        canvas = cv2.resize(picture.image, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        for point in observed.points[0, view][trusted[view]]:
            draw(canvas, point, (60, 255, 60))
        for point in projected[view]:
            draw(canvas, point, (255, 60, 40))
        tiles.append(canvas)
    return sheet(tiles, 7)


def draw(canvas: np.ndarray, point: np.ndarray, colour: tuple[int, int, int]) -> None:
    if np.isfinite(point).all() and np.abs(point).max() < 2 * SIZE:
        place = (round(float(point[0]) * 8 - 4), round(float(point[1]) * 8 - 4))
        cv2.circle(canvas, place, 12, colour, -1, cv2.LINE_AA, 3)


if __name__ == "__main__":
    main()
