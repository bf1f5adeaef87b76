"""Pictures of a GAN: many cameras at once, on any device, with any focal length; on a small network of our own."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from facelift.crops import sized
from facelift.generators import gan
from facelift.generators.gan import GanGenerator
from facelift.generators.stage import build_generator
from facelift.geometry import intrinsics, look_at_rotation, sphere_translation
from facelift.models.stylegan2 import SynthesisConfig
from facelift.models.triplane import TriPlaneConfig, TriPlaneGenerator
from facelift.models.volume import RayConfig

SMALL = TriPlaneConfig(
    axes="all",
    z_size=8,
    backbone=SynthesisConfig((8, 8, 6), 12, 8),
    hidden=6,
    rays=RayConfig(coarse=8, fine=8),
    raw_size=16,
    upsampler_input=16,
    upsampler=(6,),
    background=SynthesisConfig((4, 4), 4, 8),
)
ROTATIONS = look_at_rotation(np.array([-60.0, -20.0, 0.0, 30.0, 75.0]), np.array([0.0, 10.0, 0.0, -20.0, 5.0]))
CAMERAS = ROTATIONS, sphere_translation(ROTATIONS)


@pytest.fixture
def run(tmp_path):
    """A run folder as the training writes it; its state under "averaged"."""
    torch.manual_seed(0)
    network = TriPlaneGenerator(SMALL)
    for name, parameter in network.named_parameters():
        if "noise_strength" not in name:
            parameter.data.mul_(1.5)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"task": "gan", "network": asdict(SMALL)}))
    torch.save({"averaged": network.state_dict()}, tmp_path / "run" / "checkpoint.pt")
    return tmp_path / "run"


def test_many_cameras_at_once_give_the_pictures_of_each_alone(run, monkeypatch):
    generator = GanGenerator(run, device="cpu")
    together = generator.render(1, *CAMERAS, 32)
    monkeypatch.setattr(gan, "_at_once", lambda *_: (2, 50))
    for views in (
        generator.render(1, *CAMERAS, 32),
        [generator.render(1, r[None], t[None], 32)[0] for r, t in zip(*CAMERAS, strict=True)],
    ):
        assert len(views) == 5
        for found, expected in zip(views, together, strict=True):
            assert np.abs(found.image.astype(int) - expected.image.astype(int)).max() <= 1
            np.testing.assert_allclose(found.coverage, expected.coverage, atol=1e-4)
            assert np.array_equal(found.rotation, expected.rotation)
    assert together[0].image.std() > 10 and not np.array_equal(together[0].image, together[4].image)


def test_memory_is_bounded():
    """EG3D's widest grid, 128 channels of 512 px, takes 128 MiB a camera."""
    assert gan._at_once(TriPlaneConfig(), torch.device("cpu"))[0] == 2
    assert gan._at_once(TriPlaneConfig(), torch.device("cuda"))[0] == 8


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_pictures_of_the_cpu(run):
    on_gpu = GanGenerator(run)
    assert on_gpu.device.type == "cuda" and next(on_gpu.network.parameters()).is_cuda
    pairs = zip(on_gpu.render(1, *CAMERAS, 32), GanGenerator(run, device="cpu").render(1, *CAMERAS, 32), strict=True)
    for found, expected in pairs:
        assert np.abs(found.image.astype(int) - expected.image.astype(int)).max() <= 2
        np.testing.assert_allclose(found.coverage, expected.coverage, atol=1e-3)


def test_a_measured_focal_length_is_asked_for_less(run, monkeypatch):
    """K of the rays is divided by the factor; the views keep the cameras that they are taken for."""
    asked = []
    look = TriPlaneGenerator.look
    monkeypatch.setattr(
        TriPlaneGenerator,
        "look",
        lambda net, ws, planes, R, t, K, **more: asked.append(K) or look(net, ws, planes, R, t, K, **more),
    )
    views = build_generator(str(run), focal=1.25).render(0, *CAMERAS, 16)
    expected = intrinsics(1.0)
    expected[[0, 1], [0, 1]] /= 1.25
    np.testing.assert_allclose(asked[0][0].cpu().numpy(), expected, rtol=1e-6)
    plain = build_generator(str(run)).render(0, *CAMERAS, 16)
    assert not np.array_equal(views[2].image, plain[2].image) and np.array_equal(views[2].rotation, plain[2].rotation)
    with pytest.raises(ValueError, match="focal: expected a factor above 0, found -1"):
        build_generator(str(run), focal=-1.0)


def test_other_sizes_stay_within_the_range():
    """A step from 0 to 1: cubic interpolation would leave it on both sides."""
    mask = np.zeros((8, 8), np.float32)
    mask[:, 4:] = 1
    for size in (5, 8, 21):
        assert sized(mask, size).shape == (size, size)
        assert sized(mask, size).min() >= 0 and sized(mask, size).max() <= 1
    assert sized(mask, 4)[0].tolist() == [0, 0, 1, 1] and sized(np.eye(4, dtype=np.float32), 2).tolist() == [
        [0.5, 0],
        [0, 0.5],
    ]
