"""WFLW in its released layout: 207 fields a line, six subsets, several faces in one picture."""

import numpy as np
import pytest

from facelift.datasets.readers.wflw import SUBSETS, WFLW

PICTURES = ("37--Soccer/37_Soccer_soccer_ball_37_45.jpg", "0--Parade/0_Parade_marchingband_1_116.jpg")
LIST = "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{}.txt"


def line(x, y, flags, picture):
    points = np.stack([np.linspace(-9, 9, 98), np.linspace(-6, 6, 98)], -1)
    points[54] = 0
    numbers = [f"{value:.6f}" for value in (points + np.array([x, y])).ravel()]
    box = [str(value) for value in (x - 10, y - 7, x + 10, y + 8)]
    return " ".join([*numbers, *box, *map(str, flags), picture])


@pytest.fixture
def root(tmp_path, spots):
    spots[0](tmp_path / "WFLW_images" / PICTURES[0], 30, 40)
    spots[0](tmp_path / "WFLW_images" / PICTURES[1], 70, 50)
    lines = [
        line(30, 40, (1, 0, 0, 0, 1, 0), PICTURES[0]),
        line(70, 50, (0, 0, 0, 1, 0, 0), PICTURES[1]),
        line(33, 42, (1, 1, 0, 0, 0, 1), PICTURES[0]),
    ]
    path = tmp_path / LIST.format("test")
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")
    (tmp_path / LIST.format("train")).write_text(lines[1] + "\n")
    return tmp_path


def test_points_lie_on_what_the_picture_shows(root, spots):
    data = WFLW(root)
    for index in range(2):
        np.testing.assert_allclose(data[index].points[54], spots[1](data[index].image), atol=0.1)
    face = data[0]
    np.testing.assert_allclose(face.points[[0, 97]], [[21.5, 34.5], [39.5, 46.5]], atol=1e-5)
    assert face.box.tolist() == [20, 33, 40, 48] and face.scheme == "wflw98" and (face.state == -1).all()


def test_every_face_of_a_picture_has_a_name_and_one_identity(root):
    data = WFLW(root)
    assert [data[i].name for i in range(3)] == [f"{PICTURES[0]}#0", f"{PICTURES[1]}#0", f"{PICTURES[0]}#1"]
    assert data[0].identity == data[2].identity == PICTURES[0] != data[1].identity


def test_subsets_are_the_attributes(root):
    found = {subset: [] for subset in SUBSETS}
    for subset in ("pose", "expression", "makeup", "occlusion", "blur"):
        data = WFLW(root, subset=subset)
        assert data.name == f"wflw_test_{subset}"
        found[subset] = [data[i].name.rpartition("/")[2][:2] + data[i].name[-1] for i in range(len(data))]
    assert found["pose"] == ["370", "371"] and found["occlusion"] == ["370"] and found["makeup"] == ["0_0"]
    assert found["expression"] == found["blur"] == ["371"]
    assert WFLW(root)[2].attributes == {
        **dict.fromkeys(("pose", "expression", "blur"), "yes"),
        **dict.fromkeys(("illumination", "makeup", "occlusion"), "no"),
    }
    with pytest.raises(ValueError, match="expected faces of illumination, found none"):
        WFLW(root, subset="illumination")
    with pytest.raises(ValueError, match=r"subset of WFLW: expected one of .*found 'largepose'"):
        WFLW(root, subset="largepose")


def test_splits(root):
    assert len(WFLW(root, "train")) == 1 and WFLW(root, "train").name == "wflw_train"
    with pytest.raises(ValueError, match="split of WFLW"):
        WFLW(root, "val")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: fields[1:], r"expected 207 fields in line 2, found 206"),
        (lambda fields: ["x", *fields[1:]], r"line 2: expected 206 numbers and a path"),
        (lambda fields: ["nan", *fields[1:]], r"line 2: expected finite numbers"),
        (lambda fields: [*fields[:198], "0", "0", *fields[200:]], r"line 2: expected a box x0 < x1"),
        (lambda fields: [*fields[:205], "2", fields[206]], r"line 2: expected attributes 0 or 1"),
    ],
)
def test_lines_that_are_not_the_format_are_refused(root, change, message):
    path = root / LIST.format("test")
    lines = path.read_text().splitlines()
    lines[1] = " ".join(change(lines[1].split()))
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"rect_attr_test\.txt.*" + message):
        WFLW(root)


def test_missing_parts_are_named(root):
    (root / "WFLW_images" / PICTURES[1]).unlink()
    with pytest.raises(FileNotFoundError, match=r"116\.jpg: expected every picture of the list, found 1 of 2"):
        WFLW(root)
    assert len(WFLW(root, subset="pose")) == 2
    (root / LIST.format("test")).unlink()
    with pytest.raises(FileNotFoundError, match=r"test\.txt: expected the annotations of a WFLW split, found nothing"):
        WFLW(root)
    (root / "WFLW_images").rename(root / "images")
    with pytest.raises(FileNotFoundError, match="WFLW_images: expected the pictures of WFLW"):
        WFLW(root)
