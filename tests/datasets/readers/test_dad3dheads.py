"""DAD-3DHeads in its released layout: OpenGL matrices with the viewport inside, y counted from below."""

import json

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facelift.datasets.readers.dad3dheads import ATTRIBUTES, DAD3DHeads
from facelift.datasets.sample import UNKNOWN
from facelift.geometry import euler_deg

WIDTH, HEIGHT = 90, 60
GIVEN = {
    "quality": "hq",
    "gender": "undefined",
    "expression": True,
    "age": "middle_aged",
    "occlusions": "False",
    "pose": "sided",
    "standard light": False,
}


def projection():
    """An OpenGL frustum (off its axis, skewed, unequal focal lengths) followed by the viewport: pixels from below."""
    frustum = np.array([[4.0, 0.3, 0.2, 0], [-0.2, 5.0, -0.1, 0], [0, 0, -1.02, -2.02], [0, 0, -1, 0]])
    viewport = np.array([[WIDTH / 2, 0, 0, WIDTH / 2], [0, HEIGHT / 2, 0, HEIGHT / 2], [0, 0, 0.5, 0.5], [0, 0, 0, 1]])
    return viewport @ frustum


def model_view(pitch_deg=0.0, yaw_deg=0.0):
    view = np.eye(4)
    view[:3, :3] = Rotation.from_euler("YX", [yaw_deg, pitch_deg], degrees=True).as_matrix()
    view[:3, 3] = [0.1, -0.05, -3.0]
    return view


def write_item(folder, name, rng, **change):
    annotation = {
        "vertices": rng.uniform(-0.2, 0.2, (5023, 3)).tolist(),
        "model_view_matrix": model_view(pitch_deg=-12, yaw_deg=31).tolist(),
        "projection_matrix": projection().tolist(),
    } | change
    for part in ("images", "annotations"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "annotations" / f"{name}.json").write_text(json.dumps(annotation))
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[5:9, 20:30] = (0, 0, 255)  # BGR: red
    cv2.imwrite(str(folder / "images" / f"{name}.png"), picture)
    return annotation


def write_split(root, items, split="val"):
    folder = root / "DAD-3DHeadsDataset" / split
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}.json").write_text(json.dumps(items))
    return folder


def item(name, **more):
    paths = {"annotation_path": f"val/annotations/{name}.json", "img_path": f"val/images/{name}.png"}
    return {"item_id": name, "bbox": [10, 5, 40, 50]} | paths | more


@pytest.fixture
def root(tmp_path, rng):
    folder = write_split(tmp_path, [item("a1", attributes=GIVEN), item("b2")])
    for name in ("a1", "b2"):
        write_item(folder, name, rng)
    return tmp_path


def test_vertices_project_as_the_release_draws_them(root):
    sample = DAD3DHeads(root)[0]
    loaded = json.loads((root / "DAD-3DHeadsDataset/val/annotations/a1.json").read_text())
    v = np.column_stack([loaded["vertices"], np.ones(5023)])
    p = v @ np.array(loaded["model_view_matrix"]).T @ np.array(loaded["projection_matrix"]).T
    expected = np.stack([p[:, 0] / p[:, 3], HEIGHT - p[:, 1] / p[:, 3]], axis=-1)
    np.testing.assert_allclose(sample.vertices_2d(), expected, atol=1e-9)
    np.testing.assert_allclose(sample.face.points, expected, atol=1e-9)
    assert sample.face.scheme == "flame5023" and (sample.face.state == UNKNOWN).all()
    assert sample.mesh.unit == "unknown" and sample.mesh.faces is None


def test_a_vertex_lands_where_opengl_would_put_it(tmp_path, rng):
    """By hand: looking along -z, a vertex up and to the right is in the picture's upper right."""
    vertices = np.zeros((5023, 3))
    vertices[1] = [0.3, 0.2, 0.0]
    folder = write_split(tmp_path, [item("a")])
    view, plain = np.eye(4), np.diag([100.0, 100.0, 1.0, 0.0])
    view[2, 3], plain[3, 2] = -2.0, -1.0
    plain[0, 2], plain[1, 2] = -45.0, -30.0
    write_item(
        folder, "a", rng, vertices=vertices.tolist(), model_view_matrix=view.tolist(), projection_matrix=plain.tolist()
    )
    points = DAD3DHeads(tmp_path)[0].vertices_2d()
    np.testing.assert_allclose(points[0], [45, HEIGHT - 30])
    np.testing.assert_allclose(points[1], [45 + 100 * 0.3 / 2, HEIGHT - 30 - 100 * 0.2 / 2])


def test_rotation_is_that_of_the_pose_error(root, tmp_path, rng):
    view = model_view(pitch_deg=-12, yaw_deg=31)
    sample = DAD3DHeads(root)[0]
    np.testing.assert_allclose(sample.face.rotation, np.diag([1, -1, -1]) @ view[:3, :3], atol=1e-12)
    # about OpenGL's axes: +y turns the nose to the image's right, -x lifts it
    np.testing.assert_allclose(euler_deg(sample.face.rotation), [12, 31, 0], atol=1e-9)


def test_box_attributes_and_picture(root):
    data = DAD3DHeads(root)
    assert (len(data), data.name) == (2, "dad3dheads_val")
    face = data[0].face
    np.testing.assert_array_equal(face.box, [10, 5, 50, 55])
    assert face.attributes.keys() == ATTRIBUTES.keys()
    assert all(face.attributes[key] in values for key, values in ATTRIBUTES.items())
    assert face.attributes["expression"] == "true" and face.attributes["occlusions"] == "false"
    assert data[1].face.attributes == {} and data.unlabelled == dict.fromkeys(ATTRIBUTES, 1)
    assert face.image.shape == (HEIGHT, WIDTH, 3) and face.image[6, 25].tolist() == [255, 0, 0]


def test_landmarks_are_a_choice_of_vertices(root):
    chosen = np.array([7, 4000, 12])
    face = DAD3DHeads(root, landmarks=chosen, scheme="mine")[0].face
    everything = DAD3DHeads(root)[0]
    assert face.scheme == "mine"
    np.testing.assert_array_equal(face.points, everything.face.points[chosen])
    np.testing.assert_array_equal(face.points_3d, everything.mesh.vertices[chosen])


def test_landmarks_may_be_weights_of_vertices(root):
    """As the set's own 68: inside of triangles."""
    weights = np.zeros((1, 5023))
    weights[0, [30, 31, 4000]] = 0.2, 0.7, 0.1
    sample = DAD3DHeads(root, landmarks=weights, scheme="mine")[0]
    v = sample.mesh.vertices
    point = 0.2 * v[30] + 0.7 * v[31] + 0.1 * v[4000]
    np.testing.assert_allclose(sample.face.points_3d, [point], atol=1e-12)
    np.testing.assert_allclose(sample.face.points, sample.camera.project(point[None]), atol=1e-9)
    with pytest.raises(ValueError, match="expected weights of 5023 vertices"):
        DAD3DHeads(root, landmarks=weights[:, 1:])[0]


def test_spellings_of_one_category_are_one(tmp_path, rng):
    given = {"age": "Middle Aged", "standard_light": "True", "occlusions": None, "annotator": 7}
    write_item(write_split(tmp_path, [item("a", attributes=given)]), "a", rng)
    data = DAD3DHeads(tmp_path)
    assert data[0].face.attributes == {"age": "middle_aged", "standard light": "true"}
    assert data.unlabelled["occlusions"] == 1 and data.unlabelled["age"] == 0


def test_missing_files_are_named(root):
    with pytest.raises(FileNotFoundError, match="the split 'train'"):
        DAD3DHeads(root, "train")
    with pytest.raises(ValueError, match="expected one of"):
        DAD3DHeads(root, "dev")
    (root / "DAD-3DHeadsDataset/val/annotations/b2.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"annotation of every item, found 1 of 2 files; missing: .*b2\.json"):
        DAD3DHeads(root)


def test_test_split_comes_without_annotations(root):
    folder = write_split(root, [item("a1")], "test")
    (folder / "images").mkdir()
    (folder / "images/a1.png").write_bytes((root / "DAD-3DHeadsDataset/val/images/a1.png").read_bytes())
    with pytest.raises(FileNotFoundError, match="released without, use val"):
        DAD3DHeads(root, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": [[0, 0, 0]]}, r"vertices of shape \(5023, 3\), found \(1, 3\)"),
        ({"vertices": "none"}, "vertices"),
        ({"vertices": [[0, 0, float("nan")]] * 5023}, "vertices of finite numbers, found 5023 that are not"),
        ({"projection_matrix": [[float("inf")] * 4] * 4}, "projection_matrix of finite numbers"),
        ({"model_view_matrix": model_view().T.tolist()}, "by rows, its last 0 0 0 1"),
        ({"model_view_matrix": np.diag([2.0, 2, 2, 1]).tolist()}, "a rotation in model_view_matrix"),
        ({"model_view_matrix": np.diag([1.0, 1, -1, 1]).tolist()}, "a rotation in model_view_matrix"),
        ({"projection_matrix": np.eye(4).tolist()}, "perspective projection_matrix"),
        ({"projection_matrix": projection().T.tolist()}, "perspective projection_matrix"),
    ],
)
def test_annotations_that_are_not_the_format_are_refused(tmp_path, rng, change, message):
    folder = write_split(tmp_path, [item("a")])
    write_item(folder, "a", rng, **change)
    with pytest.raises(ValueError, match=message) as error:
        DAD3DHeads(tmp_path)[0]
    assert "a.json" in str(error.value)


def test_annotations_without_keys_are_refused(tmp_path, rng):
    folder = write_split(tmp_path, [item("a")])
    write_item(folder, "a", rng)
    for text, message in (("[1, [2]]", "with keys, found list"), ("{}", "expected 'vertices', found"), ("{", "JSON")):
        (folder / "annotations" / "a.json").write_text(text)
        with pytest.raises(ValueError, match=rf"a\.json: .*{message}"):
            DAD3DHeads(tmp_path)[0]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"a": 1}, "a list of items, found dict"),
        ([{"item_id": "a"}], "item_id and bbox in item 0"),
        ([item("a", bbox=[1, 2, 0, 4])], "with w, h > 0"),
        ([item("a", bbox=None)], r"bbox \[x, y, w, h\] of a"),
        ([item("a", bbox=[float("nan"), 2, 3, 4])], r"bbox \[x, y, w, h\] of a"),
        ([item(7)], "item_id of item 0 as text, found 7"),
        ([item("a", attributes={"pose": "left"})], r"val\.json: expected pose of a in .*'atypical'.*, found 'left'"),
        ([item("a", attributes=["hq"])], "attributes of a by name, found list"),
        ([item("a"), item("a")], "a twice"),
    ],
)
def test_lists_that_are_not_the_format_are_refused(tmp_path, items, message):
    write_split(tmp_path, items)
    with pytest.raises(ValueError, match=message):
        DAD3DHeads(tmp_path)
