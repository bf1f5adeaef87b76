"""The file format of labelled frames: OUT/frames-00000.tar ... and OUT/frames.json. Described in docs/labels.md."""

import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, Int64, UInt8

from facelift.archives import read_npz
from facelift.scale.store import Place, Store
from facelift.scale.tar import META, map_tar, read_records, record_bytes, tar_bytes, whole_shard

_QUALITY = 92
"""Of the stored JPEG."""


@dataclass(frozen=True, eq=False)
class LabelledFace:
    """A face that was found and is no duplicate, kept or rejected."""

    frame: int
    time_s: float
    reason: str
    """One of `gates.REASONS`."""
    jpeg: bytes
    """The crop, by `encode`."""
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
    """With the crops in it, from start to stop; of a stored shard the file itself, read where it is looked at."""
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
_EMPTY = np.dtype(
    [(name, np.dtype(_TYPES.get(name, np.float32)).str, row) for name, row in _ROWS.items()]
    + [("item_of_face", "<i8", ()), ("reason", "<U8", ())]
)
"""A face's record."""


_ITEMS = META + "items.json"
_WHAT = "a shard of `facelift label frames`"


def encode(image: UInt8[np.ndarray, "s s 3"]) -> bytes:
    """A crop, RGB, as it is stored."""
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def shard_bytes(items: list[FinishedItem], index: int) -> bytes:
    """The file of shard `index`: of each face a .jpg and a .npy record, before them all a table of the items."""
    columns = ("key", "sequence", "pictures", "duplicates", "error")
    table = {column: [getattr(item, column) for item in items] for column in columns}
    files = [(_ITEMS, json.dumps(table, indent=1).encode())]
    faces = [(row, face) for row, item in enumerate(items) for face in item.faces]
    for number, (row, face) in enumerate(faces):
        values = {name: np.asarray(getattr(face, name), _TYPES.get(name, np.float32)) for name in _ROWS}
        values |= {"item_of_face": np.asarray(row, np.int64), "reason": np.asarray(face.reason, "U8")}
        sample = f"{index:05d}-{number:05d}"
        files += [(f"{sample}.jpg", face.jpeg), (f"{sample}.npy", record_bytes(values))]
    return tar_bytes(files)


def shard_name(index: int) -> str:
    """frames-00000.tar and on."""
    return f"frames-{index:05d}.tar"


def shard_paths(folder: Place) -> list[Path]:
    """The shards of a folder, in order; those of an object store are fetched."""
    store = Store(folder)
    names = [name for name in store.sizes() if re.fullmatch(r"frames-\d+\.(tar|npz)", name)]
    return [store.on_disk(name) for name in names]


def load_shard(path: Path) -> Shard:
    """Raises ValueError for a file that is no shard. An .npz is one of an older version."""
    if path.suffix == ".npz":
        keys = tuple(field.name for field in fields(Shard))
        arrays = read_npz(path, _WHAT, keys)
        return Shard(**{key: arrays[key] for key in keys})
    with whole_shard(path, _WHAT):
        return _load_tar(path)


def _load_tar(path: Path) -> Shard:
    content, members = map_tar(path, _WHAT)
    files = {member.name: member for member in members}
    if _ITEMS not in files:
        raise ValueError(f"{path}: expected {_WHAT}, found no {_ITEMS} in it")
    items = json.loads(content[files[_ITEMS].start : files[_ITEMS].stop].tobytes())
    pictures = [member for member in members if member.name.endswith(".jpg")]
    records = [files[member.name.removesuffix(".jpg") + ".npy"] for member in pictures]
    rows = read_records(content, records) if records else np.zeros(0, _EMPTY)
    return Shard(
        **{"item": np.array(items["key"], str)},
        **{name: np.array(items[name], str) for name in ("sequence", "error")},
        **{name: np.array(items[name], np.int64) for name in ("pictures", "duplicates")},
        **{name: rows[name] for name in _EMPTY.names or ()},
        jpeg=content,
        start=np.array([member.start for member in pictures], np.int64),
        stop=np.array([member.stop for member in pictures], np.int64),
    )
