"""Folders of shards: whole or not at all, indexed, for one run at a time; on a disk and in an object store."""

import errno
import hashlib
import io
import json
import uuid

import numpy as np
import pytest

from facelift.scale import guard
from facelift.scale.folder import INDEX, ShardFolder
from facelift.scale.guard import LEASE, only_run
from facelift.scale.store import Store, fetched, fingerprint, matching
from facelift.scale.tar import map_tar, read_records, record_bytes, tar_bytes

SETTINGS = {"size": 3}


def count(store, name):
    content, members = map_tar(store.on_disk(name), "a shard of the test")
    return len(read_records(content, members))


def content(samples):
    values = np.arange(samples, dtype=np.float32)
    return tar_bytes((f"{i:03d}.npy", record_bytes({"value": np.asarray(value)})) for i, value in enumerate(values))


def open_folder(place):
    return ShardFolder(place, "lift", (".tar",), count)


@pytest.fixture(params=["disk", "memory"])
def place(request, tmp_path, monkeypatch):
    if request.param == "disk":
        return tmp_path / "out"
    pytest.importorskip("fsspec")
    monkeypatch.setenv("FACELIFT_CACHE", str(tmp_path / "cache"))
    return f"memory://{uuid.uuid4().hex}/out"


def test_shards_are_indexed_and_the_index_is_made_again_from_them(place):
    folder = open_folder(place)
    with folder.run(SETTINGS, {}):
        for index in (0, 1):
            assert folder.write(f"lift-{index:05d}.tar", content(4 + index), 4 + index)
    store = Store(place)
    index = json.loads(store.read(INDEX))
    digest = hashlib.sha256(content(5)).hexdigest()
    assert index["samples"] == 9
    assert index["shards"]["lift-00001.tar"] == {"samples": 5, "bytes": len(content(5)), "sha256": digest}
    for spoiled in (None, b"", b'{"shards": [3]}', b'{"shards": {}}'):
        store.remove(INDEX) if spoiled is None else store.write(INDEX, spoiled)
        with open_folder(place).run(SETTINGS, {}):
            pass
        assert json.loads(store.read(INDEX)) == index


def test_other_settings_are_refused(place):
    with open_folder(place).run(SETTINGS, {}):
        pass
    with (
        pytest.raises(ValueError, match=r"lift\.json: .*size: 3 there, 4 now"),
        open_folder(place).run({"size": 4}, {}),
    ):
        pass


def test_damaged_shards_are_named_and_made_anew(place, caplog):
    with (folder := open_folder(place)).run(SETTINGS, {}):
        for index in range(3):
            folder.write(f"lift-{index:05d}.tar", content(4), 4)
    store = Store(place)
    whole = store.read("lift-00001.tar")
    store.write("lift-00001.tar", whole[:5000])
    with (folder := open_folder(place)).run(SETTINGS, {}):
        assert sorted(folder.entries) == ["lift-00000.tar", "lift-00002.tar"]
    assert "damaged, made anew: " in caplog.text and "lift-00001.tar: expected a shard of the test" in caplog.text
    store.write("lift-00002.tar", whole[:600] + b"x" + whole[601:])  # of the same size: only its checksum tells
    assert open_folder(place).scan() == [] and open_folder(place).scan(verify=True) == ["lift-00002.tar"]


class Killed(BaseException):
    """SIGKILL: nothing is done after it, not even what `finally` asks for."""


def test_a_kill_after_a_shard_was_replaced_leaves_no_wrong_checksum(place, monkeypatch):
    """Tars are padded: two shards of other samples are of one size."""
    with (folder := open_folder(place)).run(SETTINGS, {}):
        for index in range(2):
            folder.write(f"lift-{index:05d}.tar", content(4), 4)
    assert len(content(5)) == len(content(4))
    folder = open_folder(place)
    with pytest.raises(Killed), folder.run(SETTINGS, {}):
        folder._indexed = guard.time.monotonic()  # not due for another 5 s
        assert folder.write("lift-00001.tar", content(5), 5)
        monkeypatch.setattr(folder, "_save_index", lambda: None)
        raise Killed
    assert open_folder(place).scan(verify=True) == []
    with (folder := open_folder(place)).run(SETTINGS, {}):
        assert {name: entry.samples for name, entry in folder.entries.items()} == {
            "lift-00000.tar": 4,
            "lift-00001.tar": 5,
        }
    assert open_folder(place).scan(verify=True) == []


def test_an_index_that_cannot_be_written_keeps_the_shard_from_being_replaced(tmp_path, monkeypatch):
    with (folder := open_folder(tmp_path)).run(SETTINGS, {}):
        folder.write("lift-00000.tar", content(4), 4)
    replace = __import__("os").replace

    def rename(partial, path):
        if path.name == INDEX:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(partial, path)

    folder = open_folder(tmp_path)
    with folder.run(SETTINGS, {}):
        monkeypatch.setattr("facelift.atomic.os.replace", rename)
        assert not folder.write("lift-00000.tar", content(5), 5)
    monkeypatch.undo()
    assert (tmp_path / "lift-00000.tar").read_bytes() == content(4)
    assert open_folder(tmp_path).scan(verify=True) == []


def test_two_runs_in_one_folder_are_refused(place):
    second = open_folder(place).run(SETTINGS, {})
    with open_folder(place).run(SETTINGS, {}), pytest.raises(ValueError, match="no other run in this folder, found"):
        second.__enter__()
    with open_folder(place).run(SETTINGS, {}):
        pass


def test_the_lease_of_a_dead_run_runs_out(monkeypatch):
    pytest.importorskip("fsspec")
    store = Store(f"memory://{uuid.uuid4().hex}")
    now = guard.time.time()
    store.write(LEASE, json.dumps({"owner": "a", "host": "h", "pid": 7, "time": now - 30}).encode())
    with pytest.raises(ValueError, match="found that of process 7 on h, alive 30 s ago"), only_run(store):
        pass
    monkeypatch.setattr(guard.time, "time", lambda: now + 100)
    with only_run(store):
        assert json.loads(store.read(LEASE))["owner"] != "a"
    assert not store.exists(LEASE)


def test_a_full_disk_costs_the_shards_that_do_not_fit(tmp_path, monkeypatch, caplog):
    folder, replace, full = open_folder(tmp_path), __import__("os").replace, {"lift-00001.tar"}

    def rename(partial, path):
        if path.name in full:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(partial, path)

    monkeypatch.setattr("facelift.atomic.os.replace", rename)
    with folder.run(SETTINGS, {}):
        written = [folder.write(f"lift-{index:05d}.tar", content(4), 4) for index in range(3)]
    assert written == [True, False, True] and sorted(folder.entries) == ["lift-00000.tar", "lift-00002.tar"]
    assert "lift-00001.tar: No space left on device" in caplog.text
    with pytest.raises(OSError, match="1 shards not written, start again: lift-00001"):
        folder.raise_unwritten()
    assert sorted(p.name for p in tmp_path.glob("*.tar")) == ["lift-00000.tar", "lift-00002.tar"]
    assert not list(tmp_path.glob(".partial-*"))
    full |= {f"lift-{index:05d}.tar" for index in range(9)}
    with pytest.raises(OSError, match=r"found 3 in a row that cannot be: .*No space left"), folder.run(SETTINGS, {}):
        for index in range(3, 9):
            folder.write(f"lift-{index:05d}.tar", content(4), 4)
    assert len(folder.unwritten) == 4


def test_what_killed_runs_left_half_written_is_removed(tmp_path):
    (tmp_path / ".partial-abc.tar").write_bytes(b"half")
    with open_folder(tmp_path).run(SETTINGS, {}):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [INDEX, "lift.json"]


def test_files_of_object_stores_are_named_fetched_and_known_by_content(tmp_path, monkeypatch):
    pytest.importorskip("fsspec")
    monkeypatch.setenv("FACELIFT_CACHE", str(tmp_path / "cache"))
    root = f"memory://{uuid.uuid4().hex}"
    store = Store(f"{root}/in")
    data = np.random.default_rng(0).bytes(3 << 20)
    store.write("a.mp4", data)
    store.write("b.jpg", b"b")
    assert matching(f"{root}/in/*.mp4") == [url for url in matching(f"{root}/in") if url.endswith("a.mp4")]
    (url,) = matching(f"{root}/in/*.mp4")
    (tmp_path / "elsewhere.mp4").write_bytes(data)
    assert (
        fingerprint(url) == fingerprint(tmp_path / "elsewhere.mp4") == fingerprint(f"file://{tmp_path}/elsewhere.mp4")
    )
    changed = bytearray(data)
    changed[-1] ^= 1
    (tmp_path / "other.mp4").write_bytes(changed)
    assert fingerprint(tmp_path / "other.mp4") != fingerprint(url)
    with fetched(url) as path:
        assert path.read_bytes() == data and path.suffix == ".mp4"
    assert not path.exists()
    kept = store.on_disk("b.jpg")
    assert kept.read_bytes() == b"b" and store.on_disk("b.jpg") == kept
    store.write("b.jpg", b"new")
    assert store.on_disk("b.jpg").read_bytes() == b"new"


def test_samples_of_a_tar_are_what_webdataset_expects(tmp_path):
    """Files that share a stem follow each other; plain ustar, which any tar reads; no pickle in the records."""
    import tarfile

    record = {"points": np.ones((3, 2), np.float32), "name": np.asarray("a", "U8")}
    files = [("__meta__/x.json", b"{}"), ("0-1.jpg", b"jpeg"), ("0-1.npy", record_bytes(record))]
    (tmp_path / "a.tar").write_bytes(tar_bytes(files))
    assert tar_bytes(files) == tar_bytes(list(files))
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert [(info.name, info.mtime, info.uid) for info in tar] == [(name, 0, 0) for name, _ in files]
        stored = np.load(io.BytesIO(tar.extractfile("0-1.npy").read()), allow_pickle=False)
    np.testing.assert_array_equal(stored["points"], record["points"])
    content, members = map_tar(tmp_path / "a.tar", "a tar")
    assert content[members[1].start : members[1].stop].tobytes() == b"jpeg"
    assert read_records(content, members[2:])["name"].tolist() == ["a"]
    with pytest.raises(ValueError, match="expected a record like"):
        (tmp_path / "b.tar").write_bytes(tar_bytes([*files, ("1.npy", record_bytes({"points": np.ones(2)}))]))
        content, members = map_tar(tmp_path / "b.tar", "a tar")
        read_records(content, members[2:])
