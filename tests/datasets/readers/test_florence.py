"""Florence in its released layout, MeshLab's picked points, and the papers' fifteen views."""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facelift.datasets.readers.florence import VIEWS_DEG, Florence
from facelift.datasets.readers.meshes import Mesh
from facelift.datasets.readers.picked_points import read_picked_points
from facelift.datasets.readers.wavefront import write_obj
from facelift.geometry import euler_deg

NOSE = np.array([4.0, -12.0, 95.0])

PICKED = """<!DOCTYPE PickedPoints>
<PickedPoints>
 <DocumentData><DateTime time="10:00:00" date="2011-09-20"/><DataFileName name="scan.obj"/></DocumentData>
 {}
</PickedPoints>
"""


def picked(*points):
    return PICKED.format("\n ".join(f'<point y="{y}" x="{x}" z="{z}" {more}/>' for (x, y, z), more in points))


def write_scan(root, subject, vertices, scan="frontal1", points=None):
    folder = root / subject / "Model" / scan / "obj"
    write_obj(folder / "110920150452.obj", Mesh(vertices, np.array([[0, 1, 2]])))
    if points:
        (folder / "110920150452_picked_points.pp").write_text(points)


@pytest.fixture
def vertices(rng):
    return NOSE + rng.uniform(-120, 120, (300, 3))


@pytest.fixture
def root(tmp_path, vertices):
    write_scan(tmp_path, "subject_01", vertices, points=picked((NOSE, 'name="nose_tip"'), ((0, 0, 0), 'name="chin"')))
    write_scan(tmp_path, "subject_02", vertices + 30)
    write_scan(tmp_path, "subject_03", vertices, scan="frontal2")
    return tmp_path


def test_fifteen_views_of_each_scan(root):
    data = Florence(root)
    assert VIEWS_DEG[0] == (-15, -80) and VIEWS_DEG[-1] == (25, 80) and len(set(VIEWS_DEG)) == 15
    assert len(data) == 30 and data.missing == ["subject_03"]
    assert data[3].face.name == "subject_01/pitch-15_yaw+40" and data[29].face.name == "subject_02/pitch+25_yaw+80"
    assert data[3].face.identity == "subject_01" and data[3].face.attributes == {"pitch": -15.0, "yaw": 40.0}
    for index, (pitch, yaw) in enumerate(VIEWS_DEG):
        np.testing.assert_allclose(euler_deg(data[index].face.rotation), [pitch, yaw, 0], atol=1e-9)


def test_views_turn_about_the_nose_tip(root, vertices):
    """By SciPy: yaw to the image's right, then pitch up, in front of a camera 1 m away; x right, y down."""
    sample = Florence(root)[9]  # pitch 20, yaw 80
    turned = (vertices - NOSE) @ Rotation.from_euler("YX", [80, -20], degrees=True).as_matrix().T
    seen = turned * [1, -1, -1] + [0, 0, 1000]
    expected = 256 + seen[:, :2] / seen[:, 2:] * 512 * 1000 / 300
    np.testing.assert_allclose(sample.vertices_2d(), expected, atol=1e-9)
    np.testing.assert_allclose(sample.face.points, [[256, 256]], atol=1e-9)
    np.testing.assert_array_equal(sample.face.points_3d, [NOSE])
    near = expected[np.linalg.norm(vertices - NOSE, axis=1) <= 95]
    assert 0 < len(near) < len(expected)
    np.testing.assert_allclose(sample.face.box, [*near.min(0), *near.max(0)], atol=1e-9)


def test_without_a_nose_tip_the_view_turns_about_the_mean(root, vertices):
    sample = Florence(root)[15]
    assert sample.face.scheme == "none" and sample.face.points.shape == (0, 2)
    np.testing.assert_allclose(sample.camera.project((vertices + 30).mean(0)[None]), [[256, 256]], atol=1e-9)


def test_scans_that_look_down_are_turned_first(root, vertices):
    upright = Rotation.from_euler("x", -45, degrees=True).as_matrix()
    sample, plain = Florence(root, head_from_scan=upright)[8], Florence(root)[8]  # yaw 40: the turns do not commute
    np.testing.assert_allclose(sample.camera.R, plain.camera.R @ upright, atol=1e-12)
    np.testing.assert_array_equal(sample.face.rotation, plain.face.rotation)


def test_pictures_are_rendered_by_others(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"subject_01/pitch-15_yaw-80\.png: expected a rendered view"):
        _ = Florence(root)[0].face.image
    renders = tmp_path / "renders"
    (renders / "subject_01").mkdir(parents=True)
    cv2.imwrite(str(renders / "subject_01" / "pitch-15_yaw-80.png"), np.full((512, 512, 3), (0, 0, 255), np.uint8))
    cv2.imwrite(str(renders / "subject_01" / "pitch-15_yaw-40.png"), np.zeros((256, 512, 3), np.uint8))
    data = Florence(root, renders=renders)
    assert data[0].face.image[0, 0].tolist() == [255, 0, 0]
    with pytest.raises(ValueError, match=r"expected 512 px square, found \(512, 256\)"):
        _ = data[1].face.image
    with pytest.raises(FileNotFoundError, match=r"pitch-15_yaw\+0\.png: expected a picture"):
        _ = data[2].face.image


def test_missing_parts_are_named(root, vertices):
    assert len(Florence(root, scan="frontal2")) == 15
    with pytest.raises(FileNotFoundError, match=r"subject_NN/Model/sidel/obj/\*\.obj, found none in 3 subjects"):
        Florence(root, scan="sidel")
    with pytest.raises(ValueError, match="scan of Florence: expected one of"):
        Florence(root, scan="front")
    write_obj(root / "subject_02/Model/frontal1/obj/second.obj", Mesh(vertices))
    with pytest.raises(ValueError, match=r"expected one scan, found 2 \.obj"):
        Florence(root)


def test_picked_points(tmp_path):
    path = tmp_path / "a.pp"
    path.write_text(picked(((1, 2, 3), 'active="1" name="0"'), ((4, 5, 6), 'active="0" name="1"'), ((7, 8, 9), "")))
    points = read_picked_points(path)
    assert list(points) == ["0", "2"]
    np.testing.assert_array_equal(list(points.values()), [[1, 2, 3], [7, 8, 9]])
    path.write_text(picked(((1, 2, 3), 'name="a"'), ((4, 5, 6), 'name="a"')))
    assert len(read_picked_points(path)) == 2
    for text, message in (
        ("no xml", "the XML of picked points"),
        ("<PickedPoints/>", "expected picked points, found <PickedPoints>"),
        (picked(((1, 2, "nan"), "")), "numbers x, y, z of point 0"),
        ('<PickedPoints><point x="1" y="2"/></PickedPoints>', "numbers x, y, z of point 0"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a/>', "XML that defines entities"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_picked_points(path)
    with pytest.raises(FileNotFoundError, match=r"b\.pp"):
        read_picked_points(tmp_path / "b.pp")


def test_which_point_is_the_nose_tip(root):
    path = root / "subject_02/Model/frontal1/obj/110920150452_picked_points.pp"
    path.write_text(picked(((1, 2, 3), 'name="x"')))
    np.testing.assert_array_equal(Florence(root)[15].face.points_3d, [[1, 2, 3]])
    path.write_text(picked(((1, 2, 3), 'name="x"'), ((1, 2, 4), 'name="y"')))
    with pytest.raises(ValueError, match="a point named nose_tip, or one point, found x, y"):
        Florence(root)[15]
