"""The one door: every kind of file is read by what it is, and none of it is executed."""

import builtins
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from facelift.checkpoints.checkpoint import open_checkpoint
from facelift.checkpoints.pickled_tensors import nested_storage, rebuild
from facelift.commands.inspect_checkpoint import InspectConfig, describe, inspect

sys.path.insert(0, str(Path(__file__).parent))
from network_pickles import SOURCE, nested, state_of, write

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3).T, "b.const": torch.randn(4).half(), "n": torch.tensor([7])}


class Reduced:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def same(found: dict, expected: dict) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[k], expected[k]) and found[k].dtype == expected[k].dtype for k in expected
    )


@pytest.fixture
def network(tmp_path):
    attributes = {"": {"z_dim": 512, "rendering_kwargs": {"box_warp": 1, "avg_camera_pivot": [0, 0, 0.2]}}}
    return write(tmp_path / "network.pkl", {"G_ema": nested(TENSORS, attributes, kind="TriPlaneGenerator"), "D": None})


def test_network_pickles_come_back_bit_by_bit(network, tmp_path):
    found = open_checkpoint(network)
    assert found.kind == "StyleGAN pickle" and same(found.part("G_ema"), TENSORS)
    assert found.settings["G_ema"]["rendering_kwargs"] == {"box_warp": 1, "avg_camera_pivot": [0, 0, 0.2]}
    assert found.settings["G_ema"]["class"] == "TriPlaneGenerator"
    assert found.settings["training_set_kwargs"] == {"path": "x.zip", "resolution": 512}
    assert found.sources["TriPlaneGenerator"] == SOURCE
    assert not (Path.cwd() / "WAS_RUN").exists()
    with pytest.raises(ValueError, match=r"network\.pkl: expected tensors of G, found those of G_ema"):
        found.part("G")


def test_a_buffer_that_is_not_persistent_is_left_out(tmp_path):
    import network_pickles

    state = state_of({"w_avg": torch.ones(2), "noise_const": torch.ones(3)}, {}, {}, ("w_avg", "noise_const"))
    state["_non_persistent_buffers_set"] = {"noise_const"}
    path = write(tmp_path / "n.pkl", {"G": network_pickles._Persistent("Mapping", state)})
    assert list(open_checkpoint(path).tensors) == ["G.w_avg"]


def _attacks(marker: Path) -> dict:
    command = f"touch {marker}"
    torch_file = io.BytesIO()
    torch.save({"x": Reduced(os.system, command)}, torch_file, _use_new_zipfile_serialization=False)
    zipped = io.BytesIO()
    torch.save({"x": Reduced(os.system, command)}, zipped)
    load = torch.storage._load_from_bytes
    return {
        "os.system": Reduced(os.system, command),
        "subprocess": Reduced(subprocess.call, ["touch", str(marker)]),
        "eval": Reduced(eval, f"open({str(marker)!r}, 'w')"),
        "exec": Reduced(exec, f"open({str(marker)!r}, 'w')"),
        "getattr": Reduced(getattr, Reduced(__import__, "os"), "system"),
        "open": Reduced(builtins.open, str(marker), "w"),
        "a nested torch file": Reduced(load, torch_file.getvalue()),
        "a nested torch archive": Reduced(load, zipped.getvalue()),
        "a nested pickle": Reduced(load, pickle.dumps(Reduced(os.system, command))),
        "a path instead of bytes": Reduced(load, str(marker)),
        "torch.load": Reduced(torch.load, str(marker)),
        "numpy's lookup": Reduced(np.load, str(marker), None, True),
        "another unpickler": Reduced(pickle.loads, pickle.dumps(Reduced(os.system, command))),
        "a module's attribute": Reduced(torch.hub.load, "x/y", "z"),
    }


@pytest.mark.parametrize("name", _attacks(Path("x")))
@pytest.mark.parametrize("where", ["beside", "in a parameter", "in an attribute"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_network_pickles_that_want_something_run_are_refused(tmp_path, name, where):
    marker, attack = tmp_path / "was_run", _attacks(tmp_path / "was_run")[name]
    if where == "beside":
        held = {"G_ema": nested(TENSORS, {}), "extra": attack}
    elif where == "in an attribute":
        held = {"G_ema": nested(TENSORS, {"": {"z_dim": attack}})}
    else:
        tensor = Reduced(torch._utils._rebuild_tensor_v2, attack, 0, (1,), (1,), False, None)
        held = {"G_ema": nested(TENSORS, {"": {"x": {"w": tensor}}})}
    path = write(tmp_path / "evil.pkl", held)
    with pytest.raises(ValueError, match=r"evil\.pkl: expected a network pickle .* found a (call of|storage)"):
        open_checkpoint(path)
    assert not marker.exists()


def test_source_in_a_pickle_is_never_run(network, monkeypatch, tmp_path):
    """The official loader executes it on loading; this is the very attack surface of the format."""
    monkeypatch.chdir(tmp_path)
    open_checkpoint(network)
    assert not (tmp_path / "WAS_RUN").exists()
    assert "os.system" in open_checkpoint(network).sources["TriPlaneGenerator"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(4), 0, (5,), (1,)), "a storage of 4 numbers"),
        ((torch.zeros(4), 3, (2,), (1,)), "a storage of 4 numbers"),
        ((torch.zeros(4), 0, (10**12,), (0,)), "a storage of 4 numbers"),
        ((torch.zeros(4), -1, (2,), (1,)), "at -1"),
        ((torch.zeros(4), 0, (2,), (-1,)), "strides"),
        ((torch.zeros(4), 0, (2, 2), (1,)), "strides"),
        (("path", 0, (2,), (1,)), "a tensor of 'path'"),
    ],
)
def test_tensors_that_reach_out_of_their_storage_are_refused(arguments, message):
    with pytest.raises(pickle.UnpicklingError, match=message):
        rebuild(*arguments)


def test_storages_come_from_bytes_alone(tmp_path):
    torch.save(torch.zeros(2), tmp_path / "x.pt")
    for wrong in (str(tmp_path / "x.pt"), tmp_path / "x.pt", bytearray(b"x"), None):
        with pytest.raises(pickle.UnpicklingError, match="which is not bytes"):
            nested_storage(wrong)


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damaged_network_pickles_are_named(network, rng, damage):
    whole = network.read_bytes()
    for _ in range(100):
        data = bytearray(whole)
        if damage == "cut":
            data = data[: rng.integers(1, len(whole))]
        else:
            data[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        network.write_bytes(data)
        try:
            open_checkpoint(network)
        except ValueError as error:
            assert "network.pkl: expected" in str(error)
        else:
            assert damage == "flip"


def test_modules_without_end_are_refused_quickly(tmp_path):
    import network_pickles

    module = network_pickles._Persistent("Leaf", state_of({}, {}, {}))
    for _ in range(60):
        module = network_pickles._Persistent("Node", state_of({}, {}, {"a": module, "b": module}))
    with pytest.raises(ValueError, match="without end"):
        open_checkpoint(write(tmp_path / "bomb.pkl", {"G": module}))


class Head(nn.Module):
    """A stand-in for facer's heads, in TorchScript."""

    def __init__(self):
        super().__init__()
        self.layer, self.size = nn.Linear(3, 2), 112

    def forward(self, x):
        return self.layer(x) * self.size


def test_torchscript_is_read_without_its_loader(tmp_path, monkeypatch):
    head, backbone = Head(), io.BytesIO()
    torch.save({"visual.proj": torch.ones(2, 2)}, backbone)
    torch.jit.save(torch.jit.script(head), tmp_path / "head.pt", _extra_files={"backbone": backbone.getvalue()})
    monkeypatch.setattr(torch.jit, "load", lambda *_: pytest.fail("compiled"))
    found = open_checkpoint(tmp_path / "head.pt")
    expected = {**head.state_dict(), "extra.backbone.visual.proj": torch.ones(2, 2)}
    assert found.kind == "TorchScript" and same(found.tensors, expected)
    assert any("self.layer" in text or "forward" in text for text in found.sources.values())


def test_malicious_backbone_in_torchscript_is_refused(tmp_path):
    marker, backbone = tmp_path / "was_run", io.BytesIO()
    torch.save(Reduced(os.system, f"touch {marker}"), backbone)
    torch.jit.save(torch.jit.script(Head()), tmp_path / "head.pt", _extra_files={"backbone": backbone.getvalue()})
    with pytest.raises(ValueError, match=r"head\.pt.*backbone.*system"):
        open_checkpoint(tmp_path / "head.pt")
    assert not marker.exists()


def test_other_kinds(tmp_path):
    from safetensors.torch import save_file

    state = {name: tensor.contiguous() for name, tensor in TENSORS.items()}
    for zipped in (True, False):
        torch.save({"state_dict": state, "epoch": 3}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        found = open_checkpoint(tmp_path / "x.pth")
        assert found.kind == "torch" and same(found.part("state_dict"), state) and found.settings == {"epoch": 3}
    save_file(state, tmp_path / "x.bin", metadata={"by": "me"})
    found = open_checkpoint(tmp_path / "x.bin")
    assert found.kind == "safetensors" and same(found.tensors, state) and found.settings == {"by": "me"}
    np.savez(tmp_path / "x.npz", u=np.arange(3.0), name="text")
    found = open_checkpoint(tmp_path / "x.npz")
    assert found.kind == "npz" and found.tensors["u"].tolist() == [0, 1, 2]
    np.savez(tmp_path / "objects.npz", u=np.array([{}], object))
    with pytest.raises(ValueError, match=r"objects\.npz: expected arrays.*pickle"):
        open_checkpoint(tmp_path / "objects.npz")
    for junk in (b"", b"hello", b"PK\x03\x04junk", bytes(40), b"\x80\x02", (9).to_bytes(8, "little") + b"{" * 40):
        (tmp_path / "junk").write_bytes(junk)
        with pytest.raises(ValueError, match="junk: expected"):
            open_checkpoint(tmp_path / "junk")
    with pytest.raises(FileNotFoundError, match="nowhere: expected a file of weights"):
        open_checkpoint(tmp_path / "nowhere")


def test_onnx_graphs_of_our_own():
    from facelift.onnx_models.lifter import weights_path

    found = open_checkpoint(weights_path("small"))
    assert found.kind == "ONNX" and len(found.tensors) > 50 and "sources" in found.settings


def test_flame_as_released(tmp_path):
    """Python 2, protocol 2: chumpy arrays, SciPy's sparse matrix under its old name, byte strings as keys."""
    from scipy.sparse import csc_matrix

    sparse = csc_matrix(np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]]))

    def array(values: np.ndarray) -> bytes:
        return pickle.dumps(values, protocol=2)[2:-1]

    def record(module: bytes, name: bytes, state: list[tuple[bytes, bytes]]) -> bytes:
        items = b"".join(b"U" + bytes([len(key)]) + key + value for key, value in state)
        return b"c" + module + b"\n" + name + b"\n)\x81}(" + items + b"ub"

    template = record(b"chumpy.ch", b"Ch", [(b"x", array(np.arange(6.0).reshape(2, 3)))])
    parts = [(b"data", array(sparse.data)), (b"indices", array(sparse.indices)), (b"indptr", array(sparse.indptr))]
    regressor = record(b"scipy.sparse.csc", b"csc_matrix", [(b"_shape", b"K\x02K\x03\x86"), *parts])
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(b"\x80\x02}(U\x0av_template" + template + b"U\x0bJ_regressor" + regressor + b"u.")
    found = open_checkpoint(path)
    assert found.tensors["v_template"].tolist() == [[0, 1, 2], [3, 4, 5]]
    np.testing.assert_array_equal(found.tensors["J_regressor"].numpy(), sparse.toarray())
    parts[1] = (b"indices", array(sparse.indices + 5))
    regressor = record(b"scipy.sparse.csc", b"csc_matrix", [(b"_shape", b"K\x02K\x03\x86"), *parts])
    path.write_bytes(b"\x80\x02}(U\x0bJ_regressor" + regressor + b"u.")
    with pytest.raises(ValueError, match="entries outside of it"):
        open_checkpoint(path)


def test_command_lists_and_converts(network, tmp_path, capsys):
    inspect(InspectConfig(network, convert=tmp_path / "out.safetensors"))
    printed = capsys.readouterr().out
    assert "G_ema.a.weight  (3, 2) float32" in printed and "rendering_kwargs" in printed
    assert "TriPlaneGenerator: 4 lines" in printed
    again = open_checkpoint(tmp_path / "out.safetensors")
    assert same(again.part("G_ema"), TENSORS)
    assert again.settings["G_ema"] == json.loads(json.dumps(open_checkpoint(network).settings["G_ema"]))
    assert "sha256" in (tmp_path / "out.md").read_text()
    inspect(InspectConfig(network, source="TriPlaneGenerator"))
    assert capsys.readouterr().out.strip() == SOURCE.strip()
    with pytest.raises(ValueError, match="expected source code of 'Nobody', found TriPlaneGenerator"):
        inspect(InspectConfig(network, source="Nobody"))
    assert len(describe(open_checkpoint(network), tensors=False)) < len(describe(open_checkpoint(network)))


def test_tensors_of_one_memory_are_converted(tmp_path):
    """Tied weights, a view of others and an empty tensor; safetensors itself refuses the first two."""
    tied = torch.arange(6.0)
    held = {"a": tied, "b": tied, "c": tied[2:].view(2, 2), "d": tied[:0], "e": tied.view(2, 3).T}
    torch.save(held, tmp_path / "tied.pth")
    inspect(InspectConfig(tmp_path / "tied.pth", convert=tmp_path / "apart.safetensors"))
    assert same(open_checkpoint(tmp_path / "apart.safetensors").tensors, held)


def test_nothing_of_a_file_steers_the_terminal(tmp_path, capsys):
    evil = "\x1b[2J\x1b]0;title\x07\x9b31m\u202e\r"
    path = write(
        tmp_path / "evil.pkl",
        {"G_ema": nested({f"a{evil}": torch.zeros(2)}, {"": {f"key{evil}\n": f"value{evil}\n", "list": [evil]}})},
    )
    source = f"def f():\n\treturn 1{evil}\n"
    path.write_bytes(path.read_bytes().replace(*_renamed(SOURCE, source)))
    inspect(InspectConfig(path, convert=tmp_path / "out.safetensors"))
    listed = capsys.readouterr().out
    inspect(InspectConfig(path, source="all"))
    shown = capsys.readouterr().out
    assert "a\\x1b[2J" in listed and "value\\u001b[2J" in listed and "def f():\n\treturn 1\\x1b[2J" in shown
    path.write_bytes(b"c\x1b[2Jos\nsystem\n.")
    with pytest.raises(ValueError) as refused:
        inspect(InspectConfig(path))
    for text in (listed, shown, (tmp_path / "out.md").read_text(), str(refused.value)):
        assert not set(text) & set("\x1b\x07\x9b\u202e\r")
    assert "\\x1b[2Jos.system" in str(refused.value)


def _renamed(old: str, new: str) -> tuple[bytes, bytes]:
    """Texts as a pickle of protocol 4 has them: a length, then UTF-8."""
    return tuple(b"\x8c" + bytes([len(text.encode())]) + text.encode() for text in (old, new))  # type: ignore[return-value]
