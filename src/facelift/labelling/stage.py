"""`facelift label frames`: finds faces in videos and photos, labels them, judges them, and writes shards."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import tyro

from facelift import __version__
from facelift.boxes import tight_box
from facelift.commands.report import explain
from facelift.crops import crop_transform, cut
from facelift.detectors2d.factory import build_detector
from facelift.detectors2d.protocol import Detections, Detector2D
from facelift.finders import FaceFinder, find_finder
from facelift.labelling.duplicates import Appearance, DuplicateConfig, KeptOfItem, KeptOfOthers, appearance
from facelift.labelling.gates import KEPT, MEASURES, REASONS, GateConfig, Measures, judge, measure
from facelift.labelling.shards import (
    FinishedItem,
    LabelledFace,
    encode,
    load_shard,
    shard_bytes,
    shard_name,
    shard_paths,
)
from facelift.labelling.sheet import draw_sheets
from facelift.labelling.sources import Item, Picture, Sampling, find_items
from facelift.onnx_models.lifter import weights_path
from facelift.scale.dashboard import Dashboard
from facelift.scale.engine import Engine, EngineName, RayConfig
from facelift.scale.folder import ShardFolder
from facelift.scale.stages import ITEM_ERRORS, Clock, Function, Passage, Stage
from facelift.scale.store import Place, shown

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
    """Videos, photos, folders or globs of them (URLs of an object store too), NAME.tar of packed sets, folders of
    CelebV-HQ."""
    out: Place
    """Folder of the shards, or its URL. A stopped run goes on where it was; new sources are added."""
    detector: str = "small"
    """small (the lifter that comes with the package), or the path of an exported 2D detector or lifter."""
    finder: Literal["auto", "mediapipe"] = "auto"
    """What finds the faces where a source has no boxes; auto is our own network."""
    sampling: Sampling = field(default_factory=Sampling)
    gates: GateConfig = field(default_factory=GateConfig)
    duplicates: DuplicateConfig = field(default_factory=DuplicateConfig)
    largest_crop: int = 192
    """Side of a stored crop, px, unless the face is smaller: nothing is enlarged."""
    engine: EngineName = "local"
    """local: processes on this machine; ray: actors on a Ray cluster."""
    workers: int = 0
    """Processes or actors that decode, find and detect; 0 for one a core."""
    ray: RayConfig = field(default_factory=RayConfig)
    shard_pictures: int = 500
    """Pictures of a shard, the most that a kill can cost; a video is never divided."""

    def __post_init__(self) -> None:
        if self.detector == "mediapipe":
            raise ValueError("--detector: expected one that tells its uncertainty, found mediapipe, which does not")


def label_frames(
    config: FramesConfig, *, detector: Detector2D | None = None, finder: FaceFinder | None = None
) -> Place:
    """Labels what no shard of the folder holds yet, writes the contact sheets, and logs the counts; returns the folder.

    `detector` and `finder` stand in for the ones that `config` names; with several workers they must pickle. A broken
    photo or video is named and counted. Raises ValueError if the folder holds shards of other settings or another run
    is at work in it, FileNotFoundError for a source that does not exist.
    """
    items = find_items(config.sources, config.sampling)
    settings = _settings(config, detector, finder)
    folder = frames_folder(config.out)
    with folder.run(settings, {"facelift": __version__}):
        writer = _Writer(config, folder)
        missing = [item for item in items if item.key not in writer.done]
        log.info("%s: %d of %d photos and videos to do", config.out, len(missing), len(items))
        engine = Engine(config.engine, config.workers, config.ray)
        stages = [Stage("label", partial(load_labeller, config, detector, finder), gpu=True)]
        workers = engine.count(len(missing))
        board = Dashboard("items", len(missing), workers, ("decode", "find", "detect"), here=("compare", "write"))
        with closing(engine.run(stages, missing)) as passages, board:
            for item, passage in zip(missing, board.watch(passages), strict=True):
                writer.add(item, passage, board)
            writer.finish(board)
        draw_sheets(config.out)
    for line in summary(config.out):
        log.info("%s", line)
    folder.raise_unwritten()
    return shown(config.out)


def frames_folder(place: Place) -> ShardFolder:
    """The folder of shards frames-*.tar; those of older versions are .npz."""
    return ShardFolder(
        place, "frames", (".tar", ".npz"), lambda store, name: len(load_shard(store.on_disk(name)).frame)
    )


def summary(folder: Place) -> list[str]:
    """Lines that tell what all shards of a folder hold: pictures, faces by verdict, duplicates, what was broken."""
    counts: Counter[str] = Counter()
    broken = []
    for path in shard_paths(folder):
        shard = load_shard(path)
        counts.update({reason: int((shard.reason == reason).sum()) for reason in REASONS})
        counts["items"] += len(shard.item)
        counts["pictures"] += int(shard.pictures.sum())
        counts["duplicate"] += int(shard.duplicates.sum())
        faces = np.bincount(shard.item_of_face, minlength=len(shard.item)) + shard.duplicates
        counts["without"] += int(((faces == 0) & (shard.error == "")).sum())
        broken += [str(error) for error in shard.error if error]
    found = counts["duplicate"] + sum(counts[reason] for reason in REASONS)
    lines = [f"{counts['pictures']} pictures of {counts['items']} photos and videos: {found} faces found"]
    for verdict in (*REASONS[1:], "duplicate", KEPT):
        lines.append(f"  {verdict:10s} {counts[verdict]:7d}  {100 * counts[verdict] / max(found, 1):5.1f} %")
    lines.append(f"{counts['without']} photos and videos without a face")
    return [*lines, f"{len(broken)} broken", *(f"  {error}" for error in broken)]


class _Writer:
    """Makes shards of finished items, in their order."""

    def __init__(self, config: FramesConfig, folder: ShardFolder):
        self._config, self._folder = config, folder
        self._kept = KeptOfOthers(config.duplicates)
        self._part: list[FinishedItem] = []
        self._failed = 0
        names = sorted(folder.entries)
        self.done: set[str] = set()
        """Keys of the items that shards hold."""
        for name in names:
            try:
                shard = load_shard(folder.store.on_disk(name))
            except ValueError as error:  # of the size that the index has, but damaged
                folder.drop(name, error)
                continue
            self.done |= set(shard.item.tolist())
            self._kept.remember(shard.hash[shard.reason == KEPT])
        self._index = 1 + max((int(name[7:].partition(".")[0]) for name in names), default=-1)

    def add(self, item: Item, passage: Passage, board: Dashboard) -> None:
        """Takes an item; every so many pictures, writes a shard."""
        self._failed += passage.value is None
        finished = passage.value or FinishedItem(item.key, item.sequence, error=f"{item.name}: {passage.error}")
        with board.time("compare"):
            self._drop_copies(finished)
        if finished.error and not passage.error:
            board.counts["broken"] += 1
            board.say(f"broken: {finished.error}", logging.WARNING)
        board.counts["kept"] += sum(face.reason == KEPT for face in finished.faces)
        self._part.append(finished)
        if sum(max(1, one.pictures) for one in self._part) >= self._config.shard_pictures:
            self.finish(board)

    def finish(self, board: Dashboard) -> None:
        """Writes what there is. Where every item has failed it is not written: that is no fault of the items."""
        if not self._part:
            return
        name = shard_name(self._index)
        if self._failed == len(self._part):
            self._folder.refuse(name, self._part[0].error)
        else:
            with board.time("write"):
                content = shard_bytes(self._part, self._index)
                self._folder.write(name, content, sum(len(item.faces) for item in self._part))
        self._index, self._part, self._failed = self._index + 1, [], 0

    def _drop_copies(self, finished: FinishedItem) -> None:
        """Leaves out the faces that another item had before."""
        new = [face for face in finished.faces if face.reason != KEPT or not self._kept.is_copy(face.hash)]
        finished.duplicates += len(finished.faces) - len(new)
        finished.faces = new
        hashes = [face.hash for face in new if face.reason == KEPT]
        self._kept.remember(np.array(hashes, np.uint8).reshape(-1, 32))


def load_labeller(config: FramesConfig, detector: Detector2D | None, finder: FaceFinder | None) -> Function:
    """What a worker does with an item."""
    return _Labeller(config, detector or build_detector(config.detector, refine=True, mirror=True), finder).finish


class _Labeller:
    """Finds, detects and judges the faces of items."""

    def __init__(self, config: FramesConfig, detector: Detector2D, finder: FaceFinder | None):
        self._config, self._detector, self._finder = config, detector, finder

    def finish(self, item: Item, clock: Clock) -> FinishedItem:
        """All faces of an item, up to where it is broken, but for near-identical ones."""
        finished, kept = FinishedItem(item.key, item.sequence), KeptOfItem(self._config.duplicates)
        for picture in _until_broken(item, finished, clock):
            finished.pictures += 1
            self._label(picture, finished, kept, clock)
        return finished

    def _label(self, picture: Picture, finished: FinishedItem, kept: KeptOfItem, clock: Clock) -> None:
        with clock.time("find"):
            boxes = self._boxes(picture)
        if not len(boxes):
            return
        with clock.time("detect"):
            found = self._detector.detect([picture.pixels] * len(boxes), boxes)
        height, width = picture.pixels.shape[:2]
        measures = measure(found, width, height)
        for index, reason in enumerate(judge(measures, self._config.gates)):
            if not found.found[index] or not measures.size_px[index] > 0:
                continue
            face, look = _cut(picture, found, measures, index, reason, self._config.largest_crop)
            if reason == KEPT and kept.is_copy(look):
                finished.duplicates += 1
                continue
            if reason == KEPT:
                kept.keep(look)
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


def _until_broken(item: Item, finished: FinishedItem, clock: Clock) -> Iterator[Picture]:
    """Its pictures; where it cannot be read on, that is noted."""
    pictures = item.read()
    while True:
        try:
            with clock.time("decode"):
                picture = next(pictures, None)
        except ITEM_ERRORS as error:
            finished.error = explain(error)
            return
        if picture is None:
            return
        yield picture


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
        encode(image),
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
        "keys": "name and digest",
        "largest_crop": config.largest_crop,
        "crop_scale": CROP_SCALE,
    }
