"""AFLW in its released SQLite tables: points that are missing, faces that cannot be used, and signs of angles."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from facelift.datasets.readers.aflw import AFLW
from facelift.landmarks import AFLW21

TABLES = """
CREATE TABLE Faces (face_id INTEGER PRIMARY KEY, file_id TEXT, db_id TEXT);
CREATE TABLE FaceImages (image_id INTEGER PRIMARY KEY, db_id TEXT, file_id TEXT, filepath TEXT, bw INTEGER,
                         width INTEGER, height INTEGER);
CREATE TABLE FaceRect (face_id INTEGER, x INTEGER, y INTEGER, w INTEGER, h INTEGER, annot_type_id INTEGER);
CREATE TABLE FacePose (face_id INTEGER, roll REAL, pitch REAL, yaw REAL, annot_type_id INTEGER);
CREATE TABLE FeatureCoords (face_id INTEGER, feature_id INTEGER, x REAL, y REAL, annot_type_id INTEGER);
"""


def fill(database, table, *rows):
    with closing(sqlite3.connect(database)) as connection, connection:
        for row in rows:
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)


@pytest.fixture
def root(tmp_path, spots):
    data = tmp_path / "AFLW" / "data"
    spots[0](data / "flickr" / "0" / "image00002.jpg", 30, 40)
    spots[0](data / "flickr" / "3" / "image65000.jpg", 70, 50)
    database = data / "aflw.sqlite"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(TABLES)
    images = [("image00002.jpg", "0/image00002.jpg"), ("image65000.jpg", "3/image65000.jpg")]
    fill(
        database,
        "FaceImages",
        *((i, "flickr", file, path, 0, 128, 96) for i, (file, path) in enumerate(images, start=1)),
    )
    faces = {39341: 0, 39342: 0, 65384: 1, 65385: 1, 65386: 1}
    fill(database, "Faces", *((face, images[i][0], "flickr") for face, i in faces.items()))
    rects = {39341: (20, 30, 21, 21), 39342: (-5, -6, 30, 30), 65384: (60, 40, 20, 20), 65385: (1, 1, 9, 9)}
    fill(database, "FaceRect", *((face, *rect, 1) for face, rect in rects.items()))
    fill(database, "FacePose", (39341, 0.1, -0.2, 0.6, 1), (65384, 0.3, 0.0, -1.2, 1))
    # Face 65385 has no point, 65386 no box.
    points = [
        (39341, 15, 30.0, 40.0),
        (39341, 1, 22.25, 33.0),
        (39341, 21, 31.0, 50.0),
        (39342, 7, 3.0, 4.0),
        (39342, 8, -1, -1),
        (65384, 15, 70.0, 50.0),
        (65386, 15, 9.0, 9.0),
    ]
    fill(database, "FeatureCoords", *((*point, 1) for point in points))
    return tmp_path / "AFLW"


def test_points_lie_on_what_the_picture_shows(root, spots):
    data = AFLW(root)
    for index in (0, 2):
        np.testing.assert_allclose(data[index].points[14], spots[1](data[index].image), atol=0.1)


def test_feature_ids_are_the_order_of_the_scheme(root):
    face = AFLW(root)[0]
    assert face.scheme == "aflw21" and face.points.shape == (21, 2)
    np.testing.assert_allclose(face.points[[0, 14, 20]], [[22.75, 33.5], [30.5, 40.5], [31.5, 50.5]])
    assert np.flatnonzero(np.isfinite(face.points[:, 0])).tolist() == [0, 14, 20]
    assert {0} <= set(AFLW21.regions["brows"]) and 14 in AFLW21.regions["nose"] and 20 in AFLW21.regions["contours"]


def test_unlabelled_points_have_no_place_and_no_state(root):
    face = AFLW(root)[1]
    assert np.isnan(face.points[7]).all() and face.points[6].tolist() == [3.5, 4.5]
    assert face.state[[6, 7, 8]].tolist() == [0, -1, -1]
    assert face.box.tolist() == [-5, -6, 25, 24] and dict(face.attributes) == {}


def test_angles_are_in_degrees_with_the_signs_of_aflw2000(root):
    angles = AFLW(root)[0].attributes
    assert angles == pytest.approx({"yaw": np.degrees(0.6), "pitch": np.degrees(-0.2), "roll": np.degrees(-0.1)})


def test_names_photos_and_faces_left_out(root):
    data = AFLW(root)
    assert [data[i].name for i in range(len(data))] == ["image00002/39341", "image00002/39342", "image65000/65384"]
    assert [data[i].identity for i in range(3)] == ["image00002", "image00002", "image65000"]
    assert data.skipped == 2


def test_a_second_box_of_a_face_makes_no_second_face(root):
    fill(root / "data" / "aflw.sqlite", "FaceRect", (39341, 0, 0, 50, 50, 2))
    assert len(AFLW(root)) == 3


def test_missing_and_broken_parts_are_named(root):
    fill(root / "data" / "aflw.sqlite", "FeatureCoords", (39341, 22, 1.0, 1.0, 1))
    with pytest.raises(ValueError, match=r"aflw\.sqlite: expected feature_id 1-21 .*found 22 \(face 39341\)"):
        AFLW(root)
    with closing(sqlite3.connect(root / "data" / "aflw.sqlite")) as connection, connection:
        connection.execute("DELETE FROM FeatureCoords WHERE feature_id = 22")
    (root / "data/flickr/3/image65000.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"3.image65000\.jpg: expected every photo.*found 1 of 2"):
        AFLW(root)
    with closing(sqlite3.connect(root / "data" / "aflw.sqlite")) as connection, connection:
        connection.execute("DROP TABLE FacePose")
    with pytest.raises(ValueError, match=r"aflw\.sqlite: expected AFLW's SQLite tables, found: no such table"):
        AFLW(root)
    (root / "data/aflw.sqlite").write_text("no database, but longer than its header of a hundred bytes " * 3)
    with pytest.raises(ValueError, match=r"aflw\.sqlite: expected AFLW's SQLite tables, found: file is not a database"):
        AFLW(root)
    (root / "data/aflw.sqlite").unlink()
    with pytest.raises(FileNotFoundError, match=r"aflw\.sqlite: expected AFLW's database, found nothing"):
        AFLW(root)
