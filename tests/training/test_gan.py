"""The small 3D-aware GAN: its data, its losses, its loop, and the chain behind it."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facelift.checkpoints.triplane import load_generator
from facelift.datasets.posed_pictures import PosedPictures, read_posed
from facelift.datasets.views import ViewCache, ViewsConfig, build_views
from facelift.evaluation.frechet import EncoderFeatures, frechet_distance
from facelift.generators.stage import RenderConfig, build_generator, render_views
from facelift.geometry import RADIUS, intrinsics, project
from facelift.landmarks import WFLW98, mean_head
from facelift.lifting.quality import QualityConfig
from facelift.lifting.shards import load_shards
from facelift.lifting.stage import LiftConfig, lift
from facelift.losses.logistic_gan import critic_loss, generator_loss, r1_penalty
from facelift.models.dual_critic import DualCritic, made_small
from facelift.training.gan_config import GanConfig, GanLoopConfig
from facelift.training.gan_loop import _State
from facelift.training.gan_task import SmallGanTask, small_generator, train_small_gan
from facelift.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gan") / "views"
    config = ViewsConfig(
        folder, faces=4, generator="procedural", views=3, size=32, sphere=True, occluders=False, photos=False, scene=1
    )
    return build_views(config)


def config(run, views, **changes) -> GanConfig:
    loop = GanLoopConfig(run, steps=4, batch=4, evaluate_every=4, r1_every=2, smooth_every=2, threads=1)
    small = {"size": 16, "held_out": 1, "width": 16, "features": 4, "samples": 3, "evaluated": 6}
    return GanConfig(replace(loop, **changes), views, **small)


def test_views_on_the_sphere(views):
    """No roll and no shift: the eye is RADIUS away, its axis through (0, 0, 0.2)."""
    found = read_posed(views, 16)
    assert found.images.shape == (12, 16, 16, 3) and found.face.tolist() == sorted(found.face.tolist())
    eye = -np.einsum("nji,nj->ni", found.rotation, found.translation)
    np.testing.assert_allclose(np.linalg.norm(eye, axis=-1), RADIUS, atol=1e-5)
    np.testing.assert_allclose(found.rotation[:, 0, 1], 0, atol=1e-6)
    noted = json.loads((views / "views.json").read_text())["settings"]
    assert noted["sphere"] and noted["scene"] == 1 and noted["occluders"] is False
    first, rest = found.split(1)
    assert len(first) == 9 and len(rest) == 3 and not set(first.face) & set(rest.face)
    with pytest.raises(ValueError, match="held-out faces: expected 1 to 3 of 4, found 4"):
        found.split(4)


def test_mirror_faces_have_mirror_cameras():
    """The mirrored head through the mirrored camera falls on the mirrored pixels."""
    from facelift.geometry import look_at_rotation, sphere_translation

    rotation = look_at_rotation(np.array([30.0]), np.array([10.0]))
    one = PosedPictures(np.zeros((1, 8, 8, 3), np.uint8), rotation, sphere_translation(rotation), np.zeros(1, int))
    two = one.mirrored()
    points = mean_head() + np.array([0.01, 0, 0])
    seen = project(points, one.rotation[0], one.translation[0], intrinsics(8.0))
    other = project(points * [-1, 1, 1], two.rotation[0], two.translation[0], intrinsics(8.0))
    np.testing.assert_allclose(other, seen * [-1, 1] + [8, 0], atol=1e-9)


def test_renders_and_photos_are_pictures_with_cameras(tmp_path):
    render_views(RenderConfig(tmp_path / "r", "procedural", seeds=(0, 1), size=24, photos=False, pictures=True))
    found = read_posed(tmp_path / "r", 16)
    assert len(found) == 10 and found.images.shape[1:] == (16, 16, 3) and found.face.tolist() == [0] * 5 + [1] * 5
    assert not np.allclose(found.rotation[0], found.rotation[1])
    photos = tmp_path / "photos"
    photos.mkdir()
    picture = cv2.imread("examples/astronaut.jpg")
    cv2.imwrite(str(photos / "a.jpg"), picture)
    (photos / "broken.jpg").write_bytes(b"no picture")
    cache = tmp_path / "cache.npz"
    found = read_posed(photos, 64, cache=cache)
    assert len(found) == 1 and np.array_equal(read_posed(photos, 64, cache=cache).images, found.images)
    nose = project(mean_head(), found.rotation[0], found.translation[0], intrinsics(64.0))[WFLW98.regions["nose"]]
    assert ((nose > 16) & (nose < 48)).all()  # the predicted camera sees the mean head's nose amid the cut
    with pytest.raises(FileNotFoundError, match="nowhere: expected a folder of pictures"):
        read_posed(tmp_path / "nowhere", 64)


def test_losses_by_hand():
    real, made = torch.tensor([0.0, 2.0]), torch.tensor([-1.0])
    assert float(critic_loss(real, made)) == pytest.approx(
        (np.log(2) + np.log1p(np.exp(-2))) / 2 + np.log1p(np.exp(-1))
    )
    assert float(generator_loss(made)) == pytest.approx(np.log1p(np.exp(1)))
    image = torch.randn(2, 1, 2, 2, requires_grad=True)
    penalty = r1_penalty((3 * image).sum((1, 2, 3)), image)  # gradient 3 at four pixels: 0.5 * 36
    assert float(penalty) == pytest.approx(18.0)


def test_the_critic_knows_picture_raw_picture_and_camera():
    torch.manual_seed(0)
    critic = DualCritic((4, 6, 8))
    image, c = torch.randn(4, 3, 16, 16), torch.randn(4, 25)
    score = critic(image, made_small(image, 8), c)
    assert score.shape == (4,)
    for changed in (
        critic(image.flip(3), made_small(image, 8), c),
        critic(image, made_small(image, 8).flip(3), c),
        critic(image, made_small(image, 8), c.flip(0)),
    ):
        assert (changed - score).abs().max() > 1e-4
    np.testing.assert_allclose(made_small(image, 8)[0, 0, 0, 0], image[0, 0, :2, :2].mean(), rtol=1e-5)


def test_frechet_distance_by_hand_and_against_scipy(rng):
    from scipy.linalg import sqrtm

    line = np.array([[-1.0], [1.0]]) / np.sqrt(2)  # variance 1
    assert frechet_distance(line, 3 * line + 2) == pytest.approx(4 + (3 - 1) ** 2)
    a, b = rng.normal(size=(60, 5)), rng.normal(size=(80, 5)) @ rng.normal(size=(5, 5)) + 0.3
    A, B = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(A + B - 2 * sqrtm(A @ B).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_encoder_features_tell_pictures_apart(rng):
    features = EncoderFeatures()
    images = rng.integers(0, 255, (3, 64, 64, 3)).astype(np.uint8)
    found = features(images)
    assert found.shape == (3, 128)
    np.testing.assert_allclose(features(images[1:2])[0], found[1], atol=1e-4)
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_sizes_of_the_small_generator(tmp_path):
    sizes = small_generator(GanConfig(GanLoopConfig(tmp_path), tmp_path))
    assert sizes.size == 64 and sizes.raw_size == 32 and sizes.backbone.sides[-1] == 32 and sizes.features == 16
    assert sizes.background.sides[-1] == 32
    with pytest.raises(ValueError, match="expected a power of two from 16 on, found 48"):
        small_generator(GanConfig(GanLoopConfig(tmp_path), tmp_path, size=48))


def test_a_stopped_run_goes_on_as_if_it_had_not_been(views, tmp_path):
    whole = train_small_gan(config(tmp_path / "whole", views))
    train_small_gan(config(tmp_path / "parts", views, steps=2))
    parts = train_small_gan(config(tmp_path / "parts", views))
    a, b = (torch.load(path, weights_only=True) for path in (whole, parts))
    assert a["step"] == b["step"] == 4
    assert torch.equal(a["torch_rng"], b["torch_rng"])
    for name in ("averaged", "optimizer"):
        leaves = ([x for x in torch.utils._pytree.tree_leaves(part[name]) if x is not None] for part in (a, b))
        for x, y in zip(*leaves, strict=True):
            assert torch.equal(torch.as_tensor(x), torch.as_tensor(y))
    rows = (tmp_path / "whole" / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("step,train_critic,train_generator,frechet,frechet_real") and len(rows) == 2
    assert cv2.imread(str(tmp_path / "whole" / "pictures" / "0000004.png")).shape == (80, 160, 3)
    with pytest.raises(ValueError, match="expected the settings of this run"):
        train_small_gan(config(tmp_path / "whole", views, batch=2))


def test_each_network_learns_from_its_own_loss_alone(views, tmp_path):
    """By the sign: a step of the critic lowers its loss and a step of the generator its own, on the same batch."""
    task = SmallGanTask(config(tmp_path, views))
    for name, losses in (("critic", task.critic_losses), ("generator", task.generator_losses)):
        network = getattr(task, name)
        option = {"penalty": False} if name == "critic" else {"smooth": False}
        parameters = list(network.parameters())
        torch.manual_seed(1)
        before = losses(task.batch(0), **option)[name]
        gradients = torch.autograd.grad(before, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter -= 1e-4 * gradient
        torch.manual_seed(1)
        assert float(losses(task.batch(0), **option)[name]) < float(before)


def test_from_run_to_lifted_points(views, tmp_path):
    """The chain: GAN -> views -> detection -> lifting -> gate. Four steps make no face, and the gate says so."""
    train_small_gan(config(tmp_path / "run", views))
    run = str(tmp_path / "run")
    assert load_generator(run).config == small_generator(config(tmp_path / "run", views))
    render_views(RenderConfig(tmp_path / "sheet", run, seeds=(0, 1), size=32))
    assert cv2.imread(str(tmp_path / "sheet" / "sheet.png")).shape == (64, 160, 3)
    settings = LiftConfig(
        tmp_path / "lift", detector="small", generator=run, faces=2, views=5, size=64, workers=1, shard_faces=2
    )
    lift(settings)
    gate = json.loads((tmp_path / "lift" / "gate.json").read_text())
    assert len(gate["faces"]) == 2 and not any(face["accepted"] for face in gate["faces"])
    assert (tmp_path / "lift" / "gate.md").read_text().startswith("# 0 of 2 faces accepted")
    noted = json.loads((tmp_path / "lift" / "lift.json").read_text())
    assert noted["settings"]["generator"].startswith("run sha256:") and noted["settings"]["truncation"] == 0.7
    with pytest.raises(ValueError, match="expected one of morphable, procedural, or the path of a GAN, found 'nobody'"):
        build_generator("nobody")


def test_the_random_numbers_of_a_run_go_on(views, tmp_path):
    """Those that were next when it was stopped, whatever was drawn since."""
    train_small_gan(config(tmp_path / "run", views, steps=1))
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["torch_rng"]
    torch.manual_seed(12345)
    folder = RunFolder(tmp_path / "run")
    state = _State(SmallGanTask(config(tmp_path / "run", views)), config(tmp_path / "run", views).loop)
    state.restore(folder)
    assert torch.equal(torch.get_rng_state(), saved)


def test_the_chain_benchmark_draws_and_tells(views, tmp_path, monkeypatch, capsys):
    """The whole script on a run of four steps, which makes no faces."""
    train_small_gan(config(tmp_path / "run", views))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    script = importlib.import_module("bench_gan_chain")
    options = {"generator": tmp_path / "run", "out": tmp_path / "out", "faces": 1, "size": 64, "workers": 1}
    options |= {"checked": 1, "heads": 0}
    monkeypatch.setattr(
        "sys.argv", ["bench", *(part for key, value in options.items() for part in (f"--{key}", str(value)))]
    )
    script.main()
    said = capsys.readouterr().out
    assert "of 1 faces accepted" in said and "focal" in said and "frechet" in said
    sheet = cv2.imread(str(tmp_path / "out" / "sheet.jpg"))
    assert sheet.shape == (6 * 256, 7 * 256, 3)


def test_from_run_to_views(views, tmp_path):
    """The chain's other end: lifted -> views, with a gate that lets everything pass. Of another GAN it is refused."""
    train_small_gan(config(tmp_path / "run", views))
    run = str(tmp_path / "run")
    everything = QualityConfig(max_residual_px=1e9, min_solved=0, min_found=0, max_drift=1e9)
    small = {"generator": run, "faces": 2, "views": 5, "size": 64, "workers": 1, "shard_faces": 2}
    lift(LiftConfig(tmp_path / "lift", detector="small", quality=everything, **small))
    accepted = load_shards(tmp_path / "lift").accepted
    assert accepted.any()
    settings = ViewsConfig(
        tmp_path / "views", tmp_path / "lift", generator=run, views=2, size=32, sphere=True, workers=1
    )
    cache = ViewCache(build_views(settings))
    assert len(cache) == 2 * accepted.sum() and cache[0].image.shape == (32, 32, 3)
    notes = [json.loads((tmp_path / name).read_text())["settings"] for name in ("lift/lift.json", "views/views.json")]
    assert notes[0]["generator"] == notes[1]["generator"] and notes[0]["generator"].startswith("run sha256:")
    with pytest.raises(ValueError, match=r"lift\.json: expected faces of --truncation 0\.5, found 0\.7"):
        build_views(replace(settings, truncation=0.5, out=tmp_path / "other"))
    with pytest.raises(ValueError, match=r"lift\.json: expected faces of --focal 1\.1, found 1"):
        build_views(replace(settings, focal=1.1, out=tmp_path / "other"))
    with (tmp_path / "run" / "checkpoint.pt").open("ab") as trained_on:
        trained_on.write(b"more")
    with pytest.raises(
        ValueError, match=r"lift\.json: expected faces of the generator 'run sha256:.*', found 'run sha"
    ):
        build_views(settings)
    with pytest.raises(ValueError, match=r"views\.json: expected this run's settings, .*generator: 'run sha256:"):
        build_views(replace(settings, lift=None, faces=2, scene=None))
