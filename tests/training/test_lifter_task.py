"""Which labels of a real photo count, which landmarks of a rendered view are called hidden, and what a batch is made of
under every ablation."""

import io
import tarfile
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from facelift.datasets.augment import Augmentation
from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED, UNKNOWN, VISIBLE
from facelift.datasets.turned_views import levelled
from facelift.datasets.views import RenderedView, ViewCache
from facelift.geometry import head_tilt, intrinsics, look_at_rotation, project, sphere_translation
from facelift.landmarks import conversion, mean_head, normals
from facelift.models.detector import LandmarkDetector
from facelift.models.lifter import Lifter
from facelift.training.config import LifterConfig, LoopConfig, LossWeights
from facelift.training.lifter_task import LifterTask, frame_weight

HEADS, VIEWS = 5, 2


def test_human_states_go_before_predicted_normals():
    rotation = torch.as_tensor(look_at_rotation(0.0, 0.0)).float()[None]  # camera in front: +z faces it
    towards, away = [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]
    normals = torch.tensor(away).repeat(98, 1)
    normals[60:66] = torch.tensor([towards, away, away, away, towards, towards])
    state = torch.full((1, 98), UNKNOWN)
    state[0, 60:66] = torch.tensor([UNKNOWN, UNKNOWN, VISIBLE, OCCLUDED, SELF_OCCLUDED, VISIBLE])
    points = torch.zeros(1, 98, 2)
    points[0, 64:66] = torch.nan
    weight = frame_weight(rotation, points, state, normals)
    assert weight[0, 60:66].tolist() == [1, 0, 1, 1, 0, 0] and not weight[0, 66:].any()


def test_a_jaw_label_counts_as_far_as_the_jaw_faces_the_camera():
    """Whatever people say they see there: that is the outline."""
    rotation = torch.as_tensor(look_at_rotation(45.0, 0.0)).float()[None]
    state, points = torch.full((1, 98), VISIBLE), torch.zeros(1, 98, 2)
    points[0, 30] = torch.nan
    weight = frame_weight(rotation, points, state, torch.tensor(normals(), dtype=torch.float32))[0]
    assert not weight[:9].any() and (weight[20:30] == 1).all() and 0 < weight[16] < 1
    assert weight[30] == 0 and (weight[33:] == 1).all()


def test_states_of_a_rendered_view_are_what_the_renderer_saw():
    rotation = look_at_rotation(0.0, 0.0)
    visible, covered = np.ones(98, bool), np.zeros(98, bool)
    visible[[54, 57]], covered[57] = False, True
    image = np.zeros((32, 32, 3), np.uint8)
    view = RenderedView(image, mean_head(), rotation, sphere_translation(rotation), visible, covered)
    plain = SimpleNamespace(config=SimpleNamespace(augmentation=Augmentation(colour=0, occluder=0)))
    state = LifterTask._view_sample(plain, view, np.random.default_rng(0)).state
    assert state[[51, 54, 57]].tolist() == [VISIBLE, SELF_OCCLUDED, OCCLUDED]


def jpeg(rng: np.random.Generator) -> np.ndarray:
    return cv2.imencode(".jpg", rng.integers(0, 255, (128, 128, 3), np.uint8))[1].ravel()


def heads(rng: np.random.Generator) -> np.ndarray:
    return mean_head() * (1 + 0.05 * rng.standard_normal((HEADS, 1, 3)))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A cache of five heads in two views of noise, lifted 1 % too wide and without pupils; three photos of noise."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("task")
    exact, rotation = heads(rng), look_at_rotation(np.tile([-30.0, 20.0], HEADS), 0.0)
    lifted = exact * [1.01, 1, 1]
    lifted[:, 96:] = np.nan
    pictures = [jpeg(rng) for _ in range(HEADS * VIEWS)]
    stop = np.cumsum([len(picture) for picture in pictures])
    cache = {
        "seed": np.arange(HEADS),
        "landmarks": lifted.astype(np.float32),
        "exact": exact.astype(np.float32),
        "face": np.repeat(np.arange(HEADS), VIEWS),
        "rotation": rotation.astype(np.float32),
        "translation": sphere_translation(rotation).astype(np.float32),
        "jpeg": np.concatenate(pictures),
        "start": np.array([0, *stop[:-1]]),
        "stop": stop,
        "visible": np.ones((HEADS * VIEWS, 98), bool),
        "covered": np.zeros((HEADS * VIEWS, 98), bool),
    }
    for name, dropped in {"views": None, "old": "exact", "unlifted": "landmarks"}.items():
        (root / name).mkdir()
        arrays = {key: value for key, value in cache.items() if key != dropped}
        np.savez(root / name / "views-00000.npz", **{"landmarks": np.full_like(cache["landmarks"], np.nan)} | arrays)
    points = project(exact[0], rotation[0], sphere_translation(rotation)[0], intrinsics(128))
    with tarfile.open(root / "photos.tar", "w") as tar:
        for index in range(3):
            info, data = tarfile.TarInfo(f"{index}.jpg"), jpeg(rng).tobytes()
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    pts68 = np.tile(conversion("wflw98", "ibug68") @ points, (3, 1, 1)).astype(np.float32)
    np.savez(root / "photos.npz", name=[f"{index}.jpg" for index in range(3)], pts68=pts68)
    return root


@pytest.fixture
def config(root, monkeypatch) -> LifterConfig:
    monkeypatch.delenv("FACELIFT_DATA", raising=False)
    loop = LoopConfig(run=root / "run", batch=4)
    return LifterConfig(loop=loop, views=root / "views", data=root, sets=("photos",), dev=1)


def make(config: LifterConfig, **changes) -> LifterTask:
    config = replace(config, **changes)
    return LifterTask(config, config.data)


def terms(task: LifterTask, step: int = 0) -> set[str]:
    losses = task.losses(task.model, task.batch(step))
    losses["loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())
    return set(losses) - {"loss"}


MULTI_VIEW, MULTI_FRAME = {"points_3d", "translation", "points_2d", "rotation"}, {"frames_2d", "frames_marks"}


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, MULTI_VIEW | MULTI_FRAME),
        ({"real_share": 0.0}, MULTI_VIEW | {"frames_marks"}),
        ({"real_share": 1.0, "points_loss": "l1"}, MULTI_FRAME),
        ({"real_share": 1.0, "fit_frames": True}, MULTI_FRAME | {"frames_rotation", "frames_hidden"}),
        ({"sets": (), "data": None, "dev_heads": 1, "points_loss": "mse"}, MULTI_VIEW | {"frames_marks"}),
    ],
)
def test_a_batch_teaches_what_its_halves_know(config, changes, expected):
    assert terms(make(config, **changes)) == expected | {"closure", "glance", "visibility"}


def test_it_starts_from_a_lifters_heads_and_a_detectors_encoder_and_decoder(config, tmp_path):
    torch.manual_seed(7)
    lifter, detector = Lifter(), LandmarkDetector()
    for name, model in {"lifter": lifter, "detector": detector}.items():
        torch.nn.init.normal_(model.encoder.fuse.weight)
        torch.save({"averaged": model.state_dict()}, tmp_path / f"{name}.pt")
    started = make(config, start=tmp_path / "lifter.pt", detector=tmp_path / "detector.pt").model
    torch.testing.assert_close(started.decoder.tokens, torch.cat([detector.decoder.tokens, lifter.decoder.tokens[98:]]))
    torch.testing.assert_close(started.decoder.look.read.weight, detector.decoder.look.read.weight)
    torch.testing.assert_close(started.encoder.fuse.weight, detector.encoder.fuse.weight)
    torch.testing.assert_close(started.rotation.out.weight, lifter.rotation.out.weight)


def test_without_photos_nothing_of_a_photo_enters(config, monkeypatch):
    """Not as a patch that covers a face either; held-out heads do not teach, as patches neither."""
    task = make(config, sets=(), data=None, dev_heads=2, augmentation=replace(config.augmentation, occluder=1.0))
    taught = {task.views[int(row)].image.tobytes() for row in task.rendered}
    seen = []
    monkeypatch.setattr("facelift.training.lifter_task.occlude", lambda rng, image, other: seen.append(other) or (
        image, np.zeros(image.shape[:2], bool)
    ))  # fmt: skip
    for step in range(5):
        task.batch(step)
    assert len(seen) == 20 and {picture.tobytes() for picture in seen} <= taught


def test_heads_that_teach_and_heads_held_out_are_apart(config):
    task = make(config, heads=2, dev_heads=1)
    assert set(task.views.face[task.rendered]) == {0, 1} and set(task.views.face[task.held_out]) == {4}
    assert len(make(config).rendered) == HEADS * VIEWS
    width = np.ptp(task.model.template[:96, 0].numpy())
    assert width == pytest.approx(np.ptp(task.views.landmarks[:2, :96, 0].mean(0)), rel=0.02)
    with pytest.raises(ValueError, match=r"--heads: expected .* found 5 of 5 heads in .*views, 1 of them held out"):
        make(config, heads=5, dev_heads=1)
    with pytest.raises(ValueError, match="--dev-heads: expected at least 1 where no photo is measured"):
        make(config, sets=())


def test_exact_labels_are_the_generators(config, root):
    exact, lifted = make(config, labels_3d="exact"), make(config)
    lifted_x = lifted.views.landmarks[:, :96, 0]
    np.testing.assert_allclose(exact.views.landmarks[:, :96, 0] * 1.01, lifted_x, rtol=1e-5, atol=1e-7)
    assert np.isfinite(exact.views.landmarks[:, 96:]).all() and np.isnan(lifted.views.landmarks[:, 96:]).all()
    with pytest.raises(ValueError, match="old: expected exact landmarks, found a cache without"):
        make(config, views=root / "old", labels_3d="exact")
    with pytest.raises(ValueError, match="unlifted: expected lifted landmarks, found exact ones alone"):
        make(config, views=root / "unlifted")
    assert ViewCache(root / "old").exact is None


def test_photos_that_are_only_measured_do_not_teach(config):
    task = make(config, sets=(), dev_set="photos", dev_heads=1)
    assert task.real == [] and terms(task) == MULTI_VIEW | {"frames_marks", "closure", "glance", "visibility"}
    with torch.no_grad():
        metrics = task.evaluate(task.model.eval())
        picture = task.picture(task.model)
    assert {"nme", "heads_nme", "heads_3d_mm", "heads_pose_deg"} <= set(metrics)
    assert picture.ndim == 3
    with pytest.raises(ValueError, match="--dev-set: expected the first of --sets or a set that is not in it"):
        make(config, sets=("other", "photos"), dev_set="photos")


def test_settings_that_contradict_each_other_are_refused(config):
    with pytest.raises(ValueError, match="--fit-frames: expected real photos"):
        make(config, real_share=0.0, fit_frames=True)
    with pytest.raises(ValueError, match="--beta: expected --points-loss lll"):
        replace(config, points_loss="l1", beta=0.5)
    with pytest.raises(ValueError, match=r"--real-share: expected 0 to 1, found 1\.5"):
        replace(config, real_share=1.5)


def test_the_gaze_adds_its_term_alone_and_only_when_it_is_switched_on(config):
    plain, gazing = make(config), make(config, weights=LossWeights(gaze=0.5))
    batch = plain.batch(0)
    without, found = plain.losses(plain.model.train(), batch), gazing.losses(gazing.model.train(), batch)
    assert set(found) - set(without) == {"gaze"} and found["gaze"] > 0
    for name in set(without) - {"loss"}:
        assert torch.equal(found[name], without[name]), name
    torch.testing.assert_close(found["loss"], without["loss"] + 0.5 * found["gaze"])
    assert "gaze" not in gazing.losses(gazing.model.eval(), batch)


def test_labels_of_photos_teach_the_gaze_as_they_teach_points(config):
    """A landmark that counts for no point counts for no gaze: unlabelled, or a photo's with `frame_weight` 0."""
    task = make(config, weights=LossWeights(gaze=1.0), real_share=1.0)
    batch = task.batch(0)
    first = task.losses(task.model.train(), batch)["gaze"].item()
    none = task.losses(task.model.train(), {**batch, "frame_weight": torch.zeros_like(batch["frame_weight"])})
    assert first > 0 and none["gaze"] == 0


def test_overfitting_a_batch_turns_the_gaze_to_the_landmarks(config):
    task = make(config, weights=LossWeights(gaze=0.5), real_share=0.0)
    batch, optimizer = task.batch(0), torch.optim.Adam(task.model.parameters(), 1e-3)
    gazes = []
    for _ in range(6):
        losses = task.losses(task.model.train(), batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        gazes.append(losses["gaze"].item())
    assert gazes[-1] < gazes[0] - 0.3, gazes


def tilts_deg(batch) -> np.ndarray:
    return np.degrees(head_tilt(batch["rotation"].numpy()))


def test_upright_views_are_turned_as_photos_are(config):
    upright = make(config, upright=True, real_share=0.0)
    drawn = np.concatenate([tilts_deg(upright.batch(step)) for step in range(25)])
    assert 12 < np.percentile(np.abs(drawn), 68) < 30 and np.abs(drawn).max() > 45  # normal of 18, 8 % within 90
    level = make(config, upright=True, real_share=0.0, augmentation=Augmentation(roll_deg=0, large_roll=0))
    batch = level.batch(0)
    np.testing.assert_allclose(tilts_deg(batch), 0, atol=1e-4)
    at = project(
        batch["landmarks"].double().numpy(), batch["rotation"].numpy(), batch["translation"].numpy(), intrinsics(1)
    )
    np.testing.assert_allclose(at[:, :96], batch["points"][:, :96], atol=1e-5)


def test_upright_heads_are_measured_upright_and_overfitted_without_turns(config, monkeypatch):
    task = make(config, upright=True, dev_heads=1, loop=replace(config.loop, overfit=2), real_share=0.0)
    np.testing.assert_allclose(tilts_deg(task.batch(0)), 0, atol=1e-4)
    seen = {}
    monkeypatch.setattr(
        "facelift.training.lifter_task.head_errors", lambda *given: seen.setdefault("given", given) and {}
    )
    shown = []
    monkeypatch.setattr("facelift.training.lifter_task.predict", lambda model, crops: shown.extend(crops))
    task.measured = None
    task.evaluate(task.model)
    expected = [levelled(task.views[int(row)]) for row in task.held_out]
    np.testing.assert_array_equal([crop.image for crop in shown], [view.image for view in expected])
    np.testing.assert_array_equal(seen["given"][2], [view.rotation for view in expected])
    np.testing.assert_array_equal(seen["given"][3], [view.translation for view in expected])
