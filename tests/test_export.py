"""Export: ONNX gives torch's points on a fixed input, and a broken run is refused."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from facelift.detectors2d.network import NetworkDetector
from facelift.exporting.networks import flat_outputs
from facelift.exporting.onnx_file import TOLERANCE_PX, ExportConfig, export, parity_px, probe
from facelift.models.detector import LandmarkDetector
from facelift.models.lifter import Lifter
from facelift.onnx_models.lifter import OnnxLifter
from facelift.sources import OPEN_HEAD, exported_sources, listed, packed_source


def write_run(root, task: str, model: torch.nn.Module, sources=()):
    root.mkdir()
    config = {"task": task, "encoder": "mobile", "definitions": ["wflw98", "merl68"]}
    (root / "config.json").write_text(json.dumps(config | ({"sources": listed(sources)} if sources else {})))
    torch.save({"averaged": model.state_dict()}, root / "checkpoint.pt")
    return root


@pytest.fixture(scope="module")
def lifter() -> Lifter:
    """Not fresh: every output depends on the picture, and batch norm has seen some."""
    torch.manual_seed(0)
    lifter = Lifter(template=torch.randn(98, 3) * 0.1)
    for head in (lifter.offset, lifter.spread, lifter.rotation, lifter.t_xy, lifter.t_z, lifter.marks):
        torch.nn.init.normal_(head.out.weight, std=0.06)
    with torch.no_grad():
        for _ in range(30):
            lifter(torch.as_tensor(probe(128)))
    return lifter.eval()


@pytest.fixture(scope="module")
def exported(lifter, tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    run = write_run(root / "run", "lifter", lifter, OPEN_HEAD)
    (root / "card.md").write_text("# A card")
    card = root / "card.md"
    return export(ExportConfig(run=run, out=root / "lifter.onnx", name="tiny", card=card, permissive=True))


def test_onnx_gives_the_points_of_torch(lifter, exported):
    image = probe(128)
    with torch.no_grad():
        expected = lifter(torch.as_tensor(image))
    crops = np.round(image.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    found = OnnxLifter(exported).run(crops)
    with torch.no_grad():
        expected = lifter(torch.as_tensor(crops.transpose(0, 3, 1, 2)).float() / 255)
    assert np.abs(expected.points[0] - expected.points[1]).max() * 128 > 0.5  # the input matters
    np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=TOLERANCE_PX / 128)
    np.testing.assert_allclose(found.rotation, expected.rotation, atol=1e-5)
    np.testing.assert_allclose(found.marks, expected.marks, atol=TOLERANCE_PX / 128)
    np.testing.assert_allclose(
        found.covariance, (expected.cholesky @ expected.cholesky.mT).numpy(), rtol=1e-3, atol=1e-9
    )
    np.testing.assert_allclose(found.visibility, expected.visibility.sigmoid(), atol=1e-5)


def test_batch_size_is_free_and_the_card_travels(exported):
    network = OnnxLifter(exported)
    assert network.run(np.zeros((5, 128, 128, 3), np.uint8)).landmarks.shape == (5, 98, 3)
    assert network.card == "# A card" and network.metadata["name"] == "tiny"
    onnx.checker.check_model(onnx.load(exported))
    assert not list(exported.parent.glob("*.partial"))


def test_the_file_says_what_it_was_made_from(exported):
    assert json.loads(OnnxLifter(exported).metadata["sources"]) == listed(OPEN_HEAD)
    assert exported_sources(str(exported)) == list(OPEN_HEAD)


def test_permissive_weights_have_no_source_that_is_not_free_or_unknown(lifter, tmp_path):
    mixed = write_run(tmp_path / "mixed", "lifter", lifter, (*OPEN_HEAD, packed_source("merl_train")))
    with pytest.raises(ValueError, match=r"found AFLW photos with MERL-RAV labels \(non-commercial research\)$"):
        export(ExportConfig(run=mixed, out=tmp_path / "mixed.onnx", permissive=True))
    silent = write_run(tmp_path / "silent", "lifter", lifter)
    with pytest.raises(ValueError, match=r"found whatever went into config\.json \(not recorded\)"):
        export(ExportConfig(run=silent, out=tmp_path / "silent.onnx", permissive=True))
    assert not list(tmp_path.glob("*.onnx"))


def test_a_file_says_nothing_of_the_machine_that_made_it(exported):
    content = exported.read_bytes()
    for folder in (sys.prefix, str(Path(torch.__file__).parent), str(Path(export.__code__.co_filename).parent)):
        assert folder.encode() not in content


def test_a_difference_is_seen(lifter, exported):
    """The check of the export fails for other weights."""
    other = Lifter(template=lifter.template + 0.0002).eval()
    other.load_state_dict(lifter.state_dict() | {"template": lifter.template + 0.0002})

    assert parity_px(flat_outputs("lifter", other)[0], exported, probe(128), unit_px=128) > 100 * TOLERANCE_PX


def test_a_network_that_gives_nan_is_refused(lifter, tmp_path):
    broken = Lifter().eval()
    broken.load_state_dict(lifter.state_dict())
    broken.spread.out.bias.data[3] = float("nan")  # visibility, which is no point
    run = write_run(tmp_path / "run", "lifter", broken)
    with pytest.raises(ValueError, match="expected torch and ONNX within"):
        export(ExportConfig(run=run, out=tmp_path / "broken.onnx"))
    assert not list(tmp_path.glob("*.onnx"))


def test_other_encoders_export(tmp_path):
    torch.manual_seed(0)
    run = write_run(tmp_path / "run", "lifter", Lifter(encoder="vit_b16").eval())
    (run / "config.json").write_text(json.dumps({"task": "lifter", "encoder": "vit_b16"}))
    network = OnnxLifter(export(ExportConfig(run=run, out=tmp_path / "vit.onnx")))
    assert network.run(np.zeros((1, 224, 224, 3), np.uint8)).landmarks.shape == (1, 98, 3)


def test_detector_runs_after_export(tmp_path):
    torch.manual_seed(1)
    detector = LandmarkDetector(definitions=("wflw98", "merl68")).eval()
    path = export(ExportConfig(run=write_run(tmp_path / "run", "detector", detector), out=tmp_path / "detector.onnx"))
    image = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    side = 128 / 1.5
    box = np.array([[64 - side / 2, 64 - side / 2, 64 + side / 2, 64 + side / 2]])  # its crop is the picture
    for definition in ("wflw98", "merl68"):
        found = NetworkDetector(path, definition=definition).detect([image], box)
        with torch.no_grad():
            expected = detector(torch.as_tensor(image.transpose(2, 0, 1)[None]).float() / 255)[definition]
        np.testing.assert_allclose(found.points, expected.points * 128, atol=1e-3)
        covariance = (expected.cholesky @ expected.cholesky.mT).numpy() * 128**2
        np.testing.assert_allclose(found.covariances, covariance, rtol=1e-3)
        assert found.found.all() and (found.confidence > 0).all() and (found.confidence <= 1).all()


def test_what_is_no_run_or_no_detector_is_refused(tmp_path, exported):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        export(ExportConfig(run=tmp_path, out=tmp_path / "x.onnx"))
    (tmp_path / "config.json").write_text(json.dumps({"task": "gan"}))
    with pytest.raises(ValueError, match="lifter, finder, m3lrn, texture or dense, found 'gan'"):
        export(ExportConfig(run=tmp_path, out=tmp_path / "x.onnx"))
    with pytest.raises(ValueError, match="expected a detector with output points_wflw98"):
        NetworkDetector(exported)
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ValueError, match=r"text\.onnx: expected weights in ONNX format, found"):
        NetworkDetector(tmp_path / "text.onnx")
