"""The 2D detector's training: several training sets and definitions at once, on what the tests make."""

import csv
import io
import json
import tarfile

import cv2
import numpy as np
import pytest
import torch

from facelift.cli import main
from facelift.datasets.augment import Augmentation
from facelift.datasets.labelled_crops import augmented, mirrored, plain
from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED, UNKNOWN, VISIBLE
from facelift.datasets.training_sets import (
    LabelledPicture,
    Labels,
    PackedPhotos,
    RenderedViews,
    read_mesh,
    split,
)
from facelift.datasets.turned_views import levelled
from facelift.datasets.views import ViewsConfig, build_views
from facelift.exporting.onnx_file import ExportConfig, export
from facelift.generators.morphable import MorphableGenerator
from facelift.geometry import head_tilt, intrinsics, look_at_rotation, project, sphere_translation
from facelift.landmarks import IBUG68, LAPA106, MEDIAPIPE478, WFLW98, conversion
from facelift.models.detector import LandmarkDetector
from facelift.models.lifter import Lifter
from facelift.sources import PROCEDURAL_HEAD, exported_sources, listed, noted_sources, packed_source
from facelift.training.config import DetectorConfig, LoopConfig
from facelift.training.detector_task import DetectorTask, samples_of, spread

LIST = "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt"


@pytest.fixture(scope="module", autouse=True)
def plain_scenes():
    """No photos or probes behind the heads, wherever the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FACELIFT_DATA", raising=False)
        yield


@pytest.fixture(scope="module")
def faces():
    """Six frontal heads: (picture, WFLW-98 points in px)."""
    rotation, generator = look_at_rotation(np.zeros(1), 0.0), MorphableGenerator(None)
    shown = [generator.render(seed, rotation, sphere_translation(rotation), 128)[0] for seed in range(6)]
    return [(view.image, view.points) for view in shown]


@pytest.fixture(scope="module")
def root(tmp_path_factory, faces):
    """Two packed sets, one with states, a mesh file, WFLW, LaPa and views of 12 heads."""
    folder = tmp_path_factory.mktemp("sets")
    for name, states in (("with_states", {"state": _states()}), ("without", {})):
        _write_packed(folder, name, faces, states)
    mesh = np.full((6, 478, 2), 64, np.float16)
    mesh[5] = np.nan
    names = [f"{i}.jpg" for i in range(6)]
    np.savez(folder / "mesh.npz", set=["with_states"] * 6, name=names, mesh=mesh)
    _write_wflw(folder / "WFLW", faces)
    _write_lapa(folder / "LaPa", faces)
    build_views(ViewsConfig(out=folder / "views", faces=12, views=2, generator="procedural", photos=False))
    return folder


def _states() -> np.ndarray:
    state = np.zeros((6, 68), np.uint8)
    state[:, 30], state[:, 0] = OCCLUDED, SELF_OCCLUDED
    return state


def _write_packed(folder, name, faces, states) -> None:
    points = np.array([conversion("wflw98", "ibug68") @ points for _, points in faces], np.float32)
    if states:
        points[states["state"] == SELF_OCCLUDED] = np.nan
    with tarfile.open(folder / f"{name}.tar", "w") as tar:
        for index, (image, _) in enumerate(faces):
            data = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
            info = tarfile.TarInfo(f"{index}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    np.savez(folder / f"{name}.npz", name=[f"{i}.jpg" for i in range(len(faces))], pts68=points, **states)


def _write_wflw(folder, faces) -> None:
    lines = []
    for index, (image, points) in enumerate(faces):
        picture = folder / "WFLW_images" / "0--Parade" / f"{index}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(picture), image[..., ::-1])
        numbers = [*(points - 0.5).ravel(), *points.min(0), *points.max(0)]
        lines.append(" ".join([*(f"{v:.4f}" for v in numbers), *"000000", f"0--Parade/{index}.jpg"]))
    (folder / LIST).parent.mkdir(parents=True)
    (folder / LIST).write_text("\n".join(lines) + "\n")


def _write_lapa(folder, faces) -> None:
    for part in ("images", "landmarks"):
        (folder / "train" / part).mkdir(parents=True)
    to_lapa = conversion("lapa106", "wflw98").T
    for index, (image, points) in enumerate(faces):
        cv2.imwrite(str(folder / "train" / "images" / f"{index}.jpg"), image[..., ::-1])
        rows = to_lapa @ points
        rows[to_lapa.sum(1) == 0] = points[54]  # LaPa's own eight, anywhere on the face
        text = "106\n" + "".join(f"{x - 0.5:.4f} {y - 0.5:.4f}\n" for x, y in rows)
        (folder / "train" / "landmarks" / f"{index}.txt").write_text(text)


def config(root, tmp_path, **changes) -> DetectorConfig:
    """Every kind of training set at once, but for what is changed."""
    loop = {"run": tmp_path / "run", "steps": 40, "batch": 8, "warmup": 2, "threads": 1, "evaluate_every": 20}
    loop |= changes.pop("loop", {})
    given = {
        "data": root,
        "sets": ("with_states", "without"),
        "mesh": root / "mesh.npz",
        "wflw": root / "WFLW",
        "lapa": root / "LaPa",
        "views": root / "views",
        "labels_3d": "exact",
        "views_definition": "head98",
        "dev": 1,
    }
    return DetectorConfig(LoopConfig(**loop), **given | changes)


@pytest.fixture(scope="module")
def task(root, tmp_path_factory):
    return DetectorTask(config(root, tmp_path_factory.mktemp("task")), root)


def test_every_training_set_labels_its_definitions(task):
    named = {one.name: one.definitions for one in task.sets}
    assert named == {
        "with_states": ("wflw98", "merl68", "mediapipe478"),
        "without": ("wflw98", "ibug68", "mediapipe478"),
        "wflw_train": ("wflw98", "wflw98_outline"),
        "lapa_train": ("wflw98", "lapa106"),
        "views": ("head98", "wflw98"),
    }
    shapes = {"wflw98": 98, "merl68": 68, "mediapipe478": 478, "ibug68": 68, "wflw98_outline": 98, "lapa106": 106}
    found = task.model.eval()(torch.rand(2, 3, 128, 128))
    assert {name: part.points.shape for name, part in found.items()} == {
        name: (2, size, 2) for name, size in (shapes | {"head98": 98}).items()
    }
    assert found["merl68"].cholesky.shape == (2, 68, 2, 2) and found["merl68"].state.shape == (2, 68, 3)
    odds = found["merl68"].state.exp()
    torch.testing.assert_close(found["merl68"].visibility(), odds[..., 0] / odds.sum(-1))


def test_labels_of_a_photo_by_definition(root, faces):
    """MERL-RAV's jaw is wflw98's, but not 300-W's; points and states stay at their landmarks."""
    exact = faces[2][1]
    merl = PackedPhotos(root, "with_states", labels=None, mesh=root / "mesh.npz", dev=1)[2].labels
    w300 = PackedPhotos(root, "without", labels=None, mesh=None, dev=None)[2].labels
    np.testing.assert_allclose(merl["wflw98"].points[2:33:2], exact[2:33:2], atol=1e-4)
    np.testing.assert_allclose(w300["ibug68"].points, conversion("wflw98", "ibug68") @ exact, atol=1e-4)
    assert np.isnan(w300["wflw98"].points[:33]).all() and np.isfinite(w300["wflw98"].points[51:60]).all()
    assert np.isnan(merl["merl68"].points[0]).all() and merl["merl68"].state[[0, 30, 8]].tolist() == [2, 1, 0]
    assert merl["wflw98"].state[[0, 54, 16]].tolist() == [2, 1, 0] and (w300["ibug68"].state == UNKNOWN).all()
    assert (merl["mediapipe478"].points == 64).all() and "mediapipe478" not in w300


def test_official_layouts_label_their_own_definition_and_wflw98_without_the_jaw(task, faces):
    wflw, lapa = task.sets[2][3].labels, task.sets[3][3].labels
    np.testing.assert_allclose(wflw["wflw98_outline"].points, faces[3][1], atol=1e-3)
    for labels in (wflw, lapa):
        np.testing.assert_allclose(labels["wflw98"].points[33:], faces[3][1][33:], atol=1e-3)
        assert np.isnan(labels["wflw98"].points[:33]).all()
    np.testing.assert_allclose(lapa["lapa106"].points[16], faces[3][1][16], atol=1e-3)


def test_views_are_projected_and_know_three_states(root):
    views = RenderedViews(root / "views", "wflw98", "exact")
    picture = views[5]
    labels = picture.labels["wflw98"]
    assert picture.image.shape == (128, 128, 3) and views.framed
    assert labels.points.min() >= 0 and labels.points.max() <= 128 and np.isfinite(labels.points).all()
    assert {VISIBLE, SELF_OCCLUDED} <= set(np.concatenate([views[i].labels["wflw98"].state for i in range(24)]))
    assert len(views.dev) == 2 and not set(views.train) & set(views.dev)
    held_out = views._cache.face[views.dev]
    assert not np.isin(views._cache.face[views.train], held_out).any()  # a head is held out in all its views
    left = np.degrees(np.arctan2(*(views._cache.rotation.mT @ [0.0, 0.0, -1.0])[..., [0, 2]].T))
    assert np.abs(views.yaw_deg - left).max() < 25  # the camera looks at the head, wherever it is


def test_each_head_learns_from_its_own_samples_alone(task):
    """The gradient of a definition's head does not change when the samples of all others do."""

    def gradients(batch):
        torch.manual_seed(0)
        model = LandmarkDetector(definitions=task.definitions).eval()  # eval: batch norm would mix the faces
        task.losses(model, batch)["loss"].backward()
        return {name: torch.cat([p.grad.ravel() for p in head.parameters()]) for name, head in model.heads.items()}

    batch = task.batch(0)
    own = batch["rows.merl68"]
    other = {key: value.clone() for key, value in batch.items()}
    strangers = [row for row in range(8) if row not in own.tolist()]
    other["image"][strangers] = 255 - other["image"][strangers]
    for name in ("ibug68", "lapa106", "wflw98_outline", "head98"):
        other[f"points.{name}"] += 0.3
    first, second = gradients(batch), gradients(other)
    assert first["merl68"].abs().sum() > 0
    torch.testing.assert_close(first["merl68"], second["merl68"], atol=1e-7, rtol=1e-4)
    for name in ("ibug68", "lapa106", "head98"):
        assert (first[name] - second[name]).abs().max() > 1e-4, name
    without = {
        **batch,
        "rows.merl68": own[:0],
        "points.merl68": batch["points.merl68"][:0],
        "state.merl68": batch["state.merl68"][:0],
    }
    assert gradients(without)["merl68"].abs().sum() == 0


def test_batches_are_functions_of_the_step(root, task, tmp_path):
    again = DetectorTask(config(root, tmp_path), root)
    for step in (0, 3):
        first, second = task.batch(step), again.batch(step)
        assert first.keys() == second.keys()
        for key in first:
            torch.testing.assert_close(first[key], second[key], equal_nan=True, rtol=0, atol=0)
    assert not torch.equal(task.batch(0)["image"], task.batch(1)["image"])


def test_views_of_exact_heads_label_lids_and_lips_for_people_too(task):
    labels = task.sets[-1][0].labels
    shared = np.isfinite(labels["wflw98"].points).all(-1)
    assert shared[60:96].all() and shared.sum() == 36
    np.testing.assert_array_equal(labels["wflw98"].points[60:96], labels["head98"].points[60:96])
    assert task.sets[-1].scored("wflw98").tolist() == list(range(60, 96)) and len(task.sets[-1].scored("head98")) == 98


def test_a_batch_keeps_the_stated_shares(root, tmp_path):
    stated = {"with_states": 5, "without": 1, "wflw_train": 1, "lapa_train": 1, "views": 2}
    task = DetectorTask(config(root, tmp_path, shares=stated, loop={"batch": 20}), root)
    assert task.counts == samples_of(20, np.array([5, 1, 1, 1, 2]) / 10) and sum(task.counts) == 20
    batch = task.batch(0)
    assert len(batch["rows.merl68"]) == task.counts[0] and len(batch["rows.head98"]) == task.counts[4]
    with pytest.raises(ValueError, match=r"--shares: expected a share above 0 of each of with_states, .*found \{"):
        DetectorTask(config(root, tmp_path, shares={"views": 1.0}), root)
    with pytest.raises(ValueError, match="expected at least a sample of each of 5 training sets, found 4"):
        DetectorTask(config(root, tmp_path, loop={"batch": 4}), root)


def test_samples_of_shares():
    assert samples_of(48, np.array([0.5, 0.25, 0.25])) == [24, 12, 12]
    assert sum(samples_of(47, np.array([0.9, 0.05, 0.05]))) == 47
    assert samples_of(3, np.array([0.98, 0.01, 0.01])) == [1, 1, 1]


def test_held_out_faces():
    train, dev = split(10, 3)
    assert train.tolist() == list(range(7)) and dev.tolist() == [7, 8, 9]
    train, dev = split(205, None)
    assert dev.tolist() == [*range(90, 100), *range(190, 200)] and len(train) == 185
    assert split(5, None)[1].tolist() == [4]
    assert spread(np.arange(100, 110), 3).tolist() == [100, 104, 109] and len(spread(np.arange(4), 9)) == 4


def test_mirrored_twice_is_the_picture_and_once_moves_points_with_their_pixels(rng):
    image = np.zeros((8, 10, 3), np.uint8)
    image[3, 2] = 255
    labels = {}
    for name, scheme in (("lapa106", LAPA106), ("merl68", IBUG68), ("mediapipe478", MEDIAPIPE478), ("head98", WFLW98)):
        points = rng.uniform(0, 8, (scheme.size, 2))
        points[0] = (2.5, 3.5)
        labels[name] = Labels(points, rng.integers(-1, 3, scheme.size).astype(np.int8))
    picture = LabelledPicture(image, np.array([1.0, 2, 5, 7]), labels)
    once, twice = mirrored(picture), mirrored(mirrored(picture))
    assert once.image[3, 7, 0] == 255 and once.box.tolist() == [5, 2, 9, 7]
    for name, scheme in (("lapa106", LAPA106), ("merl68", IBUG68), ("mediapipe478", MEDIAPIPE478)):
        assert once.labels[name].points[scheme.mirror[0]].tolist() == [7.5, 3.5]
        np.testing.assert_allclose(twice.labels[name].points, labels[name].points)
        np.testing.assert_array_equal(twice.labels[name].state, labels[name].state)


def test_augmented_labels_move_with_the_picture(task):
    """Without augmentation but flips, the crop is 2 % wider than the plain one."""
    one = task.sets[0]
    still = Augmentation(scale=0, shift=0, roll_deg=0, large_roll=0, occluder=0, colour=0)
    crops = [augmented(one, 1, 128, np.random.default_rng(seed), still) for seed in range(8)]
    flipped = [bool(crop.labels["merl68"].state[16] == SELF_OCCLUDED) for crop in crops]  # 0 in the photo
    assert set(flipped) == {False, True}
    for crop, turned in zip(crops, flipped, strict=True):
        expected = plain(mirrored(one[1]) if turned else one[1], 128)
        np.testing.assert_allclose(_nose(crop), 0.5 + (_nose(expected) - 0.5) / np.exp(0.02), atol=1e-6)
    covered = Augmentation(occluder=1.0)
    states = [augmented(one, 1, 128, np.random.default_rng(seed), covered).labels["merl68"].state for seed in range(8)]
    assert max((state == OCCLUDED).sum() for state in states) > 3


def _nose(crop):
    return crop.labels["merl68"].points[[27, 36, 45]]


def test_crops_of_upright_views_are_the_levelled_views(root):
    views, still = RenderedViews(root / "views", "wflw98", "exact", upright=True), {"occluder": 0, "colour": 0}
    turns = []
    for index in range(6):
        level = levelled(views._cache[index])
        there = project(level.landmarks, level.rotation, level.translation, intrinsics(1.0))
        crop = plain(views[index], 128)
        np.testing.assert_array_equal(crop.image, level.image)
        np.testing.assert_allclose(crop.labels["wflw98"].points, there, atol=1e-6)
        for seed in range(8):
            found = augmented(
                views, index, 128, np.random.default_rng(seed), Augmentation(roll_deg=0, large_roll=0, **still)
            )
            own, other = found.labels["wflw98"].points, there[WFLW98.mirror] * [-1, 1] + [1, 0]
            assert min(np.abs(own - there).max(), np.abs(own - other).max()) < 1e-6
            turned = augmented(
                views, index, 128, np.random.default_rng(seed), Augmentation(roll_deg=10, large_roll=0, **still)
            )
            towards = np.array([p - 0.5 for p in (own, turned.labels["wflw98"].points)]) @ [1, 1j]
            turns.append(np.degrees(np.angle(towards[1] / towards[0])))
            assert np.ptp(turns[-1]) < 1e-4  # all points about the middle by one angle
    assert 5 < np.std([turn.mean() for turn in turns]) < 15
    as_rendered = RenderedViews(root / "views", "wflw98", "exact")
    np.testing.assert_array_equal(plain(as_rendered[0], 128).image, as_rendered._cache[0].image)
    assert abs(head_tilt(as_rendered._cache[0].rotation)) > 0.01


def test_the_gaze_adds_a_term_of_wflws_order_alone(root, task, tmp_path):
    gazing = DetectorTask(config(root, tmp_path, gaze=0.5), root)
    batch = task.batch(0)
    without, found = task.losses(task.model.train(), batch), gazing.losses(gazing.model.train(), batch)
    added = {"wflw98_gaze", "wflw98_outline_gaze", "head98_gaze"}
    assert set(found) - set(without) == added
    for name in set(without) - {"loss"}:
        assert torch.equal(found[name], without[name]), name
    share = {name: len(batch[f"rows.{name.removesuffix('_gaze')}"]) / 8 for name in added}
    expected = without["loss"] + sum(0.5 * share[name] * found[name] for name in added)
    torch.testing.assert_close(found["loss"], expected)


def test_training_on_all_kinds_of_sets_learns_and_reports(root, tmp_path, capsys):
    """Overfitted on a few samples of every set the loss of each definition falls; the table names all of them."""
    folders = ["--mesh", "mesh.npz", "--wflw", "WFLW", "--lapa", "LaPa", "--views", "views"]
    folders = [str(root / part) if not part.startswith("--") else part for part in folders]
    run = ["--loop.run", str(tmp_path / "run"), "--loop.steps", "24", "--loop.evaluate-every", "8"]
    run += ["--loop.overfit", "8", "--loop.batch", "8", "--loop.warmup", "2", "--loop.threads", "1"]
    run += ["--loop.ema", "0.9"]
    given = ["--data", str(root), "--sets", "with_states", "without", "--dev", "1", "--labels-3d", "exact"]
    assert main(["train", "detector", *run, *given, *folders, "--views-definition", "head98"]) == 0
    first, _, last = csv.DictReader((tmp_path / "run" / "metrics.csv").open())
    for name in ("wflw98", "merl68", "ibug68", "wflw98_outline", "lapa106", "mediapipe478", "head98"):
        assert float(last[f"train_{name}"]) < float(first[f"train_{name}"]) - 0.1, name
    assert float(last["train_merl68_state"]) < 0.5  # log 3 at the start
    assert float(last["train_head98_closure"]) < float(first["train_head98_closure"])
    assert "train_merl68_closure" not in last  # its numbers are others
    table = (tmp_path / "run" / "definitions.md").read_text()
    for row in ("| with_states | merl68 |", "| without | ibug68 |", "| lapa_train | lapa106 |", "| views | head98 |"):
        assert row in table
    assert "visibility_auc" in table and float(last["without.ibug68.nme"]) > 0


def test_views_alone_teach_a_detector_without_any_photo(root, tmp_path):
    run = ["--loop.run", str(tmp_path / "run"), "--loop.steps", "24", "--loop.evaluate-every", "8"]
    run += ["--loop.batch", "8"]
    run += ["--loop.warmup", "2", "--loop.threads", "1", "--loop.overfit", "4", "--loop.ema", "0.9"]
    more = ["--labels-3d", "exact", "--upright", "--gaze", "0.5"]
    assert main(["train", "detector", *run, "--sets", "--views", str(root / "views"), *more]) == 0
    first, _, last = csv.DictReader((tmp_path / "run" / "metrics.csv").open())
    assert float(last["train_loss"]) < float(first["train_loss"]) - 0.2
    assert 0 < float(last["views.wflw98.nme"]) < 100
    assert float(last["train_wflw98_gaze"]) < float(first["train_wflw98_gaze"]) - 0.2
    out = tmp_path / "detector.onnx"
    assert main(["export", "--run", str(tmp_path / "run"), "--out", str(out), "--permissive"]) == 0
    assert exported_sources(str(out)) == [PROCEDURAL_HEAD]


def test_a_detector_starts_from_an_exported_lifter(root, tmp_path):
    """Its encoder and decoder after a step that moves nothing, without the pose tokens; its sources are noted too."""
    torch.manual_seed(0)
    lifter = Lifter()
    with torch.no_grad():
        for parameter in lifter.parameters():  # no two are equal, as after a training
            parameter.add_(0.01 * torch.randn_like(parameter))
    (tmp_path / "lifter").mkdir()
    torch.save({"averaged": lifter.state_dict()}, tmp_path / "lifter" / "checkpoint.pt")
    description = {"task": "lifter", "encoder": "mobile", "sources": listed([packed_source("merl_train")])}
    (tmp_path / "lifter" / "config.json").write_text(json.dumps(description))
    exported = export(ExportConfig(run=tmp_path / "lifter", out=tmp_path / "lifter.onnx"))
    run = ["--loop.run", str(tmp_path / "run"), "--loop.steps", "1", "--loop.lr", "0", "--loop.batch", "4"]
    given = ["--sets", "--views", str(root / "views"), "--labels-3d", "exact", "--start", str(exported)]
    assert main(["train", "detector", *run, *given]) == 0
    found = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["averaged"]
    expected = lifter.decoder.state_dict() | {"tokens": lifter.decoder.tokens[:98]}
    assert "look.read.weight" in expected
    for name, value in expected.items():
        torch.testing.assert_close(found[f"decoder.{name}"], value)
    torch.testing.assert_close(found["encoder.fuse.weight"], lifter.encoder.fuse.weight)
    assert packed_source("merl_train") in noted_sources(tmp_path / "run" / "config.json")


def test_what_cannot_be_learned_from_is_named(root, tmp_path, capsys):
    run = ["--loop.run", str(tmp_path / "run")]
    assert main(["train", "detector", *run, "--sets"]) == 1
    assert "expected at least one of --sets, --wflw, --lapa, --views, found none" in capsys.readouterr().err
    assert main(["train", "detector", *run, "--data", str(root), "--sets", "without", "--dev", "6"]) == 1
    assert "without: expected more than the 6 faces held out, found no more" in capsys.readouterr().err
    assert main(["train", "detector", *run, "--data", str(root), "--sets", "without", "--dev", "0"]) == 1
    assert "--dev: expected at least one face" in capsys.readouterr().err
    assert main(["train", "detector", *run, "--sets", "--views", str(root / "views")]) == 1
    assert "expected lifted landmarks" in capsys.readouterr().err
    np.savez(tmp_path / "mesh.npz", set=["a"], name=["b"], mesh=np.zeros((1, 468, 2)))
    with pytest.raises(ValueError, match=r"mesh\.npz: expected mesh of shape \(n, 478, 2\), found \(1, 468, 2\)"):
        read_mesh(tmp_path / "mesh.npz", "a")
