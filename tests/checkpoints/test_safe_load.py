"""Foreign torch files: what they hold is read, what they want run is not, what is damaged is said."""

import os
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import nn

from facelift.checkpoints.safe_load import fill, read_state, read_torch


class Touch:
    """Unpickles by running a shell command."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_reads_what_was_saved_bit_by_bit(tmp_path):
    state = OrderedDict(a=torch.randn(3, 2), b=torch.arange(4), half=torch.randn(5).half())
    torch.save({"state_dict": state, "epoch": 64}, tmp_path / "good.pth")
    found = read_state(tmp_path / "good.pth", inside="state_dict")
    assert list(found) == list(state)
    assert all(torch.equal(found[name], state[name]) and found[name].dtype == state[name].dtype for name in state)


@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_file_is_refused_and_runs_nothing(tmp_path, zipped):
    marker, path = tmp_path / "was_run", tmp_path / "evil.pth"
    content = {"state_dict": {"weight": torch.zeros(2), "extra": Touch(marker)}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"evil\.pth: expected a torch file of tensors.*system"):
        read_torch(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the file is armed: the careless way does run it
    assert marker.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_plain_pickle_that_runs_a_command_is_refused(tmp_path):
    marker, path = tmp_path / "was_run", tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(Touch(marker)))
    with pytest.raises(ValueError, match=r"evil\.pkl"):
        read_torch(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x80\x02", b"PK\x03\x04junk", b"\xff\xd8\xff\xe0" + bytes(99), b"<html>" * 9]
)
def test_other_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "photo.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"photo\.pth: expected a torch file of tensors alone, found"):
        read_torch(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_truncated_and_flipped_files_never_escape_as_another_error(tmp_path, rng, zipped):
    path, broken = tmp_path / "good.pth", tmp_path / "broken.pth"
    torch.save({"a": torch.randn(4)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for trial in range(200):
        damaged = bytearray(whole)
        if trial % 2:
            damaged = damaged[: rng.integers(len(whole))]
        else:
            damaged[rng.integers(min(len(whole), 600))] = rng.integers(256)
        broken.write_bytes(damaged)
        try:
            read_torch(broken)
        except ValueError as error:
            assert "broken.pth: expected" in str(error)
        else:
            assert trial % 2 == 0  # a flipped byte of a name or number goes unseen; a cut never may


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        read_torch(tmp_path / "nowhere.pth")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_torch(tmp_path)


@pytest.mark.parametrize(
    ("content", "inside", "found"),
    [
        ({"model": {}}, "state_dict", r"'state_dict', found \['model'\]"),
        ([torch.zeros(1)], "state_dict", "found list"),
        ([torch.zeros(1)], None, "dictionary of tensors, found list"),
        ({"a": torch.zeros(1), "epoch": 3}, None, "found int under 'epoch'"),
    ],
)
def test_wrong_structure_is_described(tmp_path, content, inside, found):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=rf"odd\.pth: expected .*{found}"):
        read_state(tmp_path / "odd.pth", inside=inside)


def small() -> nn.Module:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 1), bn=nn.BatchNorm2d(4)))


def test_fill_copies_everything_and_old_files_may_lack_batch_counters():
    source, target = small(), small()
    source.bn.running_mean += 3
    state = {name: tensor for name, tensor in source.state_dict().items() if "num_batches" not in name}
    fill(target, state, path="x.pth")
    assert all(torch.equal(target.state_dict()[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("bn.weight"), "missing: bn.weight; unknown: none"),
        (lambda s: s.update(head=torch.zeros(1)), "missing: none; unknown: head"),
        (lambda s: s.update({"conv.bias": torch.zeros(5)}), r"conv.bias of shape \(4,\), found \(5,\)"),
    ],
)
def test_fill_names_differences_and_leaves_the_module_alone(change, message):
    module, state = small(), {name: tensor + 1 for name, tensor in small().state_dict().items()}
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    change(state)
    with pytest.raises(ValueError, match=rf"x\.pth: expected .*{message}"):
        fill(module, state, path="x.pth")
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in before.items())


def test_fill_speaks_of_tensors_as_the_file_does():
    """Swapped on purpose: a name of the module may be the file's name of another tensor."""
    module = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(2, 3)})
    names = {"a.weight": "b.weight", "b.weight": "w", "b.bias": "c"}
    state = {"b.weight": torch.ones(3, 2), "w": torch.zeros(3, 2), "a.bias": torch.ones(3), "c": torch.full((3,), 2.0)}
    fill(module, state, path="x.pth", names=names)
    assert (module["a"].weight == 1).all() and (module["b"].weight == 0).all() and (module["b"].bias == 2).all()
    del state["w"]
    with pytest.raises(ValueError, match=r"x\.pth: expected the 4 tensors .*missing: w; unknown: none"):
        fill(module, state, path="x.pth", names=names)
    with pytest.raises(ValueError, match=r"x\.pth: expected w of shape \(3, 2\), found \(4, 2\)"):
        fill(module, state | {"w": torch.zeros(4, 2)}, path="x.pth", names=names)
