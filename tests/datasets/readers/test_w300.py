"""300-W in its released layout: points from 1, parts of the papers, pictures of either kind."""

import numpy as np
import pytest

from facelift.datasets.readers.w300 import SPLITS, W300


def write_pts(path, points):
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(f"{x:.6f} {y:.6f}\n" for x, y in points)
    path.write_text(f"version: 1\nn_points:  {len(points)}\n{{\n{body}}}\n")


FILES = {
    "helen/testset/296814969_1": (".jpg", 30, 40),
    "lfpw/testset/image_0001": (".png", 70, 50),
    "ibug/image_003_1": (".jpg", 60, 20),
    "ibug/image_003_2": (".jpg", 90, 60),
    "afw/1051618982_1": (".jpg", 50, 50),
    "helen/trainset/100032540_1": (".jpg", 51, 50),
    "lfpw/trainset/image_0009": (".png", 52, 50),
}


@pytest.fixture
def root(tmp_path, spots):
    """The nose tip lies on the spot: pixel (x, y) from 0 is (x + 1, y + 1) in the file."""
    for name, (suffix, x, y) in FILES.items():
        spots[0](tmp_path / f"{name}{suffix}", x, y)
        points = np.stack([np.linspace(-9, 9, 68), np.linspace(6, -6, 68)], -1)
        points[30] = 0
        write_pts(tmp_path / f"{name}.pts", points + np.array([x + 1, y + 1]))
    return tmp_path


def test_points_lie_on_what_the_picture_shows(root, spots):
    for split in SPLITS:
        for face in (W300(root, split)[i] for i in range(len(W300(root, split)))):
            np.testing.assert_allclose(face.points[30], spots[1](face.image), atol=0.1)
    face = W300(root, "challenge")[0]
    np.testing.assert_allclose(face.box, [60.5 - 9, 20.5 - 6, 60.5 + 9, 20.5 + 6], atol=1e-5)
    assert face.scheme == "ibug68" and (face.state == -1).all() and face.points.dtype == np.float64


def test_parts_are_those_of_the_papers(root):
    names = {split: [W300(root, split)[i].name for i in range(len(W300(root, split)))] for split in SPLITS}
    assert names["common"] == ["helen/testset/296814969_1", "lfpw/testset/image_0001"]
    assert names["challenge"] == ["ibug/image_003_1", "ibug/image_003_2"]
    assert names["full"] == names["common"] + names["challenge"]
    assert names["train"] == ["afw/1051618982_1", "helen/trainset/100032540_1", "lfpw/trainset/image_0009"]
    full = W300(root, "full")
    assert [full[i].attributes["subset"] for i in range(4)] == ["common", "common", "challenge", "challenge"]
    assert W300(root, "train")[0].attributes == {"subset": "train", "source": "afw"}


def test_faces_of_one_photo_are_one_identity(root):
    full = W300(root, "full")
    assert full[2].identity == full[3].identity == "ibug/image_003"
    assert full[0].identity == "helen/296814969_1" and full[1].identity == "lfpw/image_0001"


def test_mirrored_copies_are_left_out(root, spots):
    spots[0](root / "ibug/image_003_1_mirror.jpg", 60, 20)
    write_pts(root / "ibug/image_003_1_mirror.pts", np.ones((68, 2)))
    assert len(W300(root, "challenge")) == 2


def test_missing_parts_are_named(root):
    with pytest.raises(ValueError, match=r"split of 300-W: expected one of common, .*train, found 'test'"):
        W300(root, "test")
    write_pts(root / "ibug/image_003_2.pts", np.zeros((66, 2)))
    with pytest.raises(ValueError, match=r"image_003_2\.pts: expected 68 points, found 66"):
        W300(root, "challenge")[1]
    (root / "ibug/image_003_2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"image_003_2\.pts: expected a picture image_003_2\.jpg or \.png"):
        W300(root, "challenge")
    (root / "lfpw").rename(root / "LFPW")
    with pytest.raises(FileNotFoundError, match=r"lfpw.testset: expected the part lfpw/testset of 300-W"):
        W300(root, "common")


def test_a_picture_that_does_not_decode_is_named_when_it_is_asked_for(root):
    (root / "ibug/image_003_1.jpg").write_bytes(b"not a picture")
    face = W300(root, "challenge")[0]
    with pytest.raises(ValueError, match=r"image_003_1\.jpg: expected a picture, found 13 bytes"):
        _ = face.image
