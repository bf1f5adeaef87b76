"""Wavefront files: every form of a face, exact round trip, and errors that name the line."""

import numpy as np
import pytest

from facelift.datasets.readers.meshes import Mesh
from facelift.datasets.readers.wavefront import read_obj, write_obj

FORMS = """# a comment
mtllib scan.mtl
o head
v 0 0 0
v 1.5 0 0   # behind a statement
vt 0.1 0.2
vn 0 0 1
v 1 1 0 0.2 0.3 0.4
v 0 1 0 1.0
usemtl skin
s off
f 1 2 3
f 1/1 2/1 3/1 4/1
f 2//1 3//1 4//1
f -4/1/1 -3/1/1 -1/1/1
v 2 2 2 0.1 0.1 0.1 1
f 5 1 2 3 4
"""


def written(tmp_path, text):
    path = tmp_path / "mesh.obj"
    path.write_text(text)
    return path


def test_every_form_of_vertex_and_face(tmp_path):
    mesh = read_obj(written(tmp_path, FORMS), unit="m")
    assert mesh.vertices.tolist() == [[0, 0, 0], [1.5, 0, 0], [1, 1, 0], [0, 1, 0], [2, 2, 2]]
    assert mesh.faces.tolist() == [
        [0, 1, 2],
        *([0, 1, 2], [0, 2, 3]),
        [1, 2, 3],
        [0, 1, 3],  # negative: from the fourth vertex, the last known there, although a fifth follows
        *([4, 0, 1], [4, 1, 2], [4, 2, 3]),
    ]
    assert mesh.unit == "m"


def test_round_trip_is_exact_to_the_last_bit(tmp_path, rng):
    mesh = Mesh(rng.normal(size=(50, 3)) * 10.0 ** rng.integers(-9, 9, (50, 3)), rng.integers(0, 50, (80, 3)))
    write_obj(tmp_path / "deep" / "mesh.obj", mesh)
    again = read_obj(tmp_path / "deep" / "mesh.obj")
    assert (again.vertices == mesh.vertices).all() and (again.faces == mesh.faces).all()


def test_a_cloud_of_points_has_no_faces(tmp_path):
    write_obj(tmp_path / "cloud.obj", Mesh(np.eye(3)))
    assert read_obj(tmp_path / "cloud.obj").faces is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 1 2\n", "line 1: expected v with 3 numbers.*found 2"),
        ("v 0 0 0\nv 1 two 3\n", "line 2: expected numbers.*two"),
        ("v 0 0 nan\n", "line 1: expected finite"),
        ("v 0 0 0\nf 1 1\n", "line 2: expected a face of at least 3 corners, found 2"),
        ("v 0 0 0\nf 0 1 1\n", "line 2: expected a corner.*found '0'"),
        ("v 0 0 0\nf 1/ /1 1\n", "line 2: expected a corner.*found '/1'"),
        ("v 0 0 0\nf 1.5 1 1\n", "line 2: expected a corner"),
        ("v 0 0 0\nf -2 -1 -1\n", "line 2: expected at most 1 vertices back"),
        ("v 0 0 0\nf 1 1 2\n", "faces of its 1 vertices, found vertex 2"),
        ("curv 0 1 2\n", "line 1: expected a statement.*'curv'"),
        ("# nothing\n", "expected vertices"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        read_obj(path)
    assert str(path) in str(error.value)


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a Wavefront"):
        read_obj(tmp_path / "none.obj")
    (tmp_path / "bytes.obj").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=r"bytes\.obj, line 1"):
        read_obj(tmp_path / "bytes.obj")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vertices": np.array([[0, np.inf, 0]])}, "finite vertices, found 1 of 1"),
        ({"vertices": np.zeros((3, 3)), "faces": np.array([[0, 1, 3]])}, "faces in 0..2, found 0..3"),
        ({"vertices": np.zeros((3, 3)), "landmarks": np.array([-1])}, "landmarks in 0..2, found -1..-1"),
    ],
)
def test_a_mesh_refuses_what_is_outside_of_it(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mesh(**arguments)
