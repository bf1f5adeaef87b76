"""The loop: an interrupted run ends as an undisturbed one does, and its folder says what was run."""

import csv
import gc
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from facelift.training.config import LoopConfig
from facelift.training.loop import learning_rate, train


class Line:
    """Fits a line to noisy samples drawn from the step alone."""

    def __init__(self, kill_at: int | None = None):
        torch.manual_seed(0)
        self.model, self.kill_at = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), kill_at

    def batch(self, step, rank=0, world=1):
        if step == self.kill_at:
            os.kill(os.getpid(), signal.SIGTERM)
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return {"x": x, "y": x.sum(1, keepdim=True)}

    def losses(self, model, batch):
        return {"loss": (model(batch["x"]) - batch["y"]).square().mean()}

    def evaluate(self, model):
        return {"error": self.losses(model, self.batch(10_000))["loss"].item()}

    def picture(self, model):
        return np.zeros((4, 4, 3), np.uint8)


def config(run, **changes) -> LoopConfig:
    settings = {"steps": 40, "batch": 8, "lr": 1e-2, "warmup": 5, "evaluate_every": 10, "accelerator": "cpu"}
    return LoopConfig(run=run, **settings | changes)


def weights(path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["averaged"]


def test_a_run_stopped_by_sigterm_resumes_exactly(tmp_path):
    whole = weights(train(Line(), config(tmp_path / "whole"), {"task": "line"}))
    before = signal.getsignal(signal.SIGTERM)
    stopped = train(Line(kill_at=17), config(tmp_path / "parts"), {"task": "line"})
    assert signal.getsignal(signal.SIGTERM) is before
    assert torch.load(stopped, weights_only=True)["step"] < 20
    resumed = weights(train(Line(), config(tmp_path / "parts"), {"task": "line"}))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    for name in ("whole", "parts"):
        rows = list(csv.DictReader((tmp_path / name / "metrics.csv").open()))
        assert [int(row["step"]) for row in rows] == [10, 20, 30, 40]


def test_batches_of_worker_processes_are_those_of_the_thread_and_a_stop_reaches_the_checkpoint(tmp_path):
    whole = weights(train(Line(), config(tmp_path / "thread"), {"task": "line"}))
    task = Line()
    cv2.setNumThreads(2)  # its threads, once started, must not hang the workers
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 5)
    task.evaluate = lambda model: os.kill(os.getpid(), signal.SIGTERM) or {"error": 0.0}  # in the training's process
    stopped = train(task, config(tmp_path / "workers", workers=2), {"task": "line"})
    assert torch.load(stopped, weights_only=True)["step"] == 10
    resumed = weights(train(Line(), config(tmp_path / "workers", workers=1), {"task": "line"}))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_worker_that_hangs_is_not_waited_for(tmp_path):
    """It ignores SIGTERM: left alive it would keep the training's process, which joins its children, from its end."""
    task = Line()
    batch, task.evaluate = task.batch, lambda model: os.kill(os.getpid(), signal.SIGTERM) or {"error": 0.0}
    task.batch = lambda step, rank, world: time.sleep(1000) if step >= 10 else batch(step, rank, world)
    stopped = train(task, config(tmp_path, workers=1), {"task": "line"})
    assert torch.load(stopped, weights_only=True)["step"] == 10
    assert not multiprocessing.active_children()


class Session:
    """Says which process destroys it: another one than that which made it would wait for threads that it lacks."""

    def __init__(self, folder):
        self.folder, self.itself = folder, self  # a cycle, that only the collector ends

    def __del__(self):
        (self.folder / f"destroyed-by-{os.getpid()}").touch()


def test_workers_destroy_nothing_that_the_fork_copied(tmp_path):
    task = Line()
    batch = task.batch

    def collecting(*place):
        gc.collect()
        return batch(*place)

    task.batch = collecting
    gc.disable()
    try:
        Session(tmp_path)
        train(task, config(tmp_path / "run", steps=2, evaluate_every=2, workers=1), {"task": "line"})
    finally:
        gc.enable()
    gc.collect()
    assert [path.name for path in tmp_path.glob("destroyed*")] == [f"destroyed-by-{os.getpid()}"]


def test_a_broken_sample_stops_the_training_with_its_name(tmp_path):
    task = Line()
    task.batch = lambda step, rank, world: (_ for _ in ()).throw(ValueError("000123.jpg: expected a JPEG picture"))
    for workers in (0, 1):
        with pytest.raises(ValueError, match=r"000123\.jpg: expected a JPEG"):
            train(task, config(tmp_path / str(workers), workers=workers), {})


def test_the_loss_falls_and_the_folder_tells_the_run(tmp_path):
    train(Line(), config(tmp_path, steps=300, evaluate_every=50), {"task": "line", "loop": {"steps": 300}})
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert float(rows[-1]["error"]) < 0.3 * float(rows[0]["error"])
    assert json.loads((tmp_path / "config.json").read_text())["task"] == "line"
    assert "torch" in json.loads((tmp_path / "versions.json").read_text())
    assert (tmp_path / "curves.png").exists() and (tmp_path / "pictures" / "0000300.png").exists()
    assert not list(tmp_path.glob("*.partial"))


def test_other_settings_do_not_resume_a_run(tmp_path):
    train(Line(), config(tmp_path, steps=5), {"task": "line", "loop": {"lr": 1}})
    with pytest.raises(ValueError, match=r"config\.json: expected the settings of this run"):
        train(Line(), config(tmp_path, steps=5), {"task": "line", "loop": {"lr": 2}})


def test_a_foreign_checkpoint_is_named(tmp_path):
    train(Line(), config(tmp_path, steps=5), {"task": "line"})
    torch.save({"step": 3}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"checkpoint\.pt: expected a checkpoint of a training"):
        train(Line(), config(tmp_path, steps=5), {"task": "line"})
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ValueError, match=r"checkpoint\.pt: expected a torch file"):
        train(Line(), config(tmp_path, steps=5), {"task": "line"})


def test_a_loss_that_is_not_finite_stops_with_its_step(tmp_path):
    task = Line()
    task.losses = lambda model, batch: {"loss": model(batch["x"]).sum() * float("nan")}
    with pytest.raises(FloatingPointError, match="step 0"):
        train(task, config(tmp_path), {})


def test_learning_rate_warms_up_peaks_and_ends_at_zero():
    settings = LoopConfig(run=Path("unused"), steps=105, warmup=5, lr=1.0)
    assert learning_rate(0, settings) == pytest.approx(0.2)
    assert learning_rate(5, settings) == 1.0
    assert learning_rate(55, settings) == pytest.approx(0.5)
    assert learning_rate(105, settings) == pytest.approx(0.0)


def test_a_rate_in_steps_falls_twice():
    """48 and 64 of M3-LRN's 80 epochs."""
    settings = LoopConfig(run=Path(), steps=80, lr=0.08, warmup=2, schedule="steps")
    rates = [learning_rate(step, settings) for step in (0, 2, 47, 48, 63, 64, 79)]
    assert rates == pytest.approx([0.04, 0.08, 0.08, 0.008, 0.008, 0.0008, 0.0008])


def test_momentum_descends_as_its_formula_says(tmp_path):
    """Against v = 0.9 v + g, w = w - lr v by hand; vectors do not decay."""
    task, settings = Line(), {"optimizer": "sgd", "schedule": "steps", "warmup": 0, "steps": 3, "clip": 1e9}
    plain, velocity = Line(), {}
    run = train(task, config(tmp_path, **settings, weight_decay=0.1), {"task": "line"})
    for step in range(3):
        plain.losses(plain.model, plain.batch(step))["loss"].backward()
        for name, value in plain.model.named_parameters():
            slope = value.grad + (0.1 * value.detach() if value.ndim > 1 else 0)
            velocity[name] = 0.9 * velocity.get(name, 0) + slope
            value.data -= learning_rate(step, config(tmp_path, **settings)) * velocity[name]
            value.grad = None
    found = torch.load(run, weights_only=True)["model"]
    for name, value in plain.model.named_parameters():
        torch.testing.assert_close(found[name], value.data, rtol=1e-5, atol=1e-6)
