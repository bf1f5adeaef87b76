"""MERL-RAV in both of its layouts: signs are states, and the origin is taken off after the sign."""

import numpy as np
import pytest

from facelift.datasets.readers.merl_rav import POSES, MerlRav, read_labels
from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED, VISIBLE

SEEN, COVERED, AWAY = np.arange(20, 60), np.arange(60, 68), np.arange(20)


def label_values(x, y):
    """The numbers of a file: the nose tip, seen, on pixel (x, y) from 0; covered points negative; hidden ones -1 -1."""
    values = np.stack([np.linspace(-9, 9, 68), np.linspace(6, -6, 68)], -1)
    values[30] = 0
    values += [x + 1, y + 1]
    values[COVERED] *= -1
    values[AWAY] = -1
    return values


def write_labels(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(f"{x:.6f} {y:.6f}\n" if x != -1 else "-1 -1\n" for x, y in values)
    path.write_text(f"version: 1\nn_points:  {len(values)}\n{{\n{body}}}")


FACES = {
    "frontal/testset/image00019": (30, 40),
    "left/testset/image04415_1": (70, 50),
    "left/testset/image04415_2": (70, 50),
    "righthalf/trainset/image12345": (50, 60),
}


@pytest.fixture
def organized(tmp_path, spots):
    root = tmp_path / "organized"
    for pose in POSES:
        for split in ("testset", "trainset"):
            (root / "merl_rav_organized" / pose / split).mkdir(parents=True)
    for name, (x, y) in FACES.items():
        spots[0](root / "merl_rav_organized" / f"{name}.jpg", x, y)
        write_labels(root / "merl_rav_organized" / f"{name}.pts", label_values(x, y))
    return root


@pytest.fixture
def released(tmp_path, spots):
    """Labels and AFLW's folders apart; the photo of image04415_1 and _2 is image04415."""
    root = tmp_path / "released"
    for pose in POSES:
        for split in ("testset", "trainset"):
            (root / "merl_rav_labels" / pose / split / "labels").mkdir(parents=True)
    for folder, (name, (x, y)) in zip("0233", FACES.items(), strict=True):
        pose, split, stem = name.split("/")
        spots[0](root / "aflw" / "flickr" / folder / f"{stem.partition('_')[0]}.jpg", x, y)
        write_labels(root / "merl_rav_labels" / pose / split / "labels" / f"{stem}.pts", label_values(x, y))
    return root


@pytest.mark.parametrize("layout", ["organized", "released"])
def test_faces_of_both_layouts(layout, request, spots):
    root = request.getfixturevalue(layout)
    data = MerlRav(root)
    assert [data[i].name for i in range(len(data))] == ["image00019", "image04415_1", "image04415_2"]
    assert [data[i].identity for i in range(3)] == ["image00019", "image04415", "image04415"]
    assert [data[i].attributes["pose_group"] for i in range(3)] == ["frontal", "left", "left"]
    for index in range(3):
        np.testing.assert_allclose(data[index].points[30], spots[1](data[index].image), atol=0.1)
    assert [MerlRav(root, "train")[i].attributes["pose_group"] for i in range(1)] == ["righthalf"]


def test_signs_are_states(organized):
    face = MerlRav(organized)[0]
    assert (face.state[SEEN] == VISIBLE).all()
    assert (face.state[COVERED] == OCCLUDED).all()
    assert (face.state[AWAY] == SELF_OCCLUDED).all()
    assert np.isnan(face.points[AWAY]).all() and np.isfinite(face.points[20:]).all()
    plain = np.stack([np.linspace(21.5, 39.5, 68), np.linspace(46.5, 34.5, 68)], -1)
    np.testing.assert_allclose(face.points[COVERED], plain[COVERED], atol=1e-5)
    np.testing.assert_allclose(face.box, [plain[20, 0], plain[67, 1], plain[67, 0], plain[20, 1]], atol=1e-5)


def test_lines_of_the_sets_own_description(tmp_path):
    """The first lines that the set prints as an example, and points beside the photo."""
    values = np.full((68, 2), 5.0)
    values[:5] = [(-1, -1), (-1443.54, -474.32), (1382.78, 680.12), (-3.25, 415.0), (2.5, -300.0)]
    write_labels(tmp_path / "a.pts", values)
    points, state = read_labels(tmp_path / "a.pts")
    assert state[:5].tolist() == [SELF_OCCLUDED, OCCLUDED, VISIBLE, VISIBLE, OCCLUDED]
    expected = [[np.nan, np.nan], [1443.04, 473.82], [1382.28, 679.62], [-3.75, 414.5], [-3.0, 299.5]]
    np.testing.assert_allclose(points[:5], expected, atol=1e-9)


def test_missing_parts_are_named(organized, released, tmp_path):
    with pytest.raises(ValueError, match=r"split of MERL-RAV: expected one of \['test', 'train'\]"):
        MerlRav(organized, "val")
    (organized / "merl_rav_organized/left/testset/image04415_2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"04415_2\.jpg: expected the AFLW photo of every label.*found 2 of 3"):
        MerlRav(organized)
    for photo in (released / "aflw/flickr").glob("*/image04415.jpg"):
        photo.unlink()
    with pytest.raises(FileNotFoundError, match=r"image04415\.jpg: expected the AFLW photo of every label"):
        MerlRav(released)
    (released / "merl_rav_labels/right/testset/labels").rmdir()
    with pytest.raises(FileNotFoundError, match="expected the test labels of MERL-RAV's right faces, found nothing"):
        MerlRav(released)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"merl_rav_labels: expected this or merl_rav_organized"):
        MerlRav(tmp_path / "empty")


def test_files_that_are_not_the_format_are_refused(organized):
    write_labels(organized / "merl_rav_organized/frontal/testset/image00019.pts", label_values(30, 40)[:67])
    with pytest.raises(ValueError, match=r"image00019\.pts: expected 68 points, found 67"):
        MerlRav(organized)[0]
