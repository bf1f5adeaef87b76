"""What a user names, as items that are read and finished one by one: photos, videos, packed sets, CelebV-HQ clips."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from facelift.commands.inputs import IMAGE_SUFFIXES, expand
from facelift.crops import box_of_crop
from facelift.datasets.packed import decode_jpeg, read_packed
from facelift.datasets.readers.celebv_hq import CelebVHQ
from facelift.images import load_photo
from facelift.scale.store import Place, fetched, fingerprint, local_path, matching
from facelift.video import SUFFIXES as VIDEO_SUFFIXES
from facelift.video import VideoReader

_UNCOUNTED = (".mkv", ".webm")
"""Containers that do not hold the number of frames: OpenCV makes it up from length and rate."""
CELEBV_HQ = "celebvhq_info.json"
"""A folder with this file is read as CelebV-HQ."""


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video are looked at."""

    per_second: float = 5.0
    """Frames a second."""
    every: int | None = None
    """Every so many frames instead, whatever the rate."""
    clip_frames: int = 8
    """Frames of each clip of CelebV-HQ, evenly over it."""

    def __post_init__(self) -> None:
        for name, value in (("per-second", self.per_second), ("every", self.every), ("clip-frames", self.clip_frames)):
            if value is not None and value <= 0:
                raise ValueError(f"--sampling.{name}: expected more than 0, found {value}")

    def step(self, fps: float) -> int:
        """Every how many frames."""
        return self.every or max(1, round(fps / self.per_second))


@dataclass(frozen=True, eq=False)
class Picture:
    """A photo or a frame."""

    pixels: UInt8[np.ndarray, "h w 3"]
    frame: int = 0
    """Counted from 0 in the video's file."""
    time_s: float = 0.0
    boxes: Float[np.ndarray, "n 4"] | None = None
    """Rough face boxes, px, where the source knows them; else a finder looks."""


@dataclass(frozen=True)
class Item:
    """A photo, a video, or a clip of one."""

    key: str
    """Unique, and the same wherever the file lies: its name and a digest of its content; for parts of a file or data
    set their name in it."""
    sequence: str
    """What belongs together: the video. A photo is its own."""
    name: str
    """The file, for people."""
    read: Callable[[], Iterator[Picture]]
    """Raises ValueError or OSError, that name the file, where it is broken."""


def find_items(names: Sequence[str], sampling: Sampling) -> list[Item]:
    """The items behind files, folders and globs (URLs of an object store too), NAME.tar of packed sets and folders of
    CelebV-HQ, each once.

    Raises FileNotFoundError for a name behind which there is nothing, ValueError for a packed set or a CelebV-HQ
    folder that is none.
    """
    items: dict[str, Item] = {}
    for name in names:
        found = list(_items(name, sampling))
        if not found:
            raise FileNotFoundError(f"{name}: expected photos, videos, a packed set or CelebV-HQ, found none")
        items |= {item.key: item for item in found if item.key not in items}
    return list(items.values())


def _items(name: str, sampling: Sampling) -> Iterator[Item]:
    path = local_path(name)
    if path is None:
        yield from (_file(url, sampling) for url in matching(name) if _suffix(url) in IMAGE_SUFFIXES + VIDEO_SUFFIXES)
    elif path.suffix == ".tar":
        yield from _packed(path)
    elif (path / CELEBV_HQ).is_file():
        yield from _celebv_hq(path, sampling)
    else:
        for entry in expand([str(path)]):
            if not entry.path.exists():
                raise FileNotFoundError(f"{entry.path}: expected a photo, video or folder, found nothing there")
            yield _file(entry.path, sampling)


def _file(place: Place, sampling: Sampling) -> Item:
    """A photo or video. One that cannot be opened is an item too, that fails when it is read."""
    name = str(place).rsplit("/", 1)[-1]
    try:
        digest = fingerprint(place)
    except OSError:
        digest = f"unread-{hashlib.sha256(str(place).encode()).hexdigest()[:9]}"
    key = f"{name}:{digest}"
    return Item(key, key, str(place), partial(_video if _suffix(name) in VIDEO_SUFFIXES else _photo, place, sampling))


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def _photo(place: Place, _sampling: Sampling) -> Iterator[Picture]:
    with fetched(place) as path:
        yield Picture(load_photo(path).pixels)


def _video(place: Place, sampling: Sampling) -> Iterator[Picture]:
    """Raises ValueError at the end of one that decodes far fewer frames than its header claims."""
    with fetched(place) as path:
        reader = VideoReader(path)
        step = sampling.step(reader.fps)
        decoded = 0
        for frame in reader:
            decoded += 1
            if frame.index % step == 0:
                yield Picture(frame.pixels, frame.index, frame.time_s)
    if Path(str(place)).suffix.lower() not in _UNCOUNTED and decoded < 0.98 * reader.frames:
        raise ValueError(f"{place}: expected {reader.frames} frames, as its header says, found {decoded} that decode")


def _packed(path: Path) -> Iterator[Item]:
    """The array `box` where the set has it; else a picture is a crop, as packed sets have them."""
    labels, files = read_packed(path.parent, path.stem, {})
    boxes = labels.get("box", np.full((len(labels["name"]), 4), np.nan)).astype(np.float64)
    if boxes.shape != (len(labels["name"]), 4):
        raise ValueError(f"{path.with_suffix('.npz')}: expected box as (n, 4), found {boxes.shape}")
    for name, box in zip(labels["name"], boxes, strict=True):
        jpeg = files[str(name)]
        key = f"{path.name}/{name}:{hashlib.sha256(jpeg).hexdigest()[:16]}"
        yield Item(key, key, f"{path}/{name}", partial(_packed_picture, jpeg, f"{path}/{name}", box))


def _packed_picture(jpeg: bytes, name: str, box: np.ndarray) -> Iterator[Picture]:
    pixels = decode_jpeg(jpeg, name)
    if not np.isfinite(box).all():
        box = box_of_crop(np.array([0.0, 0.0, *pixels.shape[1::-1]]))
    yield Picture(pixels, boxes=box[None])


def _celebv_hq(root: Path, sampling: Sampling) -> Iterator[Item]:
    """The data set's own names of clips and videos are the same everywhere."""
    clips = CelebVHQ(root, frames=sampling.clip_frames)
    for clip, name in enumerate(clips.names):
        video = f"celebv_hq/{clips.videos[clip]}"
        yield Item(f"celebv_hq/{name}", video, f"{root}/{name}", partial(_clip, root, sampling.clip_frames, clip))


def _clip(root: Path, count: int, clip: int) -> Iterator[Picture]:
    clips = _opened(root, count)
    for row in range(clip * count, (clip + 1) * count):
        face = clips[row]
        yield Picture(face.image, int(face.attributes["frame"]), float(face.attributes["time_s"]), boxes=face.box[None])


@lru_cache(1)
def _opened(root: Path, count: int) -> CelebVHQ:
    """Once in each worker: the list of clips is long."""
    return CelebVHQ(root, frames=count)
