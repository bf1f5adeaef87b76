"""Are closed eyes seen? Eye opening by the Predictor against exact truth on rendered blinks, and over time in videos.

    python benchmarks/bench_eyes.py --out DIR [--model FILE.onnx] [--heads 20] [--clips FOLDER]

Rendered heads of unseen seeds blink in steps, with both eyes and with one, and are seen from several azimuths. The
opening is `facelift.landmarks.eye_opening`; an eye counts where all six of its lid points are visible. Prints and
writes DIR/eyes.md; eyes.png has every eye as a dot. Each .mp4 of the folder gives DIR/NAME.png, opening over time
beside that of MediaPipe's tracked mesh (where installed), and DIR/NAME.dips.jpg, the frames where either is smallest.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from facelift.crops import crop_transform, cut
from facelift.generators.stage import build_generator
from facelift.landmarks import EYE_OUTLINES, eye_opening
from facelift.onnx_models.lifter import DEFAULT
from facelift.predictors.predictor import Predictor
from facelift.video import VideoReader, follow_faces
from rendered import UNSEEN, around, rendered

BLINKS = ((0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (0.75, 0.75), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0))
"""Of the subject's right and left eye, 0 open, 1 closed."""
AZIMUTHS_DEG = (-60.0, -30.0, 0.0, 30.0, 60.0)
MEDIAPIPE_EYES = [[33, 160, 158, 133, 153, 144], [362, 385, 387, 263, 373, 380]]
"""The six points of the same formula in MediaPipe's mesh, image-left eye first."""


class BlinkingHead:
    """A head that keeps its identity and expression but for the lids, which close as they are told."""

    def __init__(self, head):
        self._head, self.face, self.blink = head, 0, (0.0, 0.0)

    def __getattr__(self, name: str):
        return getattr(self._head, name)

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The face's own coefficients; what else moves a lid fades as it closes."""
        identity, expression = self._head.sample(np.random.default_rng([self.face, 0]))
        for side, blink in zip("RL", self.blink, strict=True):
            for shape in ("eyeLookUp", "eyeLookDown", "eyeWide", "eyeSquint"):
                if f"{shape}_{side}" in self.names:
                    expression[self.names.index(f"{shape}_{side}")] *= 1 - blink
            name = f"eyeBlink_{side}" if f"eyeBlink_{side}" in self.names else "eyeBlink"
            expression[self.names.index(name)] = blink
        return identity, expression


@dataclass(frozen=True, eq=False)
class Eyes:
    """n eyes, each seen in one picture."""

    azimuth_deg: Float[np.ndarray, "n"]
    blink: Float[np.ndarray, "n"]
    wink: Float[np.ndarray, "n"]
    """1 where the other eye does something else."""
    true_3d: Float[np.ndarray, "n"]
    found_3d: Float[np.ndarray, "n"]
    true_2d: Float[np.ndarray, "n"]
    found_2d: Float[np.ndarray, "n"]

    def __getitem__(self, chosen: np.ndarray) -> "Eyes":
        return Eyes(**{name: values[chosen] for name, values in vars(self).items()})


def blinks(predictor: Predictor, generator_name: str, assets: Path | None, heads: int) -> Eyes:
    """Every seen eye of all heads, blinks and cameras."""
    generator = build_generator(generator_name, assets)
    generator.head = BlinkingHead(generator.head)
    rows, cameras = [], around(AZIMUTHS_DEG)
    for face in range(heads):
        for step, blink in enumerate(BLINKS):
            generator.head.face, generator.head.blink = UNSEEN + face, blink
            seed = UNSEEN + 1000 * (face + 1) + step  # skin, hair and light differ from step to step
            for azimuth, head in zip(AZIMUTHS_DEG, rendered(predictor, generator, seed, *cameras), strict=True):
                numbers = (
                    *(eye_opening(head.landmarks), eye_opening(head.face.landmarks_3d)),
                    *(eye_opening(head.view.points), eye_opening(head.face.points_2d)),
                )
                for eye in np.flatnonzero(head.view.visible[EYE_OUTLINES["wflw98"]].all(1)):
                    rows.append((azimuth, blink[eye], blink[0] != blink[1], *(pair[eye] for pair in numbers)))
    return Eyes(*np.array(rows, float).T)


def table(eyes: Eyes) -> str:
    """Markdown: correlation and slope of found on true opening, by azimuth, and the mean opening of open and closed."""
    parts = {f"{azimuth:+.0f}": eyes[eyes.azimuth_deg == azimuth] for azimuth in AZIMUTHS_DEG}
    parts |= {"winks": eyes[eyes.wink == 1], "all": eyes}
    lines = [
        "| azimuth | eyes | r, 3D | slope, 3D | r, 2D | slope, 2D | open: true, found | closed: true, found |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, part in parts.items():
        numbers = [f"{value:.3f}" for pair in ("3d", "2d") for value in _fit(part, pair)]
        ends = []
        for blink in (0.0, 1.0):
            end = part[part.blink == blink]
            ends.append(f"{end.true_3d.mean():.3f}, {end.found_3d.mean():.3f}")
        lines.append(f"| {name} | {len(part.blink)} | {' | '.join(numbers + ends)} |")
    return "\n".join(lines)


def _fit(eyes: Eyes, which: str) -> tuple[float, float]:
    """Pearson correlation, and the slope of the least-squares line of found over true."""
    true, found = getattr(eyes, f"true_{which}"), getattr(eyes, f"found_{which}")
    return float(np.corrcoef(true, found)[0, 1]), float(np.polyfit(true, found, 1)[0])


def draw_eyes(eyes: Eyes, path: Path) -> None:
    """Found over true opening, an eye a dot."""
    figure, axes = _figure(2, (9, 4.5))
    for axis, which in zip(axes, ("3d", "2d"), strict=True):
        true, found = getattr(eyes, f"true_{which}"), getattr(eyes, f"found_{which}")
        dots = axis.scatter(true, found, c=np.abs(eyes.azimuth_deg), s=6, cmap="viridis")
        top = max(true.max(), found.max())
        axis.plot([0, top], [0, top], color="grey", linewidth=1)
        axis.set(xlabel=f"true opening, {which}", ylabel="found", title=f"r = {_fit(eyes, which)[0]:.3f}")
    figure.colorbar(dots, label="|azimuth|, degrees")
    figure.savefig(path, dpi=110)


def over_time(predictor: Predictor, clip: Path, out: Path) -> str:
    """Draws the opening of a clip's first face; returns a line about it."""
    mesh = _mediapipe_eyes()
    times, ours, theirs, pictures = [], [], [], []
    for frame, faces in follow_faces(predictor, iter(VideoReader(clip))):
        face = faces.get(0)
        times.append(frame.time_s)
        ours.append(face.eye_opening if face else np.full(2, np.nan))
        theirs.append(mesh(frame.pixels))
        pictures.append(_picture(frame.pixels, face) if face else np.zeros((96, 96, 3), np.uint8))
    ours, theirs = np.array(ours), np.array(theirs)
    _draw_clip(clip.stem, np.array(times), ours, theirs, out / f"{clip.stem}.png")
    mean, other = ours.mean(1), theirs.mean(1)
    own, peer = _dips(mean), _dips(other)
    shared = sum(any(abs(dip - found) <= 5 for found in own) for dip in peer)
    dips = sorted({*own, *(dip for dip in peer if all(abs(dip - found) > 5 for found in own))})
    if dips:
        rows = [np.concatenate([pictures[i] for i in _around(dip, len(pictures))], axis=1) for dip in dips]
        cv2.imwrite(str(out / f"{clip.stem}.dips.jpg"), np.concatenate(rows)[..., ::-1])
    both = np.isfinite(mean) & np.isfinite(other)
    agreement = np.corrcoef(mean[both], other[both])[0, 1] if both.sum() > 2 else np.nan
    at = ", ".join(f"{times[dip]:.2f}" for dip in dips)
    return (
        f"| {clip.stem} | {len(times)} | {np.isfinite(mean).mean():.3f} | {np.nanmedian(mean):.3f} | "
        f"{np.nanmin(mean):.3f} | {agreement:.3f} | {len(own)}, {len(peer)}, {shared} | {at} |"
    )


def _mediapipe_eyes() -> Callable[[np.ndarray], np.ndarray]:
    """Frame -> opening of both eyes by MediaPipe's mesh, tracked; NaN without a face or without MediaPipe."""
    try:
        from mediapipe.python.solutions.face_mesh import FaceMesh
    except ImportError:
        return lambda image: np.full(2, np.nan)
    mesh = FaceMesh(static_image_mode=False, max_num_faces=1, refine_landmarks=True)

    def opening(image: np.ndarray) -> np.ndarray:
        found = mesh.process(image).multi_face_landmarks
        if not found:
            return np.full(2, np.nan)
        height, width = image.shape[:2]
        points = np.array([(p.x * width, p.y * height, p.z * width) for p in found[0].landmark])
        return eye_opening(np.concatenate([points[eye] for eye in [range(36), *MEDIAPIPE_EYES]]), "ibug68")

    return opening


def _dips(opening: np.ndarray, count: int = 8) -> list[int]:
    """Frames where the opening is smallest and below 0.6 of its median over a second around, in order."""
    if not np.isfinite(opening).any():
        return []
    filled = np.where(np.isfinite(opening), opening, np.nanmedian(opening))
    typical = np.array([np.median(filled[max(0, i - 25) : i + 26]) for i in range(len(filled))])
    depth, found = filled / typical, []
    for index in np.argsort(depth):
        if depth[index] < 0.6 and len(found) < count and all(abs(index - other) > 8 for other in found):
            found.append(int(index))
    return sorted(found)


def _around(index: int, count: int) -> list[int]:
    return [int(np.clip(index + step, 0, count - 1)) for step in (-8, -4, -2, 0, 2, 4, 8)]


def _picture(image: np.ndarray, face) -> np.ndarray:
    """The part with the eyes, the lids' points drawn in."""
    eyes = face.points_2d[60:76]
    crop = crop_transform(np.concatenate([eyes.min(0), eyes.max(0)]), size=192, scale=1.3)
    picture = cut(image, crop)
    for x, y in crop.to_crop(eyes):
        cv2.circle(picture, (round(x * 8), round(y * 8)), 10, (60, 255, 90), -1, cv2.LINE_AA, 3)
    return np.ascontiguousarray(picture[48:144])


def _draw_clip(name: str, times: np.ndarray, ours: np.ndarray, theirs: np.ndarray, path: Path) -> None:
    figure, axes = _figure(2, (12, 5), rows=True)
    for axis, eye, side in zip(axes, range(2), ("image-left eye", "image-right eye"), strict=True):
        axis.plot(times, ours[:, eye], label="facelift", linewidth=1.2)
        axis.plot(times, theirs[:, eye], label="MediaPipe", linewidth=0.9, alpha=0.7)
        axis.set(ylabel=side, ylim=(0, None))
    axes[0].legend(loc="upper right")
    axes[0].set_title(f"{name}: eye opening over time")
    axes[1].set_xlabel("s")
    figure.savefig(path, dpi=90)


def _figure(count: int, size: tuple[float, float], *, rows: bool = False):
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(count if rows else 1, 1 if rows else count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default=DEFAULT, help="a shipped model's name, or an .onnx file")
    parser.add_argument("--generator", default="morphable", choices=("morphable", "procedural"))
    parser.add_argument("--assets", type=Path)
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument("--clips", type=Path, help="folder of .mp4 videos")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    predictor = Predictor(arguments.model, threads=1)
    eyes = blinks(predictor, arguments.generator, arguments.assets, arguments.heads)
    draw_eyes(eyes, arguments.out / "eyes.png")
    report = [table(eyes)]
    if arguments.clips:
        columns = (
            "frames | with face | median opening | smallest | r with MediaPipe | dips: ours, theirs, shared | at s"
        )
        report.append(f"| clip | {columns} |\n{'|---' * 8}|")
        for clip in sorted(arguments.clips.glob("*.mp4")):
            report[-1] += "\n" + over_time(predictor, clip, arguments.out)
    text = "\n\n".join(report) + "\n"
    (arguments.out / "eyes.md").write_text(text)
    print(text)
    print(arguments.out / "eyes.md")


if __name__ == "__main__":
    main()
