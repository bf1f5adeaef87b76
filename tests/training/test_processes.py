"""Two processes with half of the batch each learn what one learns with the whole batch, and leave one run folder."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="this torch has no gloo"
)


def curve(run: Path, processes: int, precision: str = "32-true", workers: int = 0) -> dict[str, np.ndarray]:
    """Columns of metrics.csv of a run of two_processes.py."""
    script = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, str(script), str(run), str(processes), precision, str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


@pytest.mark.slow
def test_two_processes_learn_as_one_with_the_whole_batch_whatever_makes_the_batches(tmp_path):
    """The gradient of the whole batch's mean is the mean over processes of their halves' gradients. Without that mean
    (each process for itself) the curves part in the first steps."""
    one, two = curve(tmp_path / "one", 1), curve(tmp_path / "two", 2, workers=1)
    assert one["step"].tolist() == two["step"].tolist() == [2, 4, 6, 8, 10, 12]
    for name in ("train_loss", "error"):
        np.testing.assert_allclose(two[name], one[name], rtol=2e-5, err_msg=name)
    assert one["error"][-1] < 0.9 * one["error"][0]
    saved = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["model"] for name in ("one", "two")]
    for name in saved[0]:
        torch.testing.assert_close(saved[0][name], saved[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_bf16_learns_the_same_to_its_precision(tmp_path):
    full, mixed = curve(tmp_path / "full", 1), curve(tmp_path / "mixed", 1, precision="bf16-mixed")
    assert (full["train_loss"] != mixed["train_loss"]).any()
    np.testing.assert_allclose(mixed["error"], full["error"], rtol=0.05)
