"""Pictures of known failures: the faces on which a model errs most, with truth (green) and prediction (red).

    python benchmarks/failures.py --out failures.jpg [--model FILE.onnx] [--heads 200] [--count 12]
    python benchmarks/failures.py --faces dev --out dev.jpg [--data FOLDER]

`rendered` (the default): unseen heads from random cameras of the camera space C, before procedural backgrounds, so that
the picture may be published; its skins are in part photographs of the Face Research Lab London Set (DeBruine & Jones,
CC BY 4.0). `dev`: the development faces, which are for research and must not be published. Each head is named by its
NME in percent and its yaw.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from dev_faces import dev_faces, predicted, visible_nme
from facelift.atomic import written_whole
from facelift.boxes import tight_box
from facelift.crops import crop_transform, cut
from facelift.datasets.sample import VISIBLE
from facelift.drawing import GREEN, RED
from facelift.generators.backgrounds import Backgrounds
from facelift.generators.stage import build_generator
from facelift.geometry import CameraSpace, euler_deg
from facelift.onnx_models.lifter import DEFAULT
from facelift.predictors.predictor import Predictor
from rendered import UNSEEN, rendered

TILE = 192


@dataclass(frozen=True, eq=False)
class Case:
    """A face with its error."""

    nme: float
    yaw_deg: float
    image: UInt8[np.ndarray, "h w 3"]
    box: Float[np.ndarray, "4"]
    truth: Float[np.ndarray, "n 2"]
    """Those points that count."""
    found: Float[np.ndarray, "n 2"]


def of_dev(predictor: Predictor, data: Path | None) -> Iterator[Case]:
    """The development faces."""
    samples = dev_faces(data)
    faces = predicted(predictor, samples)
    for sample, face, nme in zip(samples, faces, visible_nme(faces, samples), strict=True):
        seen = np.isfinite(sample.points).all(-1) & (sample.state == VISIBLE)
        points = face.to("ibug68").points_2d[seen]
        yield Case(float(nme), float(sample.attributes["yaw"]), sample.image, sample.box, sample.points[seen], points)


def of_rendered(predictor: Predictor, generator_name: str, assets: Path | None, heads: int) -> Iterator[Case]:
    """Unseen heads, each from one camera."""
    generator = build_generator(generator_name, assets)
    generator.backgrounds = Backgrounds(None)
    for seed in range(UNSEEN + 700_000, UNSEEN + 700_000 + heads):
        camera = CameraSpace().sample(np.random.default_rng(seed), generator.landmarks(seed))
        (head,) = rendered(predictor, generator, seed, *(part[None] for part in camera))
        view, seen = head.view, head.view.visible
        yaw = float(euler_deg(view.rotation)[1])
        yield Case(head.nme, yaw, view.image, tight_box(view.points[:96]), view.points[seen], head.face.points_2d[seen])


def sheet(cases: list[Case], columns: int = 6) -> UInt8[np.ndarray, "h w 3"]:
    """The cases, a tile each."""
    tiles = [_tile(case) for case in cases]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    return np.concatenate([np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)])


def _tile(case: Case) -> np.ndarray:
    crop = crop_transform(case.box, size=TILE)
    tile = cut(case.image, crop)
    for points, colour in ((case.truth, GREEN), (case.found, RED)):
        for x, y in crop.to_crop(points):
            cv2.circle(tile, (round(x * 8 - 4), round(y * 8 - 4)), 9, colour, -1, cv2.LINE_AA, 3)
    text = f"{100 * case.nme:.1f} %  {case.yaw_deg:+.0f} deg"
    for colour, width in ((0, 0, 0), 3), ((255, 255, 255), 1):
        cv2.putText(tile, text, (6, TILE - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, width, cv2.LINE_AA)
    return tile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a .jpg file")
    parser.add_argument("--faces", default="rendered", choices=("rendered", "dev"))
    parser.add_argument("--model", default=DEFAULT, help="a shipped model's name, or an .onnx file")
    parser.add_argument("--generator", default="morphable", choices=("morphable", "procedural"))
    parser.add_argument("--assets", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--heads", type=int, default=200)
    parser.add_argument("--count", type=int, default=12)
    arguments = parser.parse_args()
    predictor = Predictor(arguments.model, threads=1)
    if arguments.faces == "dev":
        cases = list(of_dev(predictor, arguments.data))
    else:
        cases = list(of_rendered(predictor, arguments.generator, arguments.assets, arguments.heads))
    worst = sorted((case for case in cases if np.isfinite(case.nme)), key=lambda case: -case.nme)[: arguments.count]
    with written_whole(arguments.out) as partial:
        Image.fromarray(sheet(worst)).save(partial, format="JPEG", quality=85)
    print(f"{len(cases)} faces, mean NME {100 * np.nanmean([case.nme for case in cases]):.2f} %")
    print(f"worst: {', '.join(f'{100 * case.nme:.1f}' for case in worst)} %\n{arguments.out}")


if __name__ == "__main__":
    main()
