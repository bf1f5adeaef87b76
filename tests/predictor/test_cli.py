"""The command line over good and bad files, folders, globs and videos."""

import csv
import errno
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from facelift.cli import COMMANDS, main
from facelift.commands.inputs import expand
from facelift.faces.face_io import read_faces


@pytest.fixture
def photo(tmp_path, rng):
    """A picture file in which no finder finds a face."""
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((80, 100, 3), 128, np.uint8)).save(path)
    return path


@pytest.fixture
def run(weights, tmp_path, capsys):
    """Runs `facelift predict` with the tiny network; returns exit code, stdout, stderr, folder of results."""

    def call(*arguments):
        out = tmp_path / "out"
        options = ["--model", str(weights), "--out", str(out), "--threads", "1"]
        code = main(["predict", *map(str, arguments), *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err, out

    return call


BOX = ["--boxes", "20", "10", "60", "60"]


def test_one_photo(run, photo):
    code, out, _, folder = run(photo, *BOX, "--draw", "--format", "json", "csv", "npz", "pts")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith(f"{photo}: face 1  box 20.0 10.0 60.0 60.0  pitch ") and "sigma" in lines[0]
    assert lines[-1] == f"1 face in 1 file -> {folder}"
    endings = ("csv", "faces.jpg", "json", "npz", "pts")
    assert sorted(p.name for p in folder.iterdir()) == [f"photo.{ending}" for ending in endings]
    face = read_faces(folder / "photo.json")[0]
    assert f"yaw {face.euler_deg[1]:+.1f}" in lines[0]
    assert json.loads((folder / "photo.json").read_text())["width"] == 100


def test_results_beside_the_photo_leave_it_alone(photo, weights, tmp_path, capsys):
    Image.open(photo).save(tmp_path / "two.jpg")
    before = {path: path.read_bytes() for path in (photo, tmp_path / "two.jpg")}
    options = ["--model", str(weights), "--out", str(tmp_path), *BOX, "--draw"]
    for _ in range(2):  # the second time, the first one's pictures are no photos
        assert main(["predict", str(tmp_path), *options]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"2 faces in 2 files -> {tmp_path}"
    assert all(path.read_bytes() == data for path, data in before.items())
    for kind in ("pts", "json", "csv", "npz"):
        (tmp_path / f"photo.{kind}").write_text("labels")
        assert main(["predict", str(photo), *options, "--format", kind]) == 1
        assert (tmp_path / f"photo.{kind}").read_text() == "labels" and "choose --out" in capsys.readouterr().err
    (tmp_path / "two.face2.pts").write_text("labels")
    boxes = [*BOX, "30", "30", "70", "70"]
    where = ["--model", str(weights), "--out", str(tmp_path)]
    assert main(["predict", str(tmp_path / "two.jpg"), *where, *boxes, "--format", "pts"]) == 1
    assert (tmp_path / "two.face2.pts").read_text() == "labels" and not (tmp_path / "two.pts").exists()
    for kind in ("json", "csv", "npz"):  # our own are written anew
        assert all(main(["predict", str(tmp_path / "two.jpg"), *options, "--format", kind]) == 0 for _ in range(2))


def test_two_boxes_and_another_scheme(run, photo):
    code, out, _, folder = run(photo, *BOX, "30", "30", "70", "70", "--scheme", "ibug68")
    assert code == 0 and "face 2  box 30.0" in out
    assert [face.scheme for face in read_faces(folder / "photo.json")] == ["ibug68"] * 2


def test_no_face_is_no_failure(run, photo):
    code, out, _, folder = run(photo)
    assert code == 0 and f"{photo}: no face" in out and "0 faces in 1 file, 1 without a face" in out
    assert read_faces(folder / "photo.json") == []


def test_folder_goes_on_after_bad_files(run, photo, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "photo.png").write_bytes(photo.read_bytes())
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:60])
    (tmp_path / "notes.txt").write_text("not looked at")
    code, out, err, folder = run(tmp_path, *BOX)
    assert code == 0
    assert out.splitlines()[-1] == f"2 faces in 2 files, 3 failed -> {folder}"
    for name in ("empty.jpg", "text.jpg", "cut.png"):
        assert f"failed: {tmp_path / name}: expected" in err
    assert "notes" not in out + err
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*.json")) == ["photo.json", "sub/photo.json"]


def test_nothing_could_be_done(run, tmp_path):
    code, out, err, _ = run(tmp_path / "none.jpg")
    assert code == 1 and "none.jpg: expected an image file, found nothing" in err and "1 failed" in out
    code, _, err, _ = run(tmp_path)
    assert code == 1 and "expected photos or videos, found none" in err
    code, _, err, _ = run()
    assert code == 1 and "expected at least one" in err


def test_same_names_do_not_collide(tmp_path, photo):
    other = tmp_path / "b"
    other.mkdir()
    for path in (tmp_path / "photo.jpg", other / "photo.png", tmp_path / "écran.png"):
        path.write_bytes(photo.read_bytes())
    found = expand([str(photo), str(tmp_path / "photo.jpg"), str(other / "*.png"), str(photo)])
    assert [entry.path for entry in found] == [photo, tmp_path / "photo.jpg", other / "photo.png"]
    assert [str(entry.stem) for entry in found] == ["photo.png", "photo.jpg", "photo.png-2"]
    (one,) = expand([str(tmp_path / "écr*")])
    assert str(one.stem) == "écran"


def test_wrong_weights(photo, capsys, tmp_path):
    bad = tmp_path / "bad.onnx"
    bad.write_text("nothing")
    assert main(["predict", str(photo), "--model", str(bad)]) == 1
    assert f"facelift predict: {bad}: expected weights in ONNX format, found" in capsys.readouterr().err
    assert main(["predict", str(photo), "--model", "m3lnr"]) == 1
    assert (
        "m3lnr: expected small, m3lrn, dense or weights in ONNX format, found no such file" in capsys.readouterr().err
    )


def test_full_disk(run, photo, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("facelift.atomic.os.replace", full)
    code, _, err, folder = run(photo, *BOX)
    assert code == 1
    assert err.splitlines()[-1] == f"failed: {folder / 'photo.json'}: No space left on device"
    assert list(folder.iterdir()) == []


def test_a_stack_trace_is_for_our_own_mistakes(run, photo, monkeypatch):
    def broken(*_, **__):
        raise KeyError("ours")

    monkeypatch.setattr("facelift.commands.predict.load_photo", broken)
    with pytest.raises(KeyError):
        run(photo)


# Videos


@pytest.fixture
def video(tmp_path):
    """12 frames at 10 a second, 90 x 70 px, each a little brighter."""
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (90, 70))
    for index in range(12):
        writer.write(np.full((70, 90, 3), 20 * index, np.uint8))
    writer.release()
    return path


def predict_fixed(monkeypatch, fixed_finder):
    finder = fixed_finder([[20, 10, 60, 60]])
    monkeypatch.setattr("facelift.finders.find_finder", lambda name: finder)
    return finder


def test_video_gives_a_table_and_a_video(run, video, monkeypatch, fixed_finder):
    predict_fixed(monkeypatch, fixed_finder)
    code, out, _, folder = run(video, "--draw")
    assert code == 0 and f"{video}: 12 frames, 12 with a face, 12 faces" in out
    with (folder / "clip.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["frame"]) for row in rows] == list(range(12))
    assert [float(row["time_s"]) for row in rows] == pytest.approx([i / 10 for i in range(12)])
    assert {row["face"] for row in rows} == {"0"} and float(rows[3]["x_9"]) > 0
    capture = cv2.VideoCapture(str(folder / "clip.faces.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 12 and capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    good, frame = capture.read()
    assert good and frame.shape == (70, 90, 3)


def test_video_as_arrays(run, video, monkeypatch, fixed_finder):
    predict_fixed(monkeypatch, fixed_finder)
    code, _, _, folder = run(video, "--format", "npz")
    assert code == 0
    with np.load(folder / "clip.npz") as data:
        assert data["frame"].tolist() == list(range(12)) and data["points_2d"].shape == (12, 98, 2)
        assert str(data["format"]) == "facelift-video" and data["time_s"][-1] == pytest.approx(1.1)


def test_video_without_pyav(run, video, monkeypatch, fixed_finder):
    predict_fixed(monkeypatch, fixed_finder)
    monkeypatch.setattr("facelift.video.importlib.util.find_spec", lambda name: None)
    code, _, _, folder = run(video, "--draw")
    assert code == 0 and cv2.VideoCapture(str(folder / "clip.faces.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 12


def test_video_that_is_none(run, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all")
    code, _, err, folder = run(bad, "--draw")
    assert code == 1 and f"failed: {bad}: expected a video" in err
    assert not folder.exists() or list(folder.iterdir()) == []


def test_finder_rests_while_faces_are_followed(weights, fixed_finder, video):
    """Looks in frame 0, 5 and 10 only; after a lost face at once."""
    from facelift.predictors.predictor import Predictor
    from facelift.tracking import Follow
    from facelift.video import VideoReader, follow_faces

    finder = fixed_finder([[20, 10, 60, 60]])
    looked = []
    find = finder.find
    finder.find = lambda image: looked.append(int(image.mean() / 20 + 0.5)) or find(image)
    predictor = Predictor(weights, finder=finder, threads=1)
    frames = list(follow_faces(predictor, iter(VideoReader(video)), Follow(every=5, max_sigma=0.5)))
    assert looked == [0, 5, 10] and all(0 in faces for _, faces in frames)
    looked.clear()
    list(follow_faces(predictor, iter(VideoReader(video)), Follow(every=5, max_sigma=1e-9)))
    assert looked == list(range(12))


# The command line itself


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)
    assert main([]) == 2
    assert main(["fly"]) == 2 and "found 'fly'" in capsys.readouterr().err


def test_as_a_program(tmp_path, weights):
    """Help without heavy imports, and a run that fails as it should, in a fresh interpreter."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    code = "import sys; from facelift.cli import main; main(['--help']); "
    code += "assert not {'torch', 'cv2', 'tyro'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    command = [sys.executable, "-m", "facelift.cli", "predict", str(tmp_path / "none.png"), "--model", str(weights)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 1 and "none.png" in result.stderr and "Traceback" not in result.stderr


def test_missing_extra_is_told(monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("facelift.cli.importlib.import_module", missing)
    assert main(["lift"]) == 1 and "pip install '.[train]' in a clone" in capsys.readouterr().err
