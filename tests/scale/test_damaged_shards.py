"""Shards with flipped bytes: a scan takes each for damaged or for sound, and never ends the run."""

import numpy as np
import pytest

from facelift.datasets import view_shards
from facelift.datasets.view_shards import EncodedView, RenderedFace
from facelift.datasets.views import views_folder
from facelift.labelling import shards as frame_shards
from facelift.labelling.shards import FinishedItem, LabelledFace
from facelift.labelling.stage import frames_folder
from facelift.lifting import shards as lift_shards
from facelift.lifting.solver import Lifted
from facelift.lifting.stage import lift_folder
from facelift.scale.tar import META, map_tar, tar_bytes

JPEG = bytes(range(64))


def views_shard() -> bytes:
    view = EncodedView(JPEG, np.eye(3), np.ones(3), np.ones(98), np.zeros(98))
    points = np.zeros((98, 3), np.float32)
    return view_shards.shard_bytes([RenderedFace(seed, points, points, [view]) for seed in (10, 11)])


def frames_shard() -> bytes:
    arrays = (np.ones(4), np.ones((98, 2)), np.ones((98, 2, 2)), np.ones(98), np.ones(4), np.zeros(32))
    face = LabelledFace(3, 0.5, "kept", JPEG, *arrays)
    return frame_shards.shard_bytes([FinishedItem("a", "a", 1, [face, face]), FinishedItem("b", "b", error="bad")], 0)


def lift_shard() -> bytes:
    arrays = (np.ones((1, 98, 3)), np.ones((1, 98, 3, 3)), np.ones((1, 98)), np.ones((1, 98), int))
    lifted = Lifted(*arrays, np.ones((1, 98), bool))
    shard = lift_shards.make_shard(np.arange(1), lifted, np.ones(1), np.ones((1, 98, 3)), detected=np.ones(1))
    return lift_shards.shard_bytes(shard)


KINDS = {
    "views": (views_folder, "views-00000.tar", views_shard),
    "frames": (frames_folder, "frames-00000.tar", frames_shard),
    "lift": (lift_folder, "lift-00000.npz", lift_shard),
}


def telling_places(content: bytes) -> np.ndarray:
    """Every byte of headers and tables; of the long arrays some."""
    structure = np.frombuffer(content, np.uint8)
    words = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY", b"ustar", b'"')
    starts = [i for word in words for i in range(len(content)) if content.startswith(word, i)]
    near = {place for start in starts for place in range(max(0, start - 8), min(len(content), start + 140))}
    return np.union1d(np.array(sorted(near), int), np.arange(0, len(structure), 997))


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bytes_make_a_shard_damaged_or_leave_it_sound(kind, tmp_path):
    open_folder, name, make = KINDS[kind]
    content, rng = make(), np.random.default_rng(0)
    path = tmp_path / name
    path.write_bytes(content)
    assert open_folder(tmp_path).scan() == []
    places = rng.permutation(telling_places(content))[:700]
    damaged = 0
    for place in places:
        spoiled = bytearray(content)
        spoiled[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoiled)
        found = open_folder(tmp_path).scan()
        assert found in ([], [name])
        damaged += len(found)
    assert damaged > len(places) // 10


def without(content: bytes, tmp_path, suffix: str) -> bytes:
    path = tmp_path / "whole.tar"
    path.write_bytes(content)
    mapped, members = map_tar(path, "a shard")
    files = [(m.name, mapped[m.start : m.stop].tobytes()) for m in members]
    last = max(name for name, _ in files if name.endswith(suffix))
    return tar_bytes([file for file in files if file[0] != last])


@pytest.mark.parametrize("kind", ["views", "frames"])
@pytest.mark.parametrize("table", [None, b"{}", b"[]", b'{"seed": 3, "key": 3}', b"\xff"])
def test_tars_that_lack_something_are_damaged(kind, table, tmp_path, caplog):
    """A picture without its record; a table that is none."""
    open_folder, name, make = KINDS[kind]
    file = "faces.json" if kind == "views" else "items.json"
    if table is None:
        content = without(make(), tmp_path, ".npy")
    else:
        content = tar_bytes([(META + file, table)])
    (tmp_path / name).write_bytes(content)
    with open_folder(tmp_path).run({}, {}):
        pass
    assert not (tmp_path / name).exists()
    assert f"damaged, made anew: {tmp_path / name}: expected a shard" in caplog.text
