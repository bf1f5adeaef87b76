"""Packed sets that are damaged: broken pictures cost one face, arrays that do not fit are named."""

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from facelift.cli import main
from facelift.datasets.packed import PackedSet
from facelift.datasets.readers.aflw2000_sample import AFLW2000Sample
from facelift.datasets.readers.w300_full import W300Full
from facelift.datasets.real_faces import RealFaces
from facelift.evaluation.predictions import read_predictions
from facelift.evaluation.systems import Answer

GREY = cv2.imencode(".jpg", np.full((120, 120, 3), 99, np.uint8))[1].tobytes()
HUGE = GREY.replace(b"\x00\x78\x00\x78", b"\xff\xf0\xff\xf0", 1)
"""A header of 65520 x 65520 pixels."""
BROKEN = {"empty": b"", "garbage": b"no picture at all", "cut": GREY[:20], "huge": HUGE}


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def root(tmp_path, rng):
    """merl_test of two whole faces, and one of each kind of broken picture between them."""
    files = {"first.jpg": GREY, **{f"{kind}.jpg": content for kind, content in BROKEN.items()}, "last.jpg": GREY}
    write_tar(tmp_path / "merl_test.tar", files)
    count = len(files)
    points = rng.uniform(20, 100, (count, 68, 2))
    state, yaw = np.zeros((count, 68), np.uint8), np.linspace(-80, 80, count)
    group = ["left"] * count
    np.savez(tmp_path / "merl_test.npz", name=list(files), pts68=points, state=state, yaw=yaw, pose_group=group)
    return tmp_path


def changed(root: Path, name: str, arrays: dict) -> None:
    with np.load(root / f"{name}.npz") as held:
        labels = dict(held)
    np.savez(root / f"{name}.npz", **{key: value for key, value in (labels | arrays).items() if value is not None})


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_picture_keeps_its_labels_and_is_named_when_read(root, kind):
    faces = PackedSet(root, "merl_test")
    sample = faces[1 + list(BROKEN).index(kind)]
    assert sample.name == f"{kind}.jpg" and np.isfinite(sample.points).all()
    assert np.isnan(sample.box).all()
    with pytest.raises(ValueError, match=rf"{kind}\.jpg: expected a JPEG picture, found {len(BROKEN[kind])} bytes"):
        _ = sample.image
    np.testing.assert_allclose(faces[0].box, [20, 20, 100, 100])


def test_training_names_a_broken_picture(root):
    faces = RealFaces(root, ("merl_test",))
    with pytest.raises(ValueError, match=r"empty\.jpg: expected a JPEG picture"):
        faces.crop((0, 1), 64)


class Centre:
    """Says that all landmarks are in the middle of the box."""

    scheme = "ibug68"
    about = {"system": "centre"}  # noqa: RUF012

    def answer(self, image: np.ndarray, box: np.ndarray) -> Answer:
        assert image.shape == (120, 120, 3)
        return Answer(np.broadcast_to((box[:2] + box[2:]) / 2, (68, 2)).copy())


def test_broken_pictures_are_counted_and_the_others_scored(root, monkeypatch, capsys):
    monkeypatch.setattr("facelift.commands.evaluate.build_system", lambda model: Centre())
    out, where = root / "centre.npz", ["--benchmark", "merl_test", "--data", str(root)]
    assert main(["evaluate", "predict", "--out", str(out), *where]) == 0
    told = capsys.readouterr()
    assert "merl_test: 6 faces, 2 found, 4 unreadable" in told.out + told.err
    assert "garbage.jpg: expected a JPEG picture" in told.err
    found = read_predictions(out)
    assert found.found.tolist() == [True, False, False, False, False, True]
    assert np.isnan(found.box[1:5]).all() and np.isfinite(found.box[[0, 5]]).all()

    assert main(["evaluate", "score", str(out), *where, "--out", str(root / "report")]) == 0
    printed = capsys.readouterr().out
    assert "centre: 6 faces, 4 not found, 4 with a picture that could not be read." in printed
    points = np.load(root / "merl_test.npz")["pts68"][[0, 5]]
    size = np.sqrt(np.ptp(points, axis=1).prod(-1))
    nme = 100 * (np.linalg.norm(points - 60, axis=-1).mean(1) / size).mean()
    assert f"{nme:.2f} [" in printed
    assert (root / "report" / "report.html").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pts68": np.zeros((6, 98, 2))}, r"expected pts68 of shape \(6, 68, 2\), found \(6, 98, 2\)"),
        ({"pts68": np.zeros((5, 68, 2))}, r"expected pts68 of shape \(6, 68, 2\), found \(5, 68, 2\)"),
        ({"pts68": np.full((6, 68, 2), "x")}, r"expected pts68 of numbers, found <U1"),
        ({"state": np.zeros((6, 98), np.uint8)}, r"expected state of shape \(6, 68\), found \(6, 98\)"),
        ({"state": np.full((6, 68), "seen")}, r"expected state of numbers, found <U4"),
        ({"yaw": np.zeros(7)}, r"expected yaw of shape \(6,\), found \(7,\)"),
        ({"pose_group": np.zeros((6, 2))}, r"expected pose_group of shape \(6,\), found \(6, 2\)"),
        ({"merl_key": np.zeros((2, 4))}, r"expected merl_key of shape \(6, 4\), found \(2, 4\)"),
        ({"name": ["a.jpg"] * 6}, r"expected every name once, found 'a\.jpg' 6 times"),
        ({"name": np.arange(6)}, r"expected name as a list of texts, found \(6,\) of int64"),
        ({"name": "a.jpg"}, r"expected name as a list of texts, found \(\) of <U5"),
    ],
)
def test_arrays_that_do_not_fit_are_named(root, arrays, message):
    changed(root, "merl_test", arrays)
    with pytest.raises(ValueError, match=rf"merl_test\.npz: {message}"):
        PackedSet(root, "merl_test")


def test_arrays_of_the_aflw2000_sample_that_do_not_fit_are_named(tmp_path):
    write_tar(tmp_path / "aflw2000_sample.tar", {"a.jpg": GREY})
    whole = {"name": ["a.jpg"], "pts68_orig": np.zeros((1, 3, 68)), "pts68_reannotated": np.zeros((1, 68, 2))}
    np.savez(tmp_path / "aflw2000_sample.npz", **whole, pose=np.zeros((1, 3)))
    assert len(AFLW2000Sample(tmp_path)) == 1
    changed(tmp_path, "aflw2000_sample", {"pts68_orig": np.zeros((1, 68, 3))})
    with pytest.raises(ValueError, match=r"sample\.npz: expected pts68_orig of shape \(1, 3, 68\), found \(1, 68, 3\)"):
        AFLW2000Sample(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"face_pts68": np.zeros((2, 68, 2))}, r"expected face_pts68 of shape \(3, 68, 2\), found \(2, 68, 2\)"),
        ({"face_box": np.zeros((3, 2))}, r"expected face_box of shape \(3, 4\), found \(3, 2\)"),
        ({"face_box": None}, r"expected the array face_box, found face_image_index, face_pts68, name, source"),
        ({"source": ["afw"]}, r"expected source of shape \(2,\), found \(1,\)"),
        ({"face_image_index": [0, 1, 2]}, r"expected face_image_index among the photos 0\.\.1, found 0\.\.2"),
        ({"face_image_index": [-1, 0, 1]}, r"expected face_image_index among the photos 0\.\.1, found -1\.\.1"),
        ({"face_image_index": [0.0, 0.0, 1.0]}, r"expected face_image_index as a list of integers"),
    ],
)
def test_arrays_of_the_photos_with_many_faces_that_do_not_fit_are_named(tmp_path, arrays, message):
    write_tar(tmp_path / "w300_full.tar", {"a.jpg": GREY, "b.jpg": GREY})
    faces = {"face_image_index": [0, 0, 1], "face_box": np.zeros((3, 4)), "face_pts68": np.zeros((3, 68, 2))}
    np.savez(tmp_path / "w300_full.npz", name=["a.jpg", "b.jpg"], source=["afw", "helen"], **faces)
    assert [W300Full(tmp_path)[i].name for i in range(3)] == ["a.jpg#0", "a.jpg#1", "b.jpg#0"]
    changed(tmp_path, "w300_full", arrays)
    with pytest.raises(ValueError, match=rf"w300_full\.npz: {message}"):
        W300Full(tmp_path)
