"""The restricted unpickler: arrays and plain containers come out, nothing that a file names is called."""

import pickle
import pickletools
from collections import OrderedDict

import numpy as np
import pytest

from facelift.checkpoints.safe_pickle import SafeUnpickler, StandIn, read_pickle, read_pickled_arrays


class Reduced:
    """Pickles as a call of `function` with `arguments`, then as a state."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pkl"


ARRAYS = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "big-endian": np.arange(4, dtype=">i8"),
    "Fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "empty": np.zeros((0, 3)),
    "bool": np.array([True, False]),
    "text": np.array(["ab", "c"]),
    "scalar": np.float64(2.5),
    "objects": np.array([[{"a": 1}, None]], object),
    "not contiguous": np.arange(10)[::3],
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back(path, name, protocol):
    held = {"x": ARRAYS[name], "again": [ARRAYS[name]], "more": (1, None, "text", {2}, OrderedDict(a=b"\x00\xff"))}
    path.write_bytes(pickle.dumps(held, protocol=protocol))
    found, wanted = read_pickle(path, "numbers"), pickle.loads(path.read_bytes())
    np.testing.assert_array_equal(np.asarray(found["x"]), held["x"])
    assert np.asarray(found["x"]).dtype == wanted["x"].dtype
    assert found["again"][0] is found["x"] or name == "scalar"
    assert found["more"] == held["more"]


def test_names_of_older_numpy_and_python_2(path):
    """As NumPy 1 under Python 2 wrote: other module names, byte strings for keys and data."""
    array = np.array([1.5, -2.0])
    old = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n"
        b"(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS" + repr(array.tobytes()).encode()[1:] + b"\ntb."
    )
    path.write_bytes(b"(dS'u'\n" + old[:-1] + b"s.")
    np.testing.assert_array_equal(read_pickled_arrays(path, "numbers", ("u",))["u"], array)
    assert type(read_pickled_arrays(path, "numbers", ("u",))["u"]) is np.ndarray


def _touch(marker):
    import os

    return Reduced(os.system, f"touch {marker}")


ATTACKS = {
    "system": (lambda marker: _touch(marker), r"a call of (posix|nt)\.system"),
    "eval": (lambda marker: Reduced(eval, f"open({str(marker)!r}, 'w')"), r"a call of (builtins|__builtin__)\.eval"),
    "open": (lambda marker: Reduced(open, str(marker), "w"), r"a call of _?io\.open"),
    "nested": (lambda marker: {"u": [np.zeros(2), (_touch(marker),)]}, "system"),
    "inside an array": (lambda marker: np.array([_touch(marker)], object), "system"),
    "getattr": (lambda marker: Reduced(getattr, b"bytes", "hex"), "getattr"),
    "import": (lambda marker: Reduced(__import__, "antigravity"), "__import__"),
    "numpy's own": (lambda marker: Reduced(np.load, str(marker)), r"numpy.*load"),
    "another class": (lambda marker: Reduced(pickletools.OpcodeInfo), "OpcodeInfo"),
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", ATTACKS)
def test_files_that_call_anything_are_refused_by_name(path, tmp_path, name, protocol):
    make, message = ATTACKS[name]
    marker = tmp_path / "was_run"
    path.write_bytes(pickle.dumps(make(marker), protocol=protocol))
    with pytest.raises(ValueError, match=rf"file\.pkl: expected a face model .*{message}"):
        read_pickle(path, "a face model")
    assert not marker.exists()


def test_the_attack_is_armed(path, tmp_path):
    """The careless way does run it."""
    path.write_bytes(pickle.dumps(_touch(tmp_path / "was_run")))
    with path.open("rb") as file:
        pickle.load(file)
    assert (tmp_path / "was_run").exists()


HAND_WRITTEN = {
    "a name with dots": (b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x18_reconstruct.__globals__\x93.", "__globals__"),
    "an attribute of ours": (b"cfacelift.checkpoints.safe_pickle\nread_pickle\n.", "safe_pickle.read_pickle"),
    "a registered extension": (b"\x82\x01.", "extension"),
    "something stored outside": (b"\x80\x04\x8c\x01a\x51.", "persistent"),
    "a change of a stand-in": (b"cnumpy\ndtype\n(N(dS'_call'\nNstb.", "a state for a name"),
    "a state for a stand-in": (b"cnumpy\ndtype\n(dS'_call'\nNsb.", "a state for a name"),
    "a call of a name": (b"cnumpy\nndarray\n(I3\ntR.", "a call of something that is only a name"),
    "a call of a number": (b"I7\n(I3\ntR.", "a call of 7"),
    "an array's own state": (
        b"cnumpy.core.numeric\n_frombuffer\n(S'ab'\ncnumpy\ndtype\n(S'u1'\ntRI2\ntR(I1\ntb.",
        "a state for array",
    ),
    "an item of an array": (
        b"cnumpy.core.numeric\n_frombuffer\n(S'ab'\ncnumpy\ndtype\n(S'u1'\ntRI2\ntRI0\nI1\ns.",
        "items for array",
    ),
    "an instance by the old opcode": (b"(I1\nios\nsystem\n.", "a call of os.system"),
    "a class by the old opcode": (b"(cos\nsystem\nI1\no.", "a call of os.system"),
    "named arguments": (b"\x80\x04ccollections\nOrderedDict\n)}\x8c\x01aK\x01s\x92.", "named arguments"),
    "a memo without end": (b"\x80\x02Nr\xff\xff\xff\xff0h\x01.", "1|KeyError|memo"),
    "more bytes than there are": (b"\x80\x05\x96\x00\x00\x00\x00\x00\x00\x00\x10ab.", "beyond the end"),
    "a tuple of two of the tuple before, as a key": (b"}(" + b"I1\n\x85" + b"2\x86" * 80 + b"I1\nu.", "a key"),
    "the same in a set": (b"\x80\x04\x8f(" + b"I1\n\x85" + b"2\x86" * 80 + b"\x90.", "a key"),
    "the same in a message": (
        b"cnumpy.core.multiarray\n_reconstruct\n)R(I1\n" + b"I1\n\x85" + b"2\x86" * 80 + b"NNNtb.",
        "an array of shape",
    ),
}


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_tricks_of_hand_written_files_are_refused(path, name):
    data, message = HAND_WRITTEN[name]
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_pickle(path, "numbers")
    path.write_bytes(pickle.dumps({"x": np.arange(3.0)}))  # and nothing was left behind
    assert read_pickle(path, "numbers")["x"].sum() == 3


def forged(code: str, data, *, shape=(1,), flags=0) -> Reduced:
    """An array whose dtype has flags of its own."""
    dtype = Reduced(np.dtype, code, False, True, state=(3, "|", None, None, None, 8, 8, flags))
    function = np.zeros(1).__reduce__()[0]
    return Reduced(function, np.ndarray, (0,), b"b", state=(1, shape, dtype, False, data))


def test_arrays_of_addresses_cannot_be_forged(path):
    """NumPy itself takes these bytes for objects: false flags hide that they are addresses."""
    path.write_bytes(pickle.dumps(forged("O8", b"\x00" * 8)))
    with path.open("rb") as file:
        assert pickle.load(file).dtype == object
    with pytest.raises(ValueError, match=r"shape \(1,\) with elements of another number"):
        read_pickle(path, "numbers")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (forged("f8", b"\x00" * 8, shape=(2,)), "elements of another number"),
        (forged("f8", b"\x00" * 8, shape=(-1,)), r"shape \(-1,\)"),
        (forged("f8", 10**12), "elements of another number"),
        (forged("f8", [1.0]), "elements of another number"),
        (forged("V8", b"\x00" * 8), "an array of 'V8'"),
    ],
)
def test_arrays_that_do_not_add_up_are_refused(path, array, message):
    path.write_bytes(pickle.dumps(array))
    with pytest.raises(ValueError, match=message):
        read_pickle(path, "numbers")


def test_formats_with_classes_of_their_own_pass_stand_ins(path):
    """As FLAME's chumpy arrays: a class that keeps what it is given."""
    kept = []
    path.write_bytes(b"cchumpy.ch\nCh\n(I7\ntR.")
    with path.open("rb") as file:
        SafeUnpickler(file, more={("chumpy.ch", "Ch"): StandIn(kept.append)}).load()
    assert kept == [7]
    with pytest.raises(ValueError, match=r"a call of chumpy\.ch\.Ch"):
        read_pickle(path, "numbers")


def test_damaged_files_are_refused_by_name(path, rng):
    whole = pickle.dumps({"u": np.arange(20.0), "v": [1, "b"]})
    for trial in range(200):
        damaged = bytearray(whole[: rng.integers(len(whole))] if trial % 2 else whole)
        if not trial % 2:
            damaged[rng.integers(len(whole))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_pickle(path, "numbers")
        except ValueError as error:
            assert "file.pkl: expected numbers" in str(error)
        else:
            assert trial % 2 == 0  # a changed number goes unseen; a cut never may


def test_missing_files_and_arrays_are_named(path):
    with pytest.raises(FileNotFoundError, match=r"file\.pkl: expected a face model, found no such file"):
        read_pickle(path, "a face model")
    path.write_bytes(pickle.dumps({"u": np.zeros(3), "v": 1}))
    with pytest.raises(ValueError, match="expected a face model with arrays u, v, found u, v"):
        read_pickled_arrays(path, "a face model", ("u", "v"))
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match="with arrays u, found list"):
        read_pickled_arrays(path, "a face model", ("u",))
