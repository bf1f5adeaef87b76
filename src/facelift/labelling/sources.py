"""What a user names, as items that are read and finished one by one: photos, videos, packed sets, CelebV-HQ clips."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from facelift.commands.inputs import expand
from facelift.crops import box_of_crop
from facelift.datasets.packed import decode_jpeg, read_packed
from facelift.datasets.readers.celebv_hq import CelebVHQ
from facelift.images import load_photo
from facelift.video import VideoReader

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
    """Unique: absolute path, with the name inside of it for parts of a file."""
    sequence: str
    """What belongs together: the video. A photo is its own."""
    read: Callable[[], Iterator[Picture]]
    """Raises ValueError or OSError, that name the file, where it is broken."""


def find_items(names: Sequence[str], sampling: Sampling) -> list[Item]:
    """The items behind files, folders, globs, NAME.tar of packed sets and folders of CelebV-HQ, each once.

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
    path = Path(name)
    if path.suffix == ".tar":
        yield from _packed(path)
    elif (path / CELEBV_HQ).is_file():
        yield from _celebv_hq(path, sampling)
    else:
        for entry in expand([name]):
            if not entry.path.exists():
                raise FileNotFoundError(f"{entry.path}: expected a photo, video or folder, found nothing there")
            key = str(entry.path.resolve())
            yield Item(key, key, partial(_video if entry.is_video else _photo, entry.path, sampling))


def _photo(path: Path, _sampling: Sampling) -> Iterator[Picture]:
    yield Picture(load_photo(path).pixels)


def _video(path: Path, sampling: Sampling) -> Iterator[Picture]:
    reader = VideoReader(path)
    step = sampling.step(reader.fps)
    for frame in reader:
        if frame.index % step == 0:
            yield Picture(frame.pixels, frame.index, frame.time_s)


def _packed(path: Path) -> Iterator[Item]:
    """The array `box` where the set has it; else a picture is a crop, as packed sets have them."""
    labels, files = read_packed(path.parent, path.stem, {})
    boxes = labels.get("box", np.full((len(labels["name"]), 4), np.nan)).astype(np.float64)
    if boxes.shape != (len(labels["name"]), 4):
        raise ValueError(f"{path.with_suffix('.npz')}: expected box as (n, 4), found {boxes.shape}")
    for name, box in zip(labels["name"], boxes, strict=True):
        key = f"{path.resolve()}/{name}"
        yield Item(key, key, partial(_packed_picture, files[str(name)], f"{path}/{name}", box))


def _packed_picture(jpeg: bytes, name: str, box: np.ndarray) -> Iterator[Picture]:
    pixels = decode_jpeg(jpeg, name)
    if not np.isfinite(box).all():
        box = box_of_crop(np.array([0.0, 0.0, *pixels.shape[1::-1]]))
    yield Picture(pixels, boxes=box[None])


def _celebv_hq(root: Path, sampling: Sampling) -> Iterator[Item]:
    count = sampling.clip_frames
    clips = CelebVHQ(root, frames=count)
    for clip, name in enumerate(clips.names):
        video = f"{root.resolve()}/{clips.videos[clip]}"
        yield Item(f"{root.resolve()}/{name}", video, partial(_clip, clips, range(clip * count, (clip + 1) * count)))


def _clip(clips: CelebVHQ, rows: range) -> Iterator[Picture]:
    for row in rows:
        face = clips[row]
        yield Picture(face.image, int(face.attributes["frame"]), float(face.attributes["time_s"]), boxes=face.box[None])
