"""The stages after lifting, one after the other, on what the tests make: views, training, export, prediction."""

import csv
import io
import tarfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from facelift.cli import main
from facelift.datasets.sample import UNKNOWN
from facelift.datasets.turned_views import mirrored
from facelift.datasets.view_shards import ViewShard, load_shard
from facelift.datasets.views import ViewCache, ViewsConfig, build_views
from facelift.generators.morphable import MorphableGenerator
from facelift.geometry import CameraSpace, intrinsics, look_at_rotation, project, sphere_translation
from facelift.labelling.shards import FinishedItem, LabelledFace, encode, shard_bytes, shard_name
from facelift.landmarks import WFLW98, conversion
from facelift.predictors.predictor import Predictor
from facelift.sources import PROCEDURAL_HEAD, noted_sources
from facelift.training.config import LifterConfig, LoopConfig
from facelift.training.lifter_task import LifterTask, template

SEEDS = np.arange(100, 104)


@pytest.fixture(scope="module", autouse=True)
def plain_scenes():
    """No photos or probes behind the heads, wherever the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FACELIFT_DATA", raising=False)
        yield


@pytest.fixture(scope="module")
def generator() -> MorphableGenerator:
    return MorphableGenerator(None)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, generator):
    """A shard of pseudo-labels (exact landmarks, pupils unknown, one face rejected) and a packed set of renders."""
    root = tmp_path_factory.mktemp("pipeline")
    points = np.stack([generator.landmarks(int(seed)) for seed in SEEDS]).astype(np.float32)
    points[:, 96:] = np.nan
    (root / "lift").mkdir()
    np.savez(root / "lift" / "lift-00000.npz", seed=SEEDS, points=points, accepted=[True, True, False, True])
    _write_packed(root, generator)
    return root


def _write_packed(root, generator) -> None:
    """Frontal renders of other faces as a packed set with exact iBUG-68 labels."""
    rotation = look_at_rotation(np.zeros(1), 0.0)
    names, labels = [], []
    with tarfile.open(root / "drawn.tar", "w") as tar:
        for seed in range(4):
            view = generator.render(seed, rotation, sphere_translation(rotation), 128)[0]
            data = cv2.imencode(".jpg", view.image[..., ::-1])[1].tobytes()
            info = tarfile.TarInfo(f"{seed}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            names.append(info.name)
            labels.append(conversion("wflw98", "ibug68") @ view.points)
    np.savez(root / "drawn.npz", name=names, pts68=np.array(labels, np.float32), state=np.zeros((4, 68), np.uint8))


@pytest.fixture(scope="module")
def views(workspace):
    config = ViewsConfig(lift=workspace / "lift", out=workspace / "views", workers=1, generator="procedural", views=3)
    build_views(config)
    return workspace / "views"


def test_views_hold_rejected_faces_back_and_labels_fit_the_pictures(views):
    generator = MorphableGenerator(None, occluders=True)
    cache = ViewCache(views)
    assert len(cache) == 9 and cache.seeds.tolist() == [100, 101, 103]
    view = cache[8]
    assert view.image.shape == (128, 128, 3)
    np.testing.assert_allclose(view.landmarks[:96], generator.landmarks(103)[:96], atol=1e-6)
    assert cache.exact is not None
    np.testing.assert_allclose(cache.exact[2], generator.landmarks(103), atol=1e-6)
    points = project(view.landmarks[:96].astype(float), view.rotation, view.translation, intrinsics(1.0))
    assert points.min() >= 0 and points.max() <= 1 and np.ptp(points, axis=0).min() >= 0.5
    drawn = [
        generator.render(103, view.rotation[None], view.translation[None], 128, background=seed)[0].image.astype(float)
        for seed in (1, 2)
    ]
    covered = (drawn[0] == drawn[1]).all(-1)  # by the head, whatever the scene behind
    assert covered.mean() > 0.3
    difference, mirrored_difference = (
        np.abs(drawn[0] - picture)[covered].mean() for picture in (view.image, view.image[:, ::-1])
    )
    assert difference < 8 and difference < mirrored_difference / 2  # the same face in the same place, but for JPEG


def test_a_cache_is_written_once_and_goes_on(views, workspace):
    before = (views / "views-00000.tar").stat().st_mtime_ns
    build_views(ViewsConfig(lift=workspace / "lift", out=views, workers=1, generator="procedural", views=3))
    assert (views / "views-00000.tar").stat().st_mtime_ns == before
    assert not list(views.glob("*partial*"))


def test_a_cache_of_other_settings_or_another_generator_is_refused(views, workspace, tmp_path):
    with pytest.raises(ValueError, match=r"views\.json: expected this run's settings, .*views: 3 there, 4 now"):
        build_views(ViewsConfig(lift=workspace / "lift", out=views, workers=1, generator="procedural", views=4))
    (tmp_path / "lift.json").write_text('{"settings": {"generator": "morphable"}}')
    (tmp_path / "lift-00000.npz").write_bytes((workspace / "lift" / "lift-00000.npz").read_bytes())
    with pytest.raises(ValueError, match=r"lift\.json: expected faces of the generator 'procedural'"):
        build_views(ViewsConfig(lift=tmp_path, out=tmp_path / "views", generator="procedural"))


def test_heads_without_lifting_have_exact_landmarks_alone(generator, tmp_path):
    out = build_views(
        ViewsConfig(out=tmp_path, faces=2, first_seed=7, shard_faces=1, workers=1, generator="procedural", views=1)
    )
    cache = ViewCache(out, labels="exact")
    assert cache.seeds.tolist() == [7, 8] and cache.face.tolist() == [0, 1] and len(list(out.glob("views-*.tar"))) == 2
    np.testing.assert_allclose(cache[1].landmarks, generator.landmarks(8), atol=1e-6)
    assert noted_sources(out / "views.json") == [PROCEDURAL_HEAD]
    with pytest.raises(ValueError, match="expected lifted landmarks, found exact ones alone"):
        ViewCache(out)
    for wrong in ({}, {"lift": tmp_path, "faces": 2}):
        with pytest.raises(ValueError, match="expected either --lift or --faces"):
            ViewsConfig(out=tmp_path, **wrong)
    with pytest.raises(ValueError, match="--faces: expected at least 1, found 0"):
        ViewsConfig(out=tmp_path, faces=0)


def test_cameras_keep_to_the_space_that_is_asked_for(tmp_path):
    config = ViewsConfig(out=tmp_path, faces=3, views=4, generator="procedural", space=CameraSpace(30.0, 0.001, 0.001))
    rotation = ViewCache(build_views(config), labels="exact").rotation
    azimuth = np.degrees(np.arctan2(rotation[:, 2, 0], -rotation[:, 2, 2]))  # of the axis through (0, 0, 0.2)
    assert np.abs(azimuth).max() < 33 and np.ptp(azimuth) > 10 and np.abs(rotation[:, 2, 1]).max() < 1e-3
    with pytest.raises(ValueError, match=r"views\.json"):
        build_views(replace(config, space=CameraSpace()))


def test_a_grown_shard_is_rendered_anew_and_one_without_faces_is_empty(workspace, tmp_path):
    lifted = dict(np.load(workspace / "lift" / "lift-00000.npz"))
    config = ViewsConfig(lift=tmp_path, out=tmp_path / "views", workers=1, generator="procedural", views=1)
    for accepted, count in (([False] * 4, 0), ([True, False, False, False], 1), ([True, True, False, False], 2)):
        np.savez(tmp_path / "lift-00000.npz", **lifted | {"accepted": accepted})
        build_views(config)
        if count:
            assert len(ViewCache(tmp_path / "views")) == count
        else:
            with pytest.raises(ValueError, match="no face was accepted"):
                ViewCache(tmp_path / "views")


def test_a_mirrored_view_is_the_mirror_of_the_view(views):
    view = ViewCache(views)[4]
    other = mirrored(view)
    there = project(view.landmarks.astype(float), view.rotation, view.translation, intrinsics(1.0))
    back = project(other.landmarks.astype(float), other.rotation.astype(float), other.translation, intrinsics(1.0))
    np.testing.assert_allclose(back[WFLW98.mirror], there * [-1, 1] + [1, 0], atol=1e-6)
    assert np.linalg.det(other.rotation) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(other.image[:, ::-1], view.image)
    np.testing.assert_array_equal(other.visible[WFLW98.mirror], view.visible)


def test_views_carry_what_the_renderer_saw(views):
    cache, generator = ViewCache(views), MorphableGenerator(None, occluders=True)
    faces = [(cache[i], int(cache.seeds[cache.face[i]])) for i in range(len(cache))]
    for view, seed in faces:
        seen = generator.render(seed, view.rotation[None], view.translation[None], 128)[0]
        assert (seen.visible == view.visible).mean() > 0.97  # the cache's cameras are in single precision
        assert (seen.covered == view.covered).mean() > 0.97
    visible = np.mean([view.visible for view, _ in faces])
    assert 0.2 < visible < 0.95


def test_older_caches_are_read_and_those_of_older_heads_refused(views, workspace, tmp_path):
    now = load_shard(views / "views-00000.tar")
    old = {name: np.asarray(getattr(now, name)) for name in ViewShard.__dataclass_fields__}
    (tmp_path / "old").mkdir()
    np.savez(tmp_path / "old" / "views-00000.npz", **old)
    np.testing.assert_array_equal(ViewCache(tmp_path / "old")[7].image, ViewCache(views)[7].image)
    np.savez(tmp_path / "views-00000.npz", **{key: old[key] for key in old if key not in ("visible", "covered")})
    with pytest.raises(ValueError, match=r"written by this version's `facelift views` \(run it anew"):
        ViewCache(tmp_path)
    (tmp_path / "lift.json").write_text('{"settings": {"generator": "procedural"}}')
    (tmp_path / "lift-00000.npz").write_bytes((workspace / "lift" / "lift-00000.npz").read_bytes())
    with pytest.raises(ValueError, match=r"lift\.json: expected heads of version 2, found 1: lift these seeds anew"):
        build_views(ViewsConfig(lift=tmp_path, out=tmp_path / "views", generator="procedural"))


def test_template_is_symmetric_and_fills_the_pupils_in(views):
    mean = template(ViewCache(views).landmarks)
    assert np.isfinite(mean).all() and mean[96, 0] == pytest.approx(-mean[97, 0])
    assert mean[60, 0] < mean[96, 0] < mean[64, 0]


def test_detector_then_lifter_then_onnx_then_photo(workspace, views):
    """Overfitted on a handful of samples the lifter must come near them, and the exported file must say the same."""
    common = ["--data", str(workspace), "--sets", "drawn", "--dev", "1", "--loop.overfit", "4", "--loop.batch", "8"]
    common += ["--loop.warmup", "5", "--loop.threads", "1"]
    detector, lifter = workspace / "detector", workspace / "lifter"
    steps = lambda run, count: ["--loop.run", str(run), "--loop.steps", str(count), "--loop.evaluate-every", "40"]  # noqa: E731
    assert main(["train", "detector", *common, *steps(detector, 20)]) == 0
    start = ["--views", str(views), "--detector", str(detector / "checkpoint.pt")]
    assert main(["train", "lifter", *common, *start, *steps(lifter, 80), "--loop.ema", "0.9", "--fit-frames"]) == 0
    first, *_, last = csv.DictReader((lifter / "metrics.csv").open())
    for term, fall in {"frames_2d": 0.5, "points_2d": 0.5, "rotation": 0.02, "loss": 1.0}.items():
        assert float(last[f"train_{term}"]) < float(first[f"train_{term}"]) - fall, term
    out = workspace / "tiny.onnx"
    assert main(["export", "--run", str(lifter), "--out", str(out)]) == 0
    picture = ViewCache(views)[0].image
    face = Predictor(out, refine=False, mirror=False).predict(picture, boxes=[[21.3, 21.3, 106.7, 106.7]])[0]
    assert face.points_2d.shape == (98, 2) and np.isfinite(face.points_2d).all()
    redone = project(face.landmarks_3d, face.rotation, face.translation, face.intrinsics)
    np.testing.assert_allclose(face.points_2d, redone, atol=1e-6)


def test_a_batch_has_its_share_of_frames_and_their_weights_count(workspace, views, generator, tmp_path):
    """Human labels, then frames, then renders; a frame's labels of hardly any weight leave the losses alone."""
    rotation = look_at_rotation(np.zeros(1), 0.0)
    view = generator.render(7, rotation, sphere_translation(rotation), 128)[0]
    covariance = np.tile(np.eye(2) * 1e-4, (98, 1, 1))
    covariance[[54, 62]] *= 1e10  # the nose's tip and an upper lid
    table = {"crop": np.zeros(4), "points": view.points, "covariance": covariance, "visibility": np.ones(98)}
    face = LabelledFace(0, 0.0, "kept", encode(view.image), **table, measures=np.zeros(4), hash=np.zeros(32, np.uint8))
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / shard_name(0)).write_bytes(shard_bytes([FinishedItem("a", "a", faces=[face])], 0))
    loop, folders = LoopConfig(tmp_path / "run", batch=8), (tmp_path / "frames",)
    config = LifterConfig(loop, views, sets=("drawn",), dev=1, frames=folders, frames_share=0.75)
    task = LifterTask(config, workspace)
    batch = task.batch(3)
    known = (batch["state"] != UNKNOWN).any(-1)
    assert known.tolist() == [True, False, False, False, True, True, True, True]
    weight = batch["frame_weight"]
    assert (weight[0] == 1).all() and ((weight[1:] < 1e-3).sum(-1) == 2).all() and (weight[1:] == 1).sum() == 3 * 96
    task.model.eval()
    both = lambda: [float(task.losses(task.model, batch)[name].detach()) for name in ("frames_2d", "closure")]  # noqa: E731
    whole = both()
    batch["points"][1:4][weight[1:] < 1e-3] += 0.5
    assert both() == pytest.approx(whole, rel=1e-3)
    batch["frame_weight"] = torch.ones_like(weight)
    assert (np.array(both()) > np.array(whole) + 0.01).all()
    plain = LifterTask(replace(config, frames=()), workspace).batch(3)
    assert (plain["state"][:4] != UNKNOWN).any(-1).all() and (plain["frame_weight"] == 1).all()


def test_missing_inputs_are_named(tmp_path, capsys):
    assert main(["views", "--lift", str(tmp_path), "--out", str(tmp_path / "v")]) == 1
    assert "expected shards lift-*.npz" in capsys.readouterr().err
    run = ["--loop.run", str(tmp_path / "r"), "--data", str(tmp_path)]
    assert main(["train", "lifter", "--views", str(tmp_path), *run]) == 1
    assert "merl_train" in capsys.readouterr().err


def test_views_of_another_size_are_refused(workspace, views, tmp_path, capsys):
    run = ["--loop.run", str(tmp_path / "r"), "--data", str(workspace), "--sets", "drawn", "--views", str(views)]
    assert main(["train", "lifter", *run, "--encoder", "resnet50", "--dev", "1"]) == 1
    assert "expected views of 224 px for resnet50, found 128 px" in capsys.readouterr().err
    assert main(["train", "lifter", *run, "--dev", "0"]) == 1
    assert "--dev: expected at least one face" in capsys.readouterr().err
