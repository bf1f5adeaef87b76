"""Files that crash a careless reader, or take its memory: crafted pickles and archives, each refused by name."""

import io
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from facelift.archives import read_npz
from facelift.checkpoints.checkpoint import open_checkpoint
from facelift.checkpoints.safe_load import read_torch
from facelift.checkpoints.safe_pickle import read_pickle
from facelift.checkpoints.scientific_pickle import read_scientific_pickle

MEGABYTE = 1 << 20
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"


def dtype(code: bytes) -> bytes:
    return b"cnumpy\ndtype\n(S'" + code + b"'\ntR"


def state(code: bytes, data: bytes, length: int) -> bytes:
    """(version, shape, dtype, order, data) of an array."""
    return b"(I1\n(I%d\nt" % length + dtype(code) + b"I00\n" + data + b"t"


FROM_BYTES = b"cnumpy.core.numeric\n_frombuffer\n("
FREED = (
    # an array, a view of it, then another state for the array, which frees what the view shows
    ARRAY
    + state(b"u1", b"T" + MEGABYTE.to_bytes(4, "little") + bytes(MEGABYTE), MEGABYTE)
    + b"bp0\n0(g0\n"
    + FROM_BYTES
    + b"g0\n"
    + dtype(b"u1")
    + b"(I%d\ntS'C'\ntR" % MEGABYTE
    + b"g0\n"
    + state(b"u1", b"S'a'\n", 1)
    + b"bt."
)
ADDRESSES = (
    # an array of objects as a buffer
    ARRAY + state(b"O8", b"(lI7\na", 1) + b"bp0\n0" + FROM_BYTES + b"g0\n" + dtype(b"u8") + b"(I1\ntS'C'\ntR."
)
TWICE = ARRAY + state(b"u1", b"S'ab'\n", 2) + b"b" + state(b"u1", b"S'a'\n", 1) + b"b."


@pytest.mark.parametrize(
    ("data", "message"),
    [(FREED, "over"), (ADDRESSES, "over"), (TWICE, "a second state for an array")],
    ids=["freed", "addresses", "twice"],
)
def test_views_of_memory_that_is_freed_cannot_be_made(tmp_path, data, message):
    """In a process of its own: the first of these files made the reader read freed memory."""
    path = tmp_path / "crafted.pkl"
    path.write_bytes(data)
    code = (
        "import sys\nimport numpy as np\nfrom facelift.checkpoints.safe_pickle import read_pickle\n"
        "found = read_pickle(sys.argv[1], 'numbers')\nprint(sum(np.asarray(a).sum() for a in found))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1, done
    assert "crafted.pkl: expected numbers" in done.stderr and message in done.stderr


def test_arrays_over_bytes_still_come_back(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(FROM_BYTES + b"S'ab'\n" + dtype(b"u1") + b"(I2\ntS'C'\ntR.")
    assert read_pickle(path, "numbers").tolist() == [97, 98]


@pytest.fixture
def peak():
    """Megabytes by which the process's memory rose at its most since the test began."""
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        pytest.skip("the most that a process held can be reset on Linux alone")
    reset.write_text("5")

    def megabytes() -> float:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    start = megabytes()
    return lambda: megabytes() - start


class Shared:
    """Pickles as `count` tensors over one storage."""

    def __init__(self, storage: torch.Tensor, count: int):
        file = io.BytesIO()
        torch.save(storage.storage(), file, _use_new_zipfile_serialization=False)
        self.count, self.data = count, Stored(file.getvalue())
        self.length = len(storage)

    def tensors(self) -> dict:
        return {f"t{index}": Rebuilt(self.data, self.length) for index in range(self.count)}


class Stored:
    def __init__(self, data: bytes):
        self.data = data

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.data,)


class Rebuilt:
    def __init__(self, storage: Stored, length: int):
        self.storage, self.length = storage, length

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, (self.storage, 0, (self.length,), (1,), False, {})


def write_shared(path: Path, count: int) -> Path:
    path.write_bytes(pickle.dumps(Shared(torch.zeros(MEGABYTE // 4), count).tensors(), protocol=2))
    return path


@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_tensors_over_one_storage_share_its_memory(tmp_path):
    found = open_checkpoint(write_shared(tmp_path / "tied.pkl", 20))
    assert len(found.tensors) == 20
    assert len({tensor.untyped_storage().data_ptr() for tensor in found.tensors.values()}) == 1


@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_one_storage_as_thousands_of_tensors_is_refused(tmp_path, peak):
    path = write_shared(tmp_path / "bomb.pkl", 2000)
    assert path.stat().st_size < 1.3 * MEGABYTE
    with pytest.raises(ValueError, match=r"bomb\.pkl: .* more arrays and text than a file of [\d,]+ bytes"):
        open_checkpoint(path)
    assert peak() < 200


def repeated(call: bytes, count: int) -> bytes:
    """A text of a megabyte, then a list of so many calls that each make something as large of it."""
    text = b"X" + MEGABYTE.to_bytes(4, "little") + b"a" * MEGABYTE + b"p0\n0"
    return text + dtype(b"u1") + b"p1\n0(l" + (call + b"a") * count + b"."


@pytest.mark.parametrize(
    "call",
    [
        FROM_BYTES + b"g0\ng1\n(I%d\ntS'C'\ntR" % MEGABYTE,
        ARRAY + b"(I1\n(I%d\ntg1\nI00\ng0\ntb" % MEGABYTE,
        b"c_codecs\nencode\n(g0\nS'latin1'\ntR",
    ],
    ids=["over bytes", "by state", "encoded"],
)
def test_one_text_as_thousands_of_arrays_is_refused(tmp_path, peak, call):
    path = tmp_path / "bomb.pkl"
    path.write_bytes(repeated(call, 3))
    assert len(read_pickle(path, "numbers")) == 3
    path.write_bytes(repeated(call, 1000))
    with pytest.raises(ValueError, match=r"bomb\.pkl: .* more arrays and text"):
        read_pickle(path, "numbers")
    assert peak() < 200


def test_arrays_and_text_named_again_and_again_are_not_copied_without_end(tmp_path, peak):
    array = np.zeros(MEGABYTE, np.uint8)
    for name, held in (("array", {"x": [array] * 2000}), ("text", {"x": [{"y": "a" * MEGABYTE}] * 2000})):
        path = tmp_path / f"{name}.pkl"
        path.write_bytes(pickle.dumps(held, protocol=2))
        with pytest.raises(ValueError, match=r"more arrays and text|without end"):
            open_checkpoint(path)
    assert peak() < 300


def test_tensors_larger_than_their_storage_are_refused(tmp_path):
    torch.save({"x": torch.zeros(1).expand(10**12)}, tmp_path / "wide.pth")
    with pytest.raises(ValueError, match=r"wide\.pth: .* more arrays"):
        open_checkpoint(tmp_path / "wide.pth")


def sparse(rows: int, columns: int, times: int = 1) -> bytes:
    """A dictionary of SciPy's matrices without elements."""
    empty, starts = np.zeros(0, np.int32), np.zeros(columns + 1, np.int32)
    held = {"_shape": (rows, columns), "data": np.zeros(0), "indices": empty, "indptr": starts}
    body = pickle.dumps(held, protocol=2)[2:-1]
    record = b"cscipy.sparse.csc\ncsc_matrix\n)R" + body + b"b"
    return b"\x80\x02}(" + b"".join(b"U\x02%02d" % index + record for index in range(times)) + b"u."


@pytest.mark.parametrize(("rows", "times"), [(10**9, 1), (400_000, 9)])
def test_sparse_matrices_without_end_are_refused(tmp_path, rows, times):
    path = tmp_path / "face.pkl"
    path.write_bytes(sparse(rows, 2, times))
    for read in (open_checkpoint, lambda path: read_scientific_pickle(path, "FLAME")):
        with pytest.raises(ValueError, match=r"face\.pkl: .*sparse matrices of more than 4,194,304 numbers"):
            read(path)
    path.write_bytes(sparse(5, 2))
    assert open_checkpoint(path).tensors["00"].shape == read_scientific_pickle(path, "FLAME")["00"].shape == (5, 2)


def test_an_object_of_another_kind_is_refused_by_both_readers(tmp_path):
    path = tmp_path / "face.pkl"
    path.write_bytes(b"(dS'x'\nccopy_reg\n_reconstructor\n(cnumpy\ndtype\nc__builtin__\nobject\nNtRs.")
    for read in (open_checkpoint, lambda path: read_scientific_pickle(path, "FLAME")):
        with pytest.raises(ValueError, match=r"face\.pkl: .*an object of another kind"):
            read(path)


def deflated(path: Path, members: dict[str, int | bytes]) -> Path:
    """An archive of members of so many zeros, or of these bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, held in members.items():
            with archive.open(name, "w", force_zip64=True) as file:
                if isinstance(held, bytes):
                    file.write(held)
                    continue
                for _ in range(held // MEGABYTE):
                    file.write(bytes(MEGABYTE))
    return path


def test_archives_that_unpack_to_far_more_are_refused(tmp_path, peak):
    path = deflated(tmp_path / "bomb.npz", {"a.npy": 320 * MEGABYTE})
    assert path.stat().st_size < MEGABYTE / 2
    script = deflated(
        tmp_path / "script.pt", {"m/constants.pkl": b"N.", "m/data.pkl": b"N.", "m/extra/x": 320 * MEGABYTE}
    )
    saved = deflated(tmp_path / "bomb.pth", {"m/data.pkl": b"N.", "m/data/0": 320 * MEGABYTE})
    for read, bomb in ((lambda path: read_npz(path, "x"), path), (open_checkpoint, script), (read_torch, saved)):
        with pytest.raises(ValueError, match=r"bytes packed into"):
            read(bomb)
    assert peak() < 60


def test_what_is_only_counted_is_not_unpacked(tmp_path, peak):
    members = {"m/constants.pkl": b"N.", "m/data.pkl": b"N.", "m/extra/x": 200 * MEGABYTE}
    assert open_checkpoint(deflated(tmp_path / "head.pt", members)).settings["extra.x"] == 200 * MEGABYTE
    assert peak() < 60


def test_members_that_say_less_than_they_unpack_to_stop_there(tmp_path, peak):
    """200 MB whose entries in both directories say 16 bytes."""
    path = deflated(tmp_path / "head.pt", {"m/constants.pkl": b"N.", "m/data.pkl": 200 * MEGABYTE})
    data = bytearray(path.read_bytes())
    size = (200 * MEGABYTE).to_bytes(4, "little")
    assert data.count(size) >= 1
    path.write_bytes(data.replace(size, (16).to_bytes(4, "little")))
    with pytest.raises(ValueError, match=r"head\.pt: expected a TorchScript archive"):
        open_checkpoint(path)
    assert peak() < 60


def test_a_changed_npz_raises_nothing_but_its_error(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.arange(12.0).reshape(3, 4), b=np.array(["x", "yz"]))
    whole, raised = path.read_bytes(), set()
    for index in range(len(whole)):
        for bit in (1, 128):
            data = bytearray(whole)
            data[index] ^= bit
            path.write_bytes(data)
            try:
                read_npz(path, "numbers")
            except ValueError as error:
                assert "x.npz: expected numbers" in str(error)
                raised.add(type(error.__cause__))
    assert {RuntimeError, NotImplementedError, zipfile.BadZipFile} <= raised
