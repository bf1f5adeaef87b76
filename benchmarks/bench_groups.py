"""Accuracy by skin tone on rendered heads, and stability by age on photos that have ages but no landmarks.

    python benchmarks/bench_groups.py --out DIR [--model FILE.onnx] [--heads 120] [--photos 300] [--data FOLDER]

Skin tone: heads of unseen seeds, two views each, grouped by the individual typology angle (ITA, Chardon et al. 1991)
of the mean albedo of the face's texture, ITA = atan((L* - 50) / b*). NME over the visible of 98 points by sqrt(w h),
and the mean distance of the 3D points after the best similarity; intervals over heads.

Age: faces of UTKFace and All-Age-Faces in the `unlabelled` set, whose file names hold the age. There are no landmarks,
so nothing here is accuracy: "flip" is the mean distance between the landmarks of a crop and those of the mirrored crop
brought back, by sqrt(w h) (no mirror averaging), which errs together with the model but misses errors that are
symmetric; "sigma" is the model's own uncertainty by sqrt(w h); "found" is the share in which the face finder finds a
face over the set's rough box. Writes DIR/groups.md.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from facelift.datasets.packed import data_root, decode_jpeg, read_packed
from facelift.evaluation.metrics.bootstrap import bootstrap_mean
from facelift.finders import find_finder, overlaps
from facelift.generators.appearance import GAMMA
from facelift.generators.stage import build_generator
from facelift.landmarks import WFLW98
from facelift.onnx_models.lifter import DEFAULT
from facelift.predictors.predictor import Predictor
from facelift.rendering import materials
from rendered import UNSEEN, around, rendered

TONES = {"light (ITA > 41)": 41.0, "intermediate (28 to 41)": 28.0, "tan (10 to 28)": 10.0, "brown (-30 to 10)": -30.0}
TONES["dark (below -30)"] = -np.inf
"""Name -> lowest ITA in degrees; Chardon's classes, the two lightest as one."""
AGES = (0, 3, 10, 18, 30, 45, 60, 75, 120)
AZIMUTHS_DEG = (0.0, 40.0)


class SeenWardrobe:
    """A wardrobe that tells what it handed out last."""

    def __init__(self, wardrobe):
        self._wardrobe, self.last = wardrobe, None

    def __getattr__(self, name: str):
        return getattr(self._wardrobe, name)

    def look(self, rng: np.random.Generator, *, occluding_hair: bool):
        """The wrapped wardrobe's look."""
        self.last = self._wardrobe.look(rng, occluding_hair=occluding_hair)
        return self.last


def typology_angle_deg(look) -> float:
    """ITA of a look: of the mean linear colour over the middle of the face in the texture."""
    height, width = look.skin.shape[:2]
    face = look.skin[height // 4 : height * 3 // 4, width // 8 : width * 3 // 8]
    linear = np.clip(face.mean((0, 1)) * look.flat[materials.SKIN], 0, 1)
    encoded = (linear ** (1 / GAMMA)).astype(np.float32)[None, None]
    lightness, _, b = cv2.cvtColor(encoded, cv2.COLOR_RGB2Lab)[0, 0]
    return float(np.degrees(np.arctan2(lightness - 50, b)))


def tone(angle_deg: float) -> str:
    """The group of a typology angle."""
    return next(name for name, lowest in TONES.items() if angle_deg > lowest)


def by_tone(predictor: Predictor, generator_name: str, assets: Path | None, heads: int) -> str:
    """Markdown table of errors by skin tone."""
    generator = build_generator(generator_name, assets)
    generator.wardrobe = SeenWardrobe(generator.wardrobe)
    names, errors = [], []
    for seed in range(UNSEEN + 500_000, UNSEEN + 500_000 + heads):
        views = list(rendered(predictor, generator, seed, *around(AZIMUTHS_DEG)))
        names.append(tone(typology_angle_deg(generator.wardrobe.last)))
        errors.append([[100 * view.nme, view.error_3d_mm] for view in views])
    columns = ["NME, %, azimuth 0", "azimuth 40", "3D, mm, azimuth 0", "azimuth 40"]
    values = np.array(errors).transpose(0, 2, 1).reshape(heads, 4)
    return grouped("skin tone", np.array(names), list(TONES), columns, values)


def grouped(
    title: str, names: np.ndarray, order: list[str], columns: list[str], values: Float[np.ndarray, "n c"]
) -> str:
    """Markdown: the mean of each column with its interval, for each group that has members, and for all."""
    lines = [f"| {title} | N | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for name in [*(name for name in order if (names == name).any()), "all"]:
        part = values if name == "all" else values[names == name]
        cells = [bootstrap_mean(column) for column in part.T]
        texts = [f"{cell.value:.2f} [{cell.low:.2f}, {cell.high:.2f}]" for cell in cells]
        lines.append(f"| {name} | {len(part)} | {' | '.join(texts)} |")
    return "\n".join(lines)


def age_of(source: str, name: str) -> int | None:
    """The age in a file name of UTKFace (utkface_AGE_...) or All-Age-Faces (aaf_PERSONAage); None for other sets."""
    found = re.match({"utkface": r"utkface_(\d+)_", "aaf": r"aaf_\d+A(\d+)"}.get(source, r"(?!)"), name)
    return int(found[1]) if found else None


def band(age: int) -> str:
    """The name of an age's band."""
    low = max(edge for edge in AGES[:-1] if age >= edge)
    high = AGES[AGES.index(low) + 1] - 1
    return f"{low} to {high}" if high < AGES[-1] - 1 else f"{low} and more"


def flip_distance(predictor: Predictor, image: np.ndarray, box: np.ndarray) -> tuple[float, float]:
    """Distance between the landmarks of a picture and of its mirror image, and the mean sigma, by sqrt(w h)."""
    width = image.shape[1]
    (face,) = predictor.predict(image, [box])
    mirrored_box = [width - box[2], box[1], width - box[0], box[3]]
    (other,) = predictor.predict(np.ascontiguousarray(image[:, ::-1]), [mirrored_box])
    back = other.points_2d[WFLW98.mirror] * [-1, 1] + [width, 0]
    scale = np.sqrt(np.ptp(face.points_2d[:96], axis=0).prod())
    distance = np.linalg.norm(face.points_2d - back, axis=-1).mean()
    return float(distance / scale), float(face.sigmas.mean() / scale)


def by_age(model: str, data: Path, photos: int, found: Callable[[np.ndarray, np.ndarray], bool]) -> str:
    """Markdown table of what can be said without landmarks; `photos`: at most so many a band and source."""
    predictor = Predictor(model, threads=1, mirror=False)
    labels, files = read_packed(data, "unlabelled", {"box": (4,), "source": ()})
    rng = np.random.default_rng(0)
    taken: dict[tuple[str, str], int] = {}
    names, values = [], []
    for index in rng.permutation(len(labels["name"])):
        source, name, box = str(labels["source"][index]), str(labels["name"][index]), labels["box"][index].astype(float)
        age = age_of(source, name)
        if age is None or age >= AGES[-1] or taken.get((source, band(age)), 0) >= photos:
            continue
        taken[source, band(age)] = taken.get((source, band(age)), 0) + 1
        image = decode_jpeg(files[name], name)
        distance, sigma = flip_distance(predictor, image, box)
        names.append(f"{source} {band(age)}")
        values.append([100 * distance, 100 * sigma, 100 * found(image, box)])
    order = [f"{source} {band(low)}" for source in ("utkface", "aaf") for low in AGES[:-1]]
    columns = ["flip, % (consistency, not accuracy)", "sigma, %", "found, %"]
    return grouped("set and age", np.array(names), order, columns, np.array(values))


def finder_test(name: str) -> Callable[[np.ndarray, np.ndarray], bool]:
    """Whether a finder sees a face over a box of the picture, which has its edge repeated by half its size around."""
    finder = find_finder(name)

    def found(image: np.ndarray, box: np.ndarray) -> bool:
        room = max(image.shape[:2]) // 2
        wide = cv2.copyMakeBorder(image, room, room, room, room, cv2.BORDER_REPLICATE)
        boxes = finder.find(wide).boxes
        return bool(len(boxes) and overlaps(box + room, boxes).max() > 0.3)

    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default=DEFAULT, help="a shipped model's name, or an .onnx file")
    parser.add_argument("--generator", default="morphable", choices=("morphable", "procedural"))
    parser.add_argument("--assets", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the unlabelled set; FACELIFT_DATA if not given")
    parser.add_argument("--heads", type=int, default=120)
    parser.add_argument("--photos", type=int, default=300, help="at most so many a set and band of ages; 0 for none")
    parser.add_argument("--finder", default="auto")
    arguments = parser.parse_args()
    parts = [by_tone(Predictor(arguments.model, threads=1), arguments.generator, arguments.assets, arguments.heads)]
    if arguments.photos:
        found = finder_test(arguments.finder)
        parts.append(by_age(arguments.model, data_root(arguments.data), arguments.photos, found))
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(parts) + "\n"
    (arguments.out / "groups.md").write_text(text)
    print(text)
    print(arguments.out / "groups.md")


if __name__ == "__main__":
    main()
