"""Mesh files read back by plain parsers written here, and by trimesh, which others use."""

import io
import json
import struct

import numpy as np
import pytest
import trimesh
from PIL import Image

from facelift.meshes import ColouredMesh, write_glb, write_obj, write_ply, y_up
from facelift.meshes.glb import linear_colours

WRITERS = {".obj": write_obj, ".ply": write_ply, ".glb": write_glb}


@pytest.fixture
def mesh(rng) -> ColouredMesh:
    """Forty random points in random triangles, with everything that a file can carry."""
    return ColouredMesh(
        vertices=rng.normal(0, 100, (40, 3)).astype(np.float32),
        faces=np.stack([rng.permutation(40)[:3] for _ in range(60)]).astype(np.int32),
        uv=rng.random((40, 2)).astype(np.float32),
        texture=rng.integers(0, 256, (8, 12, 3), dtype=np.uint8),
        colours=rng.integers(0, 256, (40, 3), dtype=np.uint8),
    )


def without(mesh: ColouredMesh, *names: str) -> ColouredMesh:
    return ColouredMesh(**{**vars(mesh), **dict.fromkeys(names)})


def by_trimesh(path) -> trimesh.Trimesh:
    """As it stands in the file: no vertex merged, none moved."""
    return trimesh.load(path, process=False, maintain_order=True, force="mesh")


def parse_obj(path) -> dict[str, np.ndarray]:
    rows = [line.split() for line in path.read_text().splitlines() if line and line[0] in "vf"]
    of = lambda key: [row[1:] for row in rows if row[0] == key]  # noqa: E731
    corners = [[[int(i) for i in corner.split("/")] for corner in face] for face in of("f")]
    return {"v": np.array(of("v"), float), "vt": np.array(of("vt"), float), "f": np.array(corners)}


def parse_ply(path) -> tuple[np.ndarray, np.ndarray]:
    header, data = path.read_bytes().split(b"end_header\n", 1)
    lines = header.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    count, faces = (int(next(line for line in lines if name in line).split()[-1]) for name in ("vertex ", "face "))
    types = {"float": "<f4", "uchar": "u1"}
    fields = [
        (name, types[kind])
        for _, kind, name in (w.split() for w in lines if w.startswith("property ") and "list" not in w)
    ]
    vertices = np.frombuffer(data, np.dtype(fields), count)
    rest = np.frombuffer(data, np.dtype([("n", "u1"), ("i", "<i4", 3)]), faces, offset=vertices.nbytes)
    assert vertices.nbytes + rest.nbytes == len(data) and (rest["n"] == 3).all()
    return vertices, rest["i"]


def parse_glb(path) -> tuple[dict, list[np.ndarray], bytes]:
    """(JSON, arrays of the accessors, binary chunk); checks the lengths and alignments that the format asks for."""
    data = path.read_bytes()
    magic, version, length, json_length, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    about = json.loads(data[20 : 20 + json_length])
    binary_length, kind = struct.unpack_from("<I4s", data, 20 + json_length)
    binary = data[28 + json_length :]
    assert kind == b"BIN\0" and len(binary) == binary_length == about["buffers"][0]["byteLength"]
    assert json_length % 4 == binary_length % 4 == 0
    arrays = []
    for accessor in about["accessors"]:
        view = about["bufferViews"][accessor["bufferView"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        kind = {5126: "<f4", 5123: "<u2", 5125: "<u4"}[accessor["componentType"]]
        values = np.frombuffer(binary, kind, accessor["count"] * width, view["byteOffset"])
        assert view["byteOffset"] % 4 == 0 and values.nbytes == view["byteLength"]
        arrays.append(values.reshape(-1, width))
    return about, arrays, binary


def srgb(linear: np.ndarray) -> np.ndarray:
    """0..1 -> bytes."""
    return np.rint(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def test_obj_has_the_same_numbers_and_its_picture(mesh, tmp_path):
    write_obj(tmp_path / "deep" / "face.obj", mesh)
    found = parse_obj(tmp_path / "deep" / "face.obj")
    np.testing.assert_array_equal(found["v"][:, :3].astype(np.float32), mesh.vertices)
    np.testing.assert_array_equal(np.rint(255 * found["v"][:, 3:]), mesh.colours)
    np.testing.assert_array_equal(found["vt"].astype(np.float32), mesh.uv)
    np.testing.assert_array_equal(found["f"], np.stack([mesh.faces + 1] * 2, -1))
    text = (tmp_path / "deep" / "face.obj").read_text()
    assert "mtllib face.mtl\nusemtl face\n" in text
    assert (
        "newmtl face\n" in (material := (tmp_path / "deep" / "face.mtl").read_text()) and "map_Kd face.png" in material
    )
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "deep" / "face.png")), mesh.texture)


def test_trimesh_reads_the_obj_with_its_texture_and_without(mesh, tmp_path):
    write_obj(tmp_path / "a.obj", without(mesh, "colours"))
    read = by_trimesh(tmp_path / "a.obj")
    np.testing.assert_array_equal(read.vertices[read.faces].astype(np.float32), mesh.vertices[mesh.faces])
    np.testing.assert_array_equal(read.visual.uv[read.faces].astype(np.float32), mesh.uv[mesh.faces])
    np.testing.assert_array_equal(np.asarray(read.visual.material.image.convert("RGB")), mesh.texture)
    write_obj(tmp_path / "b.obj", without(mesh, "uv", "texture"))
    read = by_trimesh(tmp_path / "b.obj")
    np.testing.assert_array_equal(read.faces, mesh.faces)
    np.testing.assert_array_equal(read.visual.vertex_colors[:, :3], mesh.colours)


def test_ply_has_positions_colours_and_faces(mesh, tmp_path):
    write_ply(tmp_path / "a.ply", mesh)
    vertices, faces = parse_ply(tmp_path / "a.ply")
    np.testing.assert_array_equal(np.stack([vertices[k] for k in "xyz"], -1), mesh.vertices)
    np.testing.assert_array_equal(np.stack([vertices[k] for k in ("red", "green", "blue")], -1), mesh.colours)
    np.testing.assert_array_equal(faces, mesh.faces)
    read = by_trimesh(tmp_path / "a.ply")
    np.testing.assert_array_equal(read.vertices.astype(np.float32), mesh.vertices)
    np.testing.assert_array_equal(read.faces, mesh.faces)
    np.testing.assert_array_equal(read.visual.vertex_colors[:, :3], mesh.colours)
    write_ply(tmp_path / "b.ply", without(mesh, "colours"))
    assert parse_ply(tmp_path / "b.ply")[0].dtype.names == ("x", "y", "z")


def test_glb_with_a_texture(mesh, tmp_path):
    write_glb(tmp_path / "a.glb", mesh)
    about, arrays, binary = parse_glb(tmp_path / "a.glb")
    primitive = about["meshes"][0]["primitives"][0]
    assert primitive["mode"] == 4 and set(primitive["attributes"]) == {"POSITION", "TEXCOORD_0"}
    position = primitive["attributes"]["POSITION"]
    np.testing.assert_array_equal(arrays[position], mesh.vertices)
    assert about["accessors"][position]["min"] == mesh.vertices.min(0).tolist()
    assert about["accessors"][position]["max"] == mesh.vertices.max(0).tolist()
    np.testing.assert_allclose(arrays[primitive["attributes"]["TEXCOORD_0"]], mesh.uv * [1, -1] + [0, 1], atol=1e-7)
    np.testing.assert_array_equal(arrays[primitive["indices"]].reshape(-1, 3), mesh.faces)
    view = about["bufferViews"][about["images"][0]["bufferView"]]
    picture = binary[view["byteOffset"] :][: view["byteLength"]]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picture))), mesh.texture)
    read = by_trimesh(tmp_path / "a.glb")
    np.testing.assert_array_equal(read.vertices.astype(np.float32), mesh.vertices)
    np.testing.assert_array_equal(read.faces, mesh.faces)
    np.testing.assert_allclose(read.visual.uv, mesh.uv, atol=1e-6)  # trimesh turns v up
    np.testing.assert_array_equal(np.asarray(read.visual.material.baseColorTexture.convert("RGB")), mesh.texture)


def test_glb_is_aligned_whatever_the_length_of_its_picture(mesh, tmp_path, rng):
    lengths = set()
    for width in range(1, 12):
        texture = rng.integers(0, 256, (8, width, 3), dtype=np.uint8)
        write_glb(tmp_path / "a.glb", ColouredMesh(mesh.vertices, mesh.faces, mesh.uv, texture))
        about, _, _ = parse_glb(tmp_path / "a.glb")
        lengths.add(about["bufferViews"][about["images"][0]["bufferView"]]["byteLength"] % 4)
    assert len(lengths) > 1


def test_glb_with_colours_keeps_every_byte_through_linear_light(mesh, tmp_path):
    write_glb(tmp_path / "a.glb", without(mesh, "uv", "texture"))
    about, arrays, _ = parse_glb(tmp_path / "a.glb")
    entry = about["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]
    assert about["accessors"][entry]["normalized"] and "images" not in about
    np.testing.assert_array_equal(srgb(arrays[entry][:, :3] / 65535), mesh.colours)
    assert (arrays[entry][:, 3] == 65535).all()
    (read,) = trimesh.load(tmp_path / "a.glb", process=False, force="scene").geometry.values()
    np.testing.assert_array_equal(read.visual.vertex_attributes["color"], linear_colours(mesh.colours))
    grey = linear_colours(np.array([[0, 255, 188]], np.uint8))  # 188 is half of the light
    assert grey[0, :2].tolist() == [0, 65535] and grey[0, 2] / 65535 == pytest.approx(0.5028865, abs=1e-5)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_mesh_without_faces_is_points(mesh, tmp_path, suffix):
    points = ColouredMesh(mesh.vertices, np.zeros((0, 3), np.int32), colours=mesh.colours)
    path = tmp_path / f"points{suffix}"
    WRITERS[suffix](path, points)
    if suffix == ".obj":
        found = parse_obj(path)["v"][:, :3]
    elif suffix == ".ply":
        found = np.stack([parse_ply(path)[0][k] for k in "xyz"], -1)
    else:
        about, arrays, _ = parse_glb(path)
        found = arrays[0]
        assert about["meshes"][0]["primitives"][0]["mode"] == 0
    np.testing.assert_array_equal(found.astype(np.float32), mesh.vertices)


@pytest.mark.parametrize("suffix", WRITERS)
def test_nothing_is_left_of_a_file_that_fails(mesh, tmp_path, suffix, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match=f"No space left on device: .*a.{'png' if suffix == '.obj' else suffix[1:]}"):
        WRITERS[suffix](tmp_path / f"a{suffix}", mesh)
    assert not list(tmp_path.iterdir())


def test_the_picture_and_the_material_are_there_before_the_obj(mesh, tmp_path, monkeypatch):
    import os

    order, replace = [], os.replace
    monkeypatch.setattr("os.replace", lambda a, b: (order.append(b.suffix), replace(a, b)))
    write_obj(tmp_path / "a.obj", mesh)
    assert order == [".png", ".mtl", ".obj"]


def test_double_precision_survives_in_obj(tmp_path, rng):
    vertices = rng.normal(size=(5, 3)) * 10.0 ** rng.integers(-9, 9, (5, 3))
    write_obj(tmp_path / "a.obj", ColouredMesh(vertices, np.array([[0, 1, 2]])))
    np.testing.assert_array_equal(parse_obj(tmp_path / "a.obj")["v"], vertices)


def test_y_up_is_half_a_turn_and_keeps_the_fronts():
    turned = y_up(np.array([[1.0, 2.0, 3.0]]))
    assert turned.tolist() == [[1, -2, -3]]
    assert np.linalg.det(y_up(np.eye(3))) == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vertices": np.zeros((0, 3))}, "expected vertices, found none"),
        ({"vertices": np.full((40, 3), np.nan)}, "expected finite vertices, found 120"),
        ({"uv": np.full((40, 2), np.inf)}, "expected finite uv"),
        ({"faces": np.array([[0, 1, 40]])}, r"vertices 0\.\.39, found 0\.\.40"),
        ({"faces": np.array([[0, -1, 4]])}, r"found -1\.\.4"),
        ({"uv": None}, "expected uv with a texture"),
        ({"uv": np.zeros((39, 2))}, "expected uv of 40 vertices, found 39"),
        ({"colours": np.zeros((41, 3), np.uint8)}, "expected colours of 40 vertices, found 41"),
    ],
)
def test_what_is_wrong_is_named(mesh, changes, message):
    with pytest.raises(ValueError, match=message):
        ColouredMesh(**{**vars(mesh), **changes})
