"""Exported weights read back: the network computes what it did, and learns on from there."""

import numpy as np
import onnx
import pytest
import torch

from facelift.checkpoints.onnx_weights import read_exported, start_from_exported
from facelift.exporting.onnx_file import ExportConfig, export, probe
from facelift.models.lifter import Lifter


def busy_lifter(seed: int) -> Lifter:
    """As if trained: every output depends on the picture, batch norm has seen some, no two parameters are equal."""
    torch.manual_seed(seed)
    lifter = Lifter(template=torch.randn(98, 3) * 0.1)
    for head in (lifter.offset, lifter.spread, lifter.rotation, lifter.t_xy, lifter.t_z, lifter.marks):
        torch.nn.init.normal_(head.out.weight, std=0.06)
    with torch.no_grad():
        for parameter in lifter.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        for _ in range(20):
            lifter(torch.as_tensor(probe(128)))
    return lifter.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("exported")
    (root / "run").mkdir()
    (root / "run/config.json").write_text('{"task": "lifter", "encoder": "mobile"}')
    torch.save({"averaged": busy_lifter(0).state_dict()}, root / "run/checkpoint.pt")
    return export(ExportConfig(run=root / "run", out=root / "lifter.onnx"))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    torch.manual_seed(1)
    pictures = torch.as_tensor(probe(128)).repeat(4, 1, 1, 1)
    return (pictures + 0.1 * torch.randn_like(pictures)).clip(0, 1)


@torch.no_grad()
def test_the_started_network_is_the_exported_one(exported, images):
    started = Lifter().eval()
    start_from_exported(started, exported, images)
    for found, expected in zip(started(images)[:9], busy_lifter(0)(images)[:9], strict=True):  # the rest is of training
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not started.training


@torch.no_grad()
def test_batch_norm_knows_the_statistics_again(exported, images):
    """With them a training step sees what evaluation sees; with norms that only shift it would not."""
    started = Lifter()
    start_from_exported(started, exported, images)
    training, evaluation = started.train()(images), started.eval()(images)
    assert (training.points - evaluation.points).abs().max() * 128 < 0.05


@torch.no_grad()
def test_what_the_file_lacks_stays_fresh_where_that_is_said(exported, images, tmp_path):
    graph = onnx.load(exported)
    for entry in graph.graph.initializer:
        if entry.name.startswith("model.marks."):
            entry.name = entry.name.replace("model.", "other.")
    for node in graph.graph.node:
        node.input[:] = [name.replace("model.marks.", "other.marks.") for name in node.input]
    onnx.save(graph, tmp_path / "old.onnx")
    with pytest.raises(ValueError, match=r"old\.onnx: expected .* missing: marks\."):
        start_from_exported(Lifter(), tmp_path / "old.onnx", images)
    fresh = Lifter().eval()
    before = fresh.marks.out.weight.clone()
    start_from_exported(fresh, tmp_path / "old.onnx", images, fresh=("marks.",))
    assert torch.equal(fresh.marks.out.weight, before)
    np.testing.assert_allclose(fresh(images).points, busy_lifter(0)(images).points, atol=1e-5)


def test_other_files_are_refused(exported, images, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no graph at all")
    with pytest.raises(ValueError, match=r"a\.onnx: expected weights in ONNX format"):
        start_from_exported(Lifter(), tmp_path / "a.onnx", images)
    with pytest.raises(FileNotFoundError, match=r"b\.onnx"):
        start_from_exported(Lifter(), tmp_path / "b.onnx", images)
    with pytest.raises(ValueError, match=r"expected .* tensors of Lifter"):
        start_from_exported(Lifter(encoder="vit_b16"), exported, torch.zeros(1, 3, 224, 224))


@pytest.mark.parametrize("place", ["beside", "absolute", "above"])
def test_no_other_file_is_opened_at_a_graphs_word(tmp_path, monkeypatch, place):
    """ONNX's own reader of a tensor takes the path as from the current folder, whatever folder the graph lies in."""
    from onnx import TensorProto, helper, save

    from facelift.checkpoints.checkpoint import open_checkpoint

    (tmp_path / "sub").mkdir()
    (tmp_path / "secret.bin").write_bytes(b"secrets.")
    monkeypatch.chdir(tmp_path)
    entry = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    location = {"beside": "secret.bin", "absolute": str(tmp_path / "secret.bin"), "above": "../secret.bin"}[place]
    entry.external_data.add(key="location", value=location)
    value = helper.make_tensor_value_info("w", TensorProto.FLOAT, [2])
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [value], [entry])
    save(helper.make_model(graph), "sub/evil.onnx")
    for read in (open_checkpoint, read_exported):
        with pytest.raises(ValueError, match=r"sub/evil\.onnx: .* weights of w in another file, which is not opened"):
            read("sub/evil.onnx")
