"""`facelift evaluate` with the core dependencies alone: what works, and what it says is missing."""

import io
import os
import subprocess
import sys
import tarfile

import cv2
import numpy as np
import pytest

PROGRAM = """
import sys


class Blocked:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "scipy", "numba", "matplotlib", "mediapipe", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocked)
import facelift.commands.evaluate
from facelift.cli import main

sys.exit(main(sys.argv[1:]))
"""


def run(*arguments: str) -> subprocess.CompletedProcess:
    """The command in a fresh interpreter that has none of the extra's packages."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", PROGRAM, "evaluate", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture
def data(tmp_path):
    """w300_train of three faces in the packed layout, and answers for it."""
    points = np.random.default_rng(0).uniform(10, 90, (3, 68, 2))
    names = [f"{i}.jpg" for i in range(3)]
    np.savez(tmp_path / "w300_train.npz", name=names, pts68=points, source=["afw", "afw", "lfpw"])
    with tarfile.open(tmp_path / "w300_train.tar", "w") as tar:
        for name in names:
            jpeg = cv2.imencode(".jpg", np.zeros((100, 100, 3), np.uint8))[1].tobytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(jpeg)
            tar.addfile(entry, io.BytesIO(jpeg))
    np.savez(tmp_path / "mine.npz", name=names, points_2d=points + 1, scheme="ibug68")
    return tmp_path


def test_the_list_needs_nothing_else():
    listed = run("list")
    assert listed.returncode == 0 and "aflw2000_sample" in listed.stdout and listed.stderr == ""


def test_tables_need_nothing_else_and_the_report_says_what_it_needs(data):
    score = ("score", str(data / "mine.npz"), "--benchmark", "w300_train", "--data", str(data))
    printed = run(*score)
    assert printed.returncode == 0 and "NME, % (w300_train)" in printed.stdout
    failed = run(*score, "--out", str(data / "out"))
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert "facelift evaluate: needs matplotlib, not installed: pip install '.[train]' in a clone" in failed.stderr
    assert (data / "out" / "tables.md").read_text().startswith("### NME, % (w300_train)")


def test_sets_of_matlab_files_say_what_they_need(data):
    folder = data / "AFLW2000-3D" / "AFLW2000"
    folder.mkdir(parents=True)
    for ending in ("jpg", "mat"):
        (folder / f"image00002.{ending}").write_bytes(b"")
    score = ("score", str(data / "mine.npz"), "--benchmark", "aflw2000_original", "--data", str(data))
    failed = run(*score)
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert "facelift evaluate: needs scipy, not installed: pip install '.[train]' in a clone" in failed.stderr
