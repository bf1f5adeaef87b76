"""LaPa in its released layout, and what its 106 points are in the other schemes."""

import numpy as np
import pytest

from facelift.datasets.readers.lapa import LaPa
from facelift.landmarks import LAPA106, WFLW98, conversion


def write_face(root, name, x, y, count=106, split="test"):
    points = np.stack([np.linspace(-9, 9, 106), np.linspace(-6, 6, 106)], -1)
    points[54] = 0
    path = root / "LaPa" / split / "landmarks" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{count}\n" + "".join(f"{px:.6f} {py:.6f}\n" for px, py in points[:count] + np.array([x, y])))


@pytest.fixture
def root(tmp_path, spots):
    for name, x, y in (("13602254_5", 30, 40), ("10009865324_0", 70, 50)):
        spots[0](tmp_path / "LaPa" / "test" / "images" / f"{name}.jpg", x, y)
        write_face(tmp_path, name, x, y)
    return tmp_path


def test_points_lie_on_what_the_picture_shows(root, spots):
    for data in (LaPa(root), LaPa(root / "LaPa")):
        assert len(data) == 2 and data.name == "lapa_test"
        for face in (data[0], data[1]):
            np.testing.assert_allclose(face.points[54], spots[1](face.image), atol=0.1)
            assert face.points.shape == (106, 2) and face.scheme == "lapa106" and (face.state == -1).all()
    assert [data[i].name for i in range(2)] == ["10009865324_0", "13602254_5"]
    np.testing.assert_allclose(data[1].box, [21.5, 34.5, 39.5, 46.5], atol=1e-5)


def test_files_that_are_not_the_format_are_refused(root):
    write_face(root, "13602254_5", 30, 40, count=68)
    with pytest.raises(ValueError, match=r"13602254_5\.txt: expected 106 points after their number"):
        LaPa(root)[1]
    write_face(root, "13602254_5", 30, 40)
    path = root / "LaPa/test/landmarks/13602254_5.txt"
    path.write_text(path.read_text().replace("106\n", "105\n", 1))
    with pytest.raises(ValueError, match=r"13602254_5\.txt: expected the number 106 in the first line, found 105"):
        LaPa(root)[1]


def test_missing_parts_are_named(root):
    with pytest.raises(ValueError, match="split of LaPa"):
        LaPa(root, "dev")
    with pytest.raises(FileNotFoundError, match=r"val: expected the split 'val' of LaPa, found nothing"):
        LaPa(root, "val")
    (root / "LaPa/test/images/13602254_5.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"13602254_5\.jpg: expected the picture of every file of points"):
        LaPa(root)


@pytest.mark.parametrize(
    ("lapa", "wflw"),
    [
        *[(16, 16), (33, 33), (50, 50), (54, 54), (58, 55), (60, 57), (62, 59), (66, 60), (70, 64), (73, 67)],
        *[(75, 68), (79, 72), (82, 75), (84, 76), (90, 82), (96, 88), (103, 95), (104, 96), (105, 97)],
    ],
)
def test_which_wflw_point_a_lapa_point_is(lapa, wflw):
    assert conversion("lapa106", "wflw98")[wflw, lapa] == 1


def test_mirrors_of_the_two_schemes_agree():
    """Converted and mirrored is mirrored and converted."""
    convert = conversion("lapa106", "wflw98")
    np.testing.assert_array_equal(convert[:, LAPA106.mirror], convert[WFLW98.mirror])
