"""The file format of cached views: OUT/views-00000.tar ... and OUT/views.json. Described in docs/scale.md."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from facelift.archives import read_npz
from facelift.scale.store import Place, Store
from facelift.scale.tar import META, Member, map_tar, read_records, record_bytes, tar_bytes, whole_shard

_FACES = META + "faces.json"
_WHAT = "a shard with visibility, written by this version's `facelift views` (run it anew, to a new folder)"


@dataclass(frozen=True)
class EncodedView:
    """A rendered view as it is stored."""

    jpeg: bytes
    rotation: np.ndarray
    translation: np.ndarray
    visible: np.ndarray
    covered: np.ndarray


@dataclass(frozen=True)
class RenderedFace:
    """A face with its views; none where it could not be rendered."""

    seed: int
    landmarks: Float32[np.ndarray, "98 3"]
    """Lifted; NaN where there is none."""
    exact: Float32[np.ndarray, "98 3"]
    """The generator's; NaN where it does not know them."""
    views: Sequence[EncodedView]
    error: str = ""
    again: bool = False
    """Whether it failed for a reason that passes: the next run renders it."""


@dataclass(frozen=True)
class ViewShard:
    """n views of m faces."""

    seed: Int64[np.ndarray, "m"]
    landmarks: Float32[np.ndarray, "m 98 3"]
    exact: Float32[np.ndarray, "m 98 3"]
    face: Int64[np.ndarray, "n"]
    """Row of the face."""
    rotation: Float32[np.ndarray, "n 3 3"]
    translation: Float32[np.ndarray, "n 3"]
    visible: Bool[np.ndarray, "n 98"]
    covered: Bool[np.ndarray, "n 98"]
    jpeg: UInt8[np.ndarray, "bytes"]
    """With the pictures in it, from start to stop; of a stored shard the file itself, read where it is looked at."""
    start: Int64[np.ndarray, "n"]
    stop: Int64[np.ndarray, "n"]


def shard_bytes(faces: Sequence[RenderedFace]) -> bytes:
    """A shard: of each view a .jpg and a .npy record, before them all the seeds and what went wrong with them."""
    table = {"seed": [face.seed for face in faces], "error": [face.error for face in faces]}
    if any(face.again for face in faces):
        table["again"] = [face.again for face in faces]
    files = [(_FACES, json.dumps(table).encode())]
    for face in faces:
        known = {"seed": np.asarray(face.seed, np.int64), "landmarks": face.landmarks, "exact": face.exact}
        for number, view in enumerate(face.views):
            pose = {name: np.asarray(getattr(view, name), np.float32) for name in ("rotation", "translation")}
            seen = {name: np.asarray(getattr(view, name), bool) for name in ("visible", "covered")}
            sample = f"{face.seed:08d}-{number:03d}"
            files += [(f"{sample}.jpg", view.jpeg), (f"{sample}.npy", record_bytes(known | pose | seen))]
    return tar_bytes(files)


def shard_name(index: int) -> str:
    """views-00000.tar and on."""
    return f"views-{index:05d}.tar"


def shard_names(store: Store) -> list[str]:
    """Of all shards of a folder, in order. Raises FileNotFoundError where there is none."""
    names = [name for name in store.sizes() if re.fullmatch(r"views-\d+\.(tar|npz)", name)]
    if not names:
        raise FileNotFoundError(f"{store}: expected shards views-*.tar written by `facelift views`, found none")
    return names


def shard_paths(folder: Place) -> list[Path]:
    """The shards of a folder, in order; those of an object store are fetched. Raises as `shard_names`."""
    store = Store(folder)
    return [store.on_disk(name) for name in shard_names(store)]


def load_shard(path: Path) -> ViewShard:
    """Raises ValueError for a file that is no shard. An .npz is one of an older version."""
    if path.suffix == ".npz":
        return _load_npz(path)
    with whole_shard(path, _WHAT):
        return _load_tar(path)


def stored_seeds(path: Path) -> list[int]:
    """The faces that a shard was made of, those that could not be rendered among them; but not those that failed for a
    reason that passes. Raises as `load_shard`."""
    with whole_shard(path, _WHAT):
        content, members = map_tar(path, _WHAT)
        table = _table(path, content, {member.name: member for member in members})
        again = table.get("again", [False] * len(table["seed"]))
        return [seed for seed, failed in zip(table["seed"], again, strict=True) if not failed]


def _load_tar(path: Path) -> ViewShard:
    content, members = map_tar(path, _WHAT)
    pictures = [member for member in members if member.name.endswith(".jpg")]
    files = {member.name: member for member in members}
    _table(path, content, files)
    if not pictures:
        return _empty(content)
    rows = read_records(content, [files[member.name.removesuffix(".jpg") + ".npy"] for member in pictures])
    seeds, first, face = np.unique(rows["seed"], return_index=True, return_inverse=True)
    return ViewShard(
        seeds,
        rows["landmarks"][first],
        rows["exact"][first],
        face.astype(np.int64),
        **{name: rows[name] for name in ("rotation", "translation", "visible", "covered")},
        jpeg=content,
        start=np.array([member.start for member in pictures], np.int64),
        stop=np.array([member.stop for member in pictures], np.int64),
    )


def _table(path: Path, content: np.ndarray, files: dict[str, Member]) -> dict[str, list]:
    """Of the faces: `seed` and `error`, and `again` where one is to be rendered again."""
    if _FACES not in files:
        raise ValueError(f"{path}: expected {_WHAT}, found no {_FACES} in it")
    table = json.loads(content[files[_FACES].start : files[_FACES].stop].tobytes())
    if not isinstance(table["seed"], list):
        raise ValueError(f"{path}: expected {_WHAT}, found no seeds in {_FACES}")
    return table


def _load_npz(path: Path) -> ViewShard:
    keys = ("seed", "landmarks", "face", "rotation", "translation", "jpeg", "start", "stop", "visible", "covered")
    part = read_npz(path, _WHAT, keys)
    part.setdefault("exact", np.full_like(part["landmarks"], np.nan))
    floats = {name: part[name].astype(np.float32) for name in ("landmarks", "exact", "rotation", "translation")}
    return ViewShard(**{name: part[name] for name in ViewShard.__dataclass_fields__} | floats)


def _empty(content: np.ndarray) -> ViewShard:
    nowhere, none = np.zeros((0, 98, 3), np.float32), np.zeros(0, np.int64)
    unseen = np.zeros((0, 98), bool)
    poses = (np.zeros((0, 3, 3), np.float32), np.zeros((0, 3), np.float32))
    return ViewShard(none, nowhere, nowhere, none, *poses, unseen, unseen, content, none, none)
