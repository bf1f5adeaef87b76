"""300VW in its released layout: names of frames and points both count from 1."""

import cv2
import numpy as np
import pytest

from facelift.datasets.readers.pts import read_pts
from facelift.datasets.readers.w300vw import CATEGORIES, W300VW


def write_pts(path, points, head="version: 1\nn_points: {n}\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(f"{x:.3f} {y:.3f}\n" for x, y in points)
    path.write_text(head.format(n=len(points)) + "{\n" + body + "}\n")


def write_video(root, name, frames):
    """Frame k: a bright square whose centre pixel is (40 + 8 k, 30), counted from 0; its .pts counts from 1."""
    folder = root / name
    folder.mkdir(parents=True)
    writer = cv2.VideoWriter(str(folder / "vid.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (128, 96))
    for index in range(frames):
        x, frame = 40 + 8 * index, np.zeros((96, 128, 3), np.uint8)
        frame[30 - 5 : 30 + 6, x - 5 : x + 6] = 255
        writer.write(frame)
        spread = np.linspace(-10, 10, 68)
        write_pts(folder / "annot" / f"{index + 1:06d}.pts", np.stack([x + 1 + spread, 31 + spread / 2], -1))
    writer.release()


@pytest.fixture
def root(tmp_path):
    write_video(tmp_path, "410", 6)
    write_video(tmp_path, "007", 3)
    return tmp_path


def test_points_lie_on_what_their_frame_shows(root):
    """One frame later, or one px beside, and the square's centre would not be the points' mean."""
    data = W300VW(root, videos=("410", "007"))
    assert len(data) == 9
    for index in range(len(data)):
        face = data[index]
        grey = face.image.astype(float).mean(-1)
        grey[grey < 60] = 0
        ys, xs = np.mgrid[0:96, 0:128] + 0.5
        centre = np.array([(grey * xs).sum(), (grey * ys).sum()]) / grey.sum()
        np.testing.assert_allclose(face.points.mean(0), centre, atol=0.1)
    face = data[1]
    np.testing.assert_allclose(face.box, [48.5 - 10, 30.5 - 5, 48.5 + 10, 30.5 + 5], atol=1e-3)
    assert face.name == "410/000002" and face.identity == "410" and face.scheme == "ibug68"
    assert face.attributes == {"category": 3.0, "frame": 1.0}
    assert data[8].attributes["category"] == 0


def test_categories_are_the_challenges():
    sizes = {category: len(videos) for category, videos in CATEGORIES.items()}
    assert sizes == {1: 31, 2: 19, 3: 14}
    assert len({video for videos in CATEGORIES.values() for video in videos}) == 64
    assert {511, 518, 548} <= set(CATEGORIES[1]) and not {512, 513, 523} & set(CATEGORIES[1])
    assert {203, 409, 553} <= set(CATEGORIES[2]) and 552 not in CATEGORIES[2]


def test_every_nth_frame(root):
    assert [W300VW(root, videos=("410",), every=4)[i].name for i in range(2)] == ["410/000001", "410/000005"]


def test_missing_parts_are_named(root):
    with pytest.raises(FileNotFoundError, match=r"expected 14 videos NNN, found 1; missing: 411 516 .*562"):
        W300VW(root, 3)
    with pytest.raises(ValueError, match=r"category of 300VW: expected 1, 2 or 3.*found 4"):
        W300VW(root, 4)
    (root / "007" / "vid.avi").unlink()
    with pytest.raises(FileNotFoundError, match=r"007.vid\.avi: expected the video"):
        W300VW(root, videos=("007",))
    (root / "410" / "annot" / "000000.pts").write_text("")
    with pytest.raises(ValueError, match=r"expected 000001\.pts.*found 000000\.pts"):
        W300VW(root, videos=("410",))


def test_annotation_beyond_the_video(root):
    write_pts(root / "410" / "annot" / "000050.pts", np.zeros((68, 2)))
    face = W300VW(root, videos=("410",))[6]
    with pytest.raises(ValueError, match=r"vid\.avi: expected a frame 49"):
        _ = face.image


def test_pts_files(tmp_path):
    path = tmp_path / "a.pts"
    write_pts(path, [(1, 1), (10.25, 4)])
    np.testing.assert_allclose(read_pts(path), [[0.5, 0.5], [9.75, 3.5]])
    write_pts(path, [(1, 1)], head="version:1\r\nn_points:{n} \r\n")
    np.testing.assert_allclose(read_pts(path), [[0.5, 0.5]])
    for text, message in (
        ("version: 1\nn_points: 2\n{\n1 1\n}\n", "expected 2 finite points"),
        ("version: 1\nn_points: 1\n{\n1 nan\n}\n", "expected 1 finite points"),
        ("version: 1\nn_points: 1\n{\n1 x\n}\n", "expected 1 lines of two numbers"),
        ("version: 1\nn_points: 2\n{\n1 1\n1\n}\n", "expected 2 lines of two numbers"),
        ("version: 1\n{\n1 1\n}\n", "n_points: N"),
        ("1 1\n", "between braces"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_pts(path)
    with pytest.raises(FileNotFoundError, match=r"b\.pts"):
        read_pts(tmp_path / "b.pts")
    write_pts(tmp_path / "1" / "annot" / "000001.pts", np.zeros((66, 2)))
    (tmp_path / "1" / "vid.avi").write_text("")
    with pytest.raises(ValueError, match="expected 68 points, found 66"):
        W300VW(tmp_path, videos=("1",))[0]
