"""Faces written and read back, numbers checked in the files themselves, and nothing half-written."""

import csv
import errno
import json

import numpy as np
import pytest

from facelift.atomic import written_whole
from facelift.faces.face_io import read_faces, write_faces

PHOTO = np.full((120, 160, 3), 128, np.uint8)
FIELDS = ("points_2d", "landmarks_3d", "covariances", "visibility", "rotation", "translation", "intrinsics", "box")


@pytest.fixture
def faces(predictor):
    return predictor.predict(PHOTO, [[20, 20, 60, 60], [70, 30, 110, 85]])


@pytest.mark.parametrize("kind", ["json", "npz"])
@pytest.mark.parametrize("scheme", ["wflw98", "ibug68"])
def test_round_trip(tmp_path, faces, kind, scheme):
    path = tmp_path / f"täst 写真.{kind}"
    faces = [face.to(scheme) for face in faces]
    assert write_faces(path, faces, image="täst.jpg", image_wh=(160, 120)) == [path]
    back = read_faces(path)
    assert len(back) == 2
    for one, other in zip(faces, back, strict=True):
        assert other.scheme == scheme and other.score == one.score
        for name in FIELDS:
            np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", ["json", "npz", "csv"])
def test_no_face(tmp_path, kind):
    path = tmp_path / f"none.{kind}"
    write_faces(path, [])
    assert path.stat().st_size > 0
    if kind != "csv":
        assert read_faces(path) == []


def test_json_says_what_it_is(tmp_path, faces):
    write_faces(tmp_path / "a.json", faces, image="a.jpg", image_wh=(160, 120))
    document = json.loads((tmp_path / "a.json").read_text())
    assert (document["format"], document["version"], document["width"]) == ("facelift-faces", 2, 160)
    face = document["faces"][1]
    assert set(face["euler_deg"]) == {"pitch", "yaw", "roll"}
    assert face["euler_deg"]["yaw"] == pytest.approx(faces[1].euler_deg[1], rel=1e-7)
    assert len(face["points_2d"]) == 98


def test_csv_columns_hold_what_they_are_named(tmp_path, faces):
    write_faces(tmp_path / "a.csv", faces)
    with (tmp_path / "a.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["face"] for row in rows] == ["0", "1"]
    row, face = rows[1], faces[1]
    for name, value in {
        "x_3": face.points_2d[3, 0],
        "y_97": face.points_2d[97, 1],
        "cov_xy_4": face.covariances[4, 0, 1],
        "var_y_4": face.covariances[4, 1, 1],
        "visibility_9": face.visibility[9],
        "Z_54": face.landmarks_3d[54, 2],
        "mark_y_8": face.marks_2d[8, 1],
        "mark_cov_xy_8": face.marks_covariances[8, 0, 1],
        "r21": face.rotation[2, 1],
        "tz": face.translation[2],
        "cy": face.intrinsics[1, 2],
        "box_x1": 110,
        "pitch": face.euler_deg[0],
    }.items():
        assert float(row[name]) == pytest.approx(value, rel=1e-7), name


def test_pts_counts_pixels_from_one(tmp_path, faces):
    """Pixel centre 0.5 here is 1 there."""
    paths = write_faces(tmp_path / "a.pts", faces)
    assert paths == [tmp_path / "a.pts", tmp_path / "a.face2.pts"]
    lines = paths[1].read_text().splitlines()
    assert lines[:3] == ["version: 1", "n_points: 68", "{"] and lines[-1] == "}" and len(lines) == 72
    expected = faces[1].to("ibug68").marks_2d[30] + 0.5
    np.testing.assert_allclose([float(v) for v in lines[3 + 30].split()], expected, atol=1e-4)
    assert write_faces(tmp_path / "none.pts", []) == []


def test_other_suffix(tmp_path, faces):
    with pytest.raises(ValueError, match=r"expected a suffix among json, csv, npz, pts, found '.xml'"):
        write_faces(tmp_path / "a.xml", faces)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "expected JSON"),
        ("a.json", "[]", "expected format"),
        ("a.json", '{"format": "facelift-faces", "version": 1}', "found 'facelift-faces' version 1"),
        ("a.json", '{"format": "facelift-faces", "version": 2, "faces": [{}]}', "found none of 'points_2d'"),
        ("a.txt", "", "expected a .json or .npz"),
    ],
)
def test_files_of_something_else(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_faces(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a faces file"):
        read_faces(tmp_path / "none.json")


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("kind", ["json", "csv", "npz", "pts"])
def test_full_disk_leaves_the_old_file(tmp_path, faces, kind, monkeypatch):
    """The disk fills in the middle of writing: the old file stays, no partial one is left, the error names the file."""
    path = tmp_path / f"a.{kind}"
    path.write_text("old")
    monkeypatch.setattr("facelift.atomic.os.replace", full_disk)
    with pytest.raises(OSError, match="No space left") as error:
        write_faces(path, faces)
    assert error.value.filename == str(path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_written_whole_makes_folders_and_ordinary_files(tmp_path):
    target = tmp_path / "new" / "deep" / "a.txt"
    with written_whole(target) as partial:
        assert partial.suffix == ".txt" and partial.parent == target.parent
        partial.write_text("whole")
    assert target.read_text() == "whole" and target.stat().st_mode & 0o444 == 0o444


def test_written_whole_after_an_error(tmp_path):
    with pytest.raises(KeyError), written_whole(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
