"""The file format of labelled frames: OUT/frames-00000.npz ... and OUT/frames.json. Described in docs/labels.md."""

from dataclasses import dataclass, field, fields
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, Int64, UInt8

from facelift.archives import read_npz
from facelift.atomic import written_whole

_QUALITY = 92
"""Of the stored JPEG."""


@dataclass(frozen=True, eq=False)
class LabelledFace:
    """A face that was found and is no duplicate, kept or rejected."""

    frame: int
    time_s: float
    reason: str
    """One of `gates.REASONS`."""
    image: UInt8[np.ndarray, "s s 3"]
    """The crop."""
    crop: np.ndarray
    """(4,) x0 y0 x1 y1 of the crop in px of the picture."""
    points: np.ndarray
    """(98, 2) px of the crop."""
    covariance: np.ndarray
    """(98, 2, 2) px^2 of the crop."""
    visibility: np.ndarray
    """(98,) probability; NaN where the detector does not say."""
    measures: np.ndarray
    """(4,) `gates.MEASURES`."""
    hash: np.ndarray
    """(32,) bytes of `duplicates.difference_hash`."""


@dataclass
class FinishedItem:
    """An item with its faces."""

    key: str
    sequence: str
    pictures: int = 0
    faces: list[LabelledFace] = field(default_factory=list)
    duplicates: int = 0
    error: str = ""
    """Why it could not be read to its end."""


@dataclass(frozen=True)
class Shard:
    """n faces of m items."""

    item: np.ndarray
    """(m,) key."""
    sequence: np.ndarray
    """(m,)"""
    pictures: Int64[np.ndarray, "m"]
    duplicates: Int64[np.ndarray, "m"]
    error: np.ndarray
    """(m,) empty where nothing was wrong."""
    item_of_face: Int64[np.ndarray, "n"]
    frame: Int64[np.ndarray, "n"]
    time_s: Float32[np.ndarray, "n"]
    reason: np.ndarray
    """(n,) of `gates.REASONS`."""
    crop: Float32[np.ndarray, "n 4"]
    points: Float32[np.ndarray, "n 98 2"]
    covariance: Float32[np.ndarray, "n 98 2 2"]
    visibility: Float32[np.ndarray, "n 98"]
    measures: Float32[np.ndarray, "n 4"]
    hash: UInt8[np.ndarray, "n 32"]
    jpeg: UInt8[np.ndarray, "bytes"]
    start: Int64[np.ndarray, "n"]
    stop: Int64[np.ndarray, "n"]

    def image(self, face: int) -> UInt8[np.ndarray, "s s 3"]:
        """The crop, RGB."""
        image = cv2.imdecode(self.jpeg[self.start[face] : self.stop[face]], cv2.IMREAD_COLOR_RGB)
        assert image is not None  # written by make_shard
        return image


_ROWS = {
    **{"crop": (4,), "points": (98, 2), "covariance": (98, 2, 2), "visibility": (98,), "measures": (4,)},
    **{"frame": (), "time_s": (), "hash": (32,)},
}
_TYPES = {"frame": np.int64, "hash": np.uint8}


def make_shard(items: list[FinishedItem]) -> Shard:
    """The shard of these items."""
    faces = [face for item in items for face in item.faces]
    jpeg = [cv2.imencode(".jpg", f.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].ravel() for f in faces]
    stop = np.cumsum([len(data) for data in jpeg], dtype=np.int64)
    table = {
        name: np.array([getattr(face, name) for face in faces], _TYPES.get(name, np.float32)).reshape(-1, *row)
        for name, row in _ROWS.items()
    }
    return Shard(
        item=np.array([item.key for item in items], str),
        sequence=np.array([item.sequence for item in items], str),
        pictures=np.array([item.pictures for item in items], np.int64),
        duplicates=np.array([item.duplicates for item in items], np.int64),
        error=np.array([item.error for item in items], str),
        item_of_face=np.repeat(np.arange(len(items)), [len(item.faces) for item in items]),
        reason=np.array([face.reason for face in faces], str),
        jpeg=np.concatenate([np.zeros(0, np.uint8), *jpeg]),
        start=np.concatenate([np.zeros(1, np.int64), stop])[: len(stop)],
        stop=stop,
        **table,
    )


def shard_path(folder: Path, index: int) -> Path:
    """OUT/frames-00000.npz and on."""
    return Path(folder) / f"frames-{index:05d}.npz"


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a folder, in order."""
    return sorted(Path(folder).glob("frames-[0-9]*[0-9].npz"))


def save_shard(shard: Shard, path: Path) -> None:
    """A kill at any moment leaves the whole file or none."""
    with written_whole(path) as partial:
        np.savez(partial, **{field.name: getattr(shard, field.name) for field in fields(Shard)})


def load_shard(path: Path) -> Shard:
    """Raises ValueError for a file that is no shard."""
    keys = tuple(field.name for field in fields(Shard))
    arrays = read_npz(path, "a shard of `facelift label frames`", keys)
    return Shard(**{key: arrays[key] for key in keys})
