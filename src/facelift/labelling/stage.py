"""`facelift label frames`: finds faces in videos and photos, labels them, judges them, and writes shards."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from facelift import __version__
from facelift.atomic import claim_folder
from facelift.boxes import tight_box
from facelift.commands.report import explain, progress, tell
from facelift.crops import crop_transform, cut
from facelift.detectors2d.factory import build_detector
from facelift.detectors2d.protocol import Detections, Detector2D
from facelift.finders import FaceFinder, find_finder
from facelift.labelling.duplicates import Appearance, DuplicateConfig, Seen, appearance
from facelift.labelling.gates import KEPT, MEASURES, REASONS, GateConfig, Measures, judge, measure
from facelift.labelling.shards import (
    FinishedItem,
    LabelledFace,
    Shard,
    load_shard,
    make_shard,
    save_shard,
    shard_path,
    shard_paths,
)
from facelift.labelling.sheet import draw_sheets
from facelift.labelling.sources import Item, Picture, Sampling, find_items
from facelift.onnx_lifter import weights_path

log = logging.getLogger(__name__)

CROP_SCALE = 1.9
"""Side of a stored crop over the longer side of the points' box: what training crops need, 1.5 times it, turned,
moved and scaled."""
_FRAME = slice(0, 96)
"""WFLW-98 without the pupils."""


@dataclass(frozen=True)
class FramesConfig:
    """Label the faces of videos and photos with 2D landmarks, for training."""

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Videos, photos, folders or globs of them, NAME.tar of packed sets, folders of CelebV-HQ."""
    out: Path
    """Folder of the shards. A stopped run goes on where it was; new sources are added."""
    detector: str = "small"
    """small (the lifter that comes with the package), or the path of an exported 2D detector or lifter."""
    finder: Literal["auto", "mediapipe"] = "auto"
    """What finds the faces where a source has no boxes; auto is our own network."""
    sampling: Sampling = field(default_factory=Sampling)
    gates: GateConfig = field(default_factory=GateConfig)
    duplicates: DuplicateConfig = field(default_factory=DuplicateConfig)
    largest_crop: int = 192
    """Side of a stored crop, px, unless the face is smaller: nothing is enlarged."""
    shard_pictures: int = 500
    """Pictures of a shard, the most that a kill can cost; a video is never divided."""

    def __post_init__(self) -> None:
        if self.detector == "mediapipe":
            raise ValueError("--detector: expected one that tells its uncertainty, found mediapipe, which does not")


def label_frames(config: FramesConfig, *, detector: Detector2D | None = None, finder: FaceFinder | None = None) -> Path:
    """Labels what no shard of the folder holds yet, writes the contact sheets, and logs the counts; returns the folder.

    `detector` and `finder` stand in for the ones that `config` names. A broken photo or video is named and counted.
    Raises ValueError if the folder holds shards of other settings, FileNotFoundError for a source that does not exist.
    """
    items = find_items(config.sources, config.sampling)
    labeller = _Labeller(config, detector, finder)
    claim_folder(config.out / "frames.json", _settings(config, detector, finder), {"facelift": __version__})
    paths = shard_paths(config.out)
    done = {str(key) for path in paths for key in labeller.remember(load_shard(path))}
    missing = [item for item in items if item.key not in done]
    log.info("%s: %d of %d photos and videos to do", config.out, len(missing), len(items))
    next_index = 1 + int(paths[-1].stem.removeprefix("frames-")) if paths else 0
    for index, shard in enumerate(labeller.shards(missing), next_index):
        save_shard(shard, shard_path(config.out, index))
    draw_sheets(config.out)
    for line in summary(config.out):
        log.info("%s", line)
    return config.out


def summary(folder: Path) -> list[str]:
    """Lines that tell what all shards of a folder hold: pictures, faces by verdict, duplicates, what was broken."""
    counts: Counter[str] = Counter()
    broken = []
    for path in shard_paths(folder):
        shard = load_shard(path)
        counts.update({reason: int((shard.reason == reason).sum()) for reason in REASONS})
        counts["items"] += len(shard.item)
        counts["pictures"] += int(shard.pictures.sum())
        counts["duplicate"] += int(shard.duplicates.sum())
        broken += [str(error) for error in shard.error if error]
    found = counts["duplicate"] + sum(counts[reason] for reason in REASONS)
    lines = [f"{counts['pictures']} pictures of {counts['items']} photos and videos: {found} faces found"]
    for verdict in (*REASONS[1:], "duplicate", KEPT):
        lines.append(f"  {verdict:10s} {counts[verdict]:7d}  {100 * counts[verdict] / max(found, 1):5.1f} %")
    return [*lines, f"{len(broken)} broken", *(f"  {error}" for error in broken)]


class _Labeller:
    """Turns items into shards."""

    def __init__(self, config: FramesConfig, detector: Detector2D | None, finder: FaceFinder | None):
        self._config = config
        self._detector = detector or build_detector(config.detector, refine=True, mirror=True)
        self._finder = finder
        self._seen = Seen(config.duplicates)

    def remember(self, shard: Shard) -> list[str]:
        """Takes note of a finished shard's faces; returns the keys of its items."""
        self._seen.remember(shard.hash[shard.reason == KEPT])
        return shard.item.tolist()

    def shards(self, items: list[Item]) -> Iterator[Shard]:
        """Every so many pictures, a shard."""
        part: list[FinishedItem] = []
        for number, item in enumerate(items, 1):
            progress(f"[{number}/{len(items)}] {item.key}")
            part.append(self._finish(item))
            if sum(max(1, finished.pictures) for finished in part) >= self._config.shard_pictures:
                yield make_shard(part)
                part = []
        if part:
            yield make_shard(part)
        progress("")

    def _finish(self, item: Item) -> FinishedItem:
        """All faces of an item, up to where it is broken."""
        finished = FinishedItem(item.key, item.sequence)
        for picture in _until_broken(item, finished):
            finished.pictures += 1
            self._label(picture, finished)
        self._seen.finish_item()
        return finished

    def _label(self, picture: Picture, finished: FinishedItem) -> None:
        boxes = self._boxes(picture)
        if not len(boxes):
            return
        found = self._detector.detect([picture.pixels] * len(boxes), boxes)
        height, width = picture.pixels.shape[:2]
        measures = measure(found, width, height)
        for index, reason in enumerate(judge(measures, self._config.gates)):
            if not found.found[index] or not measures.size_px[index] > 0:
                continue
            face, look = _cut(picture, found, measures, index, reason, self._config.largest_crop)
            if reason == KEPT and self._seen.is_copy(look):
                finished.duplicates += 1
                continue
            if reason == KEPT:
                self._seen.keep(look)
            finished.faces.append(face)

    def _boxes(self, picture: Picture) -> np.ndarray:
        """Of a source's rough boxes, those that a first look frames anew."""
        if picture.boxes is None:
            self._finder = self._finder or find_finder(self._config.finder)
            return self._finder.find(picture.pixels).boxes
        first = self._detector.detect([picture.pixels] * len(picture.boxes), picture.boxes)
        framed = tight_box(first.points[:, _FRAME])
        good = first.found & ((framed[:, 2:] - framed[:, :2]).min(-1) > 1)
        return np.where(good[:, None], framed, picture.boxes)


def _until_broken(item: Item, finished: FinishedItem) -> Iterator[Picture]:
    """Its pictures; where it cannot be read on, that is told and noted."""
    try:
        yield from item.read()
    except (ValueError, OSError) as error:
        finished.error = explain(error)
        tell(f"broken: {finished.error}")


def _cut(
    picture: Picture, found: Detections, measures: Measures, index: int, reason: str, largest: int
) -> tuple[LabelledFace, Appearance]:
    """A face's row, and what it is compared by."""
    assert found.covariances is not None  # measure() has refused it
    box = tight_box(found.points[index, _FRAME])
    side = CROP_SCALE * (box[2:] - box[:2]).max()
    transform = crop_transform(box, size=int(np.clip(round(side), 16, largest)), scale=CROP_SCALE)
    image, points = cut(picture.pixels, transform), transform.to_crop(found.points[index])
    look = appearance(image, points)
    face = LabelledFace(
        picture.frame,
        picture.time_s,
        reason,
        image,
        crop=transform.to_image(np.array([[0.0, 0.0], [transform.size, transform.size]])).ravel(),
        points=points,
        covariance=found.covariances[index] * transform.scale**2,
        visibility=np.full(len(points), np.nan) if found.visibility is None else found.visibility[index],
        measures=np.array([getattr(measures, name)[index] for name in MEASURES]),
        hash=look.hash,
    )
    return face, look


def _settings(config: FramesConfig, detector: Detector2D | None, finder: FaceFinder | None) -> dict[str, object]:
    """What must be equal for a run to go on."""
    path = weights_path(config.detector)
    digest = "" if detector else hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return {
        "detector": type(detector).__name__ if detector else f"{path.name} sha256:{digest}",
        "finder": type(finder).__name__ if finder else config.finder,
        **{name: asdict(getattr(config, name)) for name in ("sampling", "gates", "duplicates")},
        "largest_crop": config.largest_crop,
        "crop_scale": CROP_SCALE,
    }
