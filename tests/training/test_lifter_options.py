"""The lifter's training as its options change where and from what it learns: two processes, bf16, rendering while
training, a teacher. Toy data; that losses fall is test_pipeline's."""

import csv
import io
import subprocess
import sys
import tarfile

import cv2
import numpy as np
import pytest
import torch

from facelift.cli import main
from facelift.datasets.views import ViewsConfig, build_views
from facelift.generators.morphable import MorphableGenerator
from facelift.geometry import look_at_rotation, sphere_translation
from facelift.landmarks import conversion


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Two heads in a cache of views, and four faces as a packed set."""
    root = tmp_path_factory.mktemp("options")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FACELIFT_DATA", raising=False)  # no photos behind the heads
        generator, seeds = MorphableGenerator(None), np.array([100, 101])
        points = np.stack([generator.landmarks(int(seed)) for seed in seeds]).astype(np.float32)
        (root / "lift").mkdir()
        np.savez(root / "lift" / "lift-00000.npz", seed=seeds, points=points, accepted=[True, True])
        build_views(ViewsConfig(lift=root / "lift", out=root / "views", generator="procedural", views=2))
        rotation, labels = look_at_rotation(np.zeros(1), 0.0), []
        with tarfile.open(root / "drawn.tar", "w") as tar:
            for seed in range(4):
                view = generator.render(seed, rotation, sphere_translation(rotation), 128)[0]
                data = cv2.imencode(".jpg", view.image[..., ::-1])[1].tobytes()
                info = tarfile.TarInfo(f"{seed}.jpg")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
                labels.append(conversion("wflw98", "ibug68") @ view.points)
        names = [f"{seed}.jpg" for seed in range(4)]
        np.savez(root / "drawn.npz", name=names, pts68=np.array(labels, np.float32), state=np.zeros((4, 68), np.uint8))
        yield root


def options(root, run: str, *more: str) -> list[str]:
    loop = ["--loop.steps", "2", "--loop.batch", "4", "--loop.evaluate-every", "2", "--loop.threads", "1"]
    data = ["--data", str(root), "--sets", "drawn", "--dev", "1", "--loop.accelerator", "cpu"]
    return [*data, *loop, "--loop.run", str(root / run), *more]


def last_row(run) -> dict[str, float]:
    return {name: float(value) for name, value in list(csv.DictReader((run / "metrics.csv").open()))[-1].items()}


def test_rendering_a_teacher_and_bf16_in_one_training(workspace):
    views = ["--views", str(workspace / "views")]
    assert main(["train", "lifter", *options(workspace, "teacher"), *views]) == 0
    more = ["--render", "--teacher", str(workspace / "teacher"), "--loop.precision", "bf16-mixed"]
    assert main(["train", "lifter", *options(workspace, "student", *more), *views]) == 0
    found = last_row(workspace / "student")
    terms = {"teacher_points", "teacher_marks", "teacher_covariance", "teacher_rotation", "teacher_landmarks"}
    assert {f"train_{term}" for term in terms} < set(found) and np.isfinite(list(found.values())).all()
    saved = torch.load(workspace / "student" / "checkpoint.pt", weights_only=True)["model"]
    assert all(value.dtype in (torch.float32, torch.int64) for value in saved.values())
    assert not any("teacher" in name for name in saved)


def test_rendering_in_other_processes_is_refused(workspace, capsys):
    more = ["--views", str(workspace / "views"), "--render", "--loop.workers", "1"]
    assert main(["train", "lifter", *options(workspace, "refused", *more)]) == 1
    assert "--render: expected no --loop.workers" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detector", "lifter"])
def test_two_processes_train_every_parameter(workspace, task):
    """Parameters without gradient, or processes that disagree on their number of steps, would stop this."""
    more = ["--loop.devices", "2", "--loop.workers", "1"]
    more += ["--views", str(workspace / "views")] if task == "lifter" else []
    command = [sys.executable, "-m", "facelift.cli", "train", task, *options(workspace, f"two-{task}", *more)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert last_row(workspace / f"two-{task}")["step"] == 2
