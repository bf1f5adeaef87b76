"""The face finder from packed sets to ONNX, on what the test draws: scenes, training, export, finding."""

import csv
import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from facelift.cli import main
from facelift.finders import NetworkFinder
from facelift.generators.morphable import MorphableGenerator
from facelift.geometry import look_at_rotation, sphere_translation
from facelift.landmarks import conversion
from facelift.training.config import FinderConfig, LoopConfig
from facelift.training.finder_task import FinderTask


def write_set(root: Path, name: str, images: list[np.ndarray], **arrays) -> None:
    names = [f"{name}_{index}.jpg" for index in range(len(images))]
    with tarfile.open(root / f"{name}.tar", "w") as tar:
        for file, image in zip(names, images, strict=True):
            data = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
            info = tarfile.TarInfo(file)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    np.savez(root / f"{name}.npz", name=names, **arrays)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Crops and photos of four procedural heads, and noise for backgrounds."""
    root = tmp_path_factory.mktemp("finder")
    generator, rng = MorphableGenerator(None), np.random.default_rng(0)
    rotation = look_at_rotation(np.zeros(1), 0.0)
    views = [generator.render(seed, rotation, sphere_translation(rotation), 96)[0] for seed in range(4)]
    points = np.stack([conversion("wflw98", "ibug68") @ view.points for view in views]).astype(np.float32)
    images = [view.image for view in views]
    write_set(root, "merl_train", images, pts68=points, yaw=np.zeros(4))
    extra = {"extra_face_image_index": np.zeros(0, int), "extra_face_boxes": np.zeros((0, 4), np.float32)}
    faces = {"face_image_index": np.arange(16), "face_pts68": points[np.arange(16) % 4], "face_box": np.zeros((16, 4))}
    write_set(root, "w300_full", [images[i % 4] for i in range(16)], source=["x"] * 16, **faces, **extra)
    noise = [cv2.resize(rng.integers(0, 255, (9, 9, 3), np.uint8), (96, 96)) for _ in range(12)]
    write_set(root, "backgrounds", noise)
    return root


def loop(run: Path, **changes) -> LoopConfig:
    return LoopConfig(run=run, accelerator="cpu", **{"batch": 4, **changes})


def test_a_batch_is_a_function_of_its_step(root, tmp_path):
    task = FinderTask(FinderConfig(loop(tmp_path), root, sets=("merl_train",), size=64, dev=1, every=4), root)
    one, again, other = task.batch(3), task.batch(3), task.batch(4)
    assert all(torch.equal(one[key].nan_to_num(), again[key].nan_to_num()) for key in one)
    assert one["image"].shape == (4, 3, 64, 64) and not torch.equal(one["image"], other["image"])


def test_the_loss_falls_on_scenes_seen_before(root, tmp_path):
    """A score, boxes and points that fit eight scenes."""
    config = FinderConfig(loop(tmp_path, overfit=8), root, sets=("merl_train",), size=64, dev=1, every=4)
    task = FinderTask(config, root)
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=4e-3)
    batch = task.batch(0)
    values = []
    for _ in range(60):
        losses = task.losses(task.model, batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        values.append({name: value.item() for name, value in losses.items()})
    assert values[-1]["box"] < 0.5 * values[0]["box"] and values[-1]["points"] < 0.4 * values[0]["points"]
    assert values[-1]["loss"] < 0.5 * values[0]["loss"]


def test_training_export_and_finding(root, tmp_path):
    options = ["--size", "64", "--dev", "1", "--every", "4", "--sets", "merl_train", "--data", str(root)]
    run = ["--loop.run", str(tmp_path / "run"), "--loop.batch", "8", "--loop.steps", "2", "--loop.accelerator", "cpu"]
    assert main(["train", "finder", *options, *run]) == 0
    (row,) = csv.DictReader((tmp_path / "run" / "metrics.csv").open())
    assert 0 <= float(row["recall_crops"]) <= 1 and float(row["train_box"]) > 0
    assert main(["export", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "f.onnx"), "--name", "tiny"]) == 0
    metadata = onnxruntime.InferenceSession(str(tmp_path / "f.onnx")).get_modelmeta().custom_metadata_map
    assert metadata["task"] == "finder" and metadata["name"] == "tiny" and "input_size" not in metadata
    content = (tmp_path / "f.onnx").read_bytes()
    assert len(content) < 1e6 and str(Path(torch.__file__).parent).encode() not in content
    finder = NetworkFinder(tmp_path / "f.onnx", min_score=0.0)
    for shape in ((40, 70, 3), (300, 200, 3)):
        found = finder.find(np.zeros(shape, np.uint8))
        assert len(found.boxes) > 0 and np.isfinite(found.boxes).all() and np.isfinite(found.rolls).all()
