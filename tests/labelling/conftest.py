"""Lets the tests import `square_faces`, and a folder of photos and a video to label."""

import sys
from pathlib import Path

import cv2
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from square_faces import draw_face, write_video


@pytest.fixture
def folder(tmp_path):
    """Six photos (a good face, the same recompressed, another, an unsure one, none, a broken file) and a video."""
    root = tmp_path / "in"
    root.mkdir()
    pictures = [
        draw_face(40, 30, seed=1),
        None,
        draw_face(40, 30, seed=2),
        draw_face(40, 30, seed=3, unsure=200),
        draw_face(0, 0, seed=4, side=1),
    ]
    pictures[1] = pictures[0]
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(root / f"{index}.jpg"), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95 - 10 * index])
    (root / "5.jpg").write_bytes(b"no picture")
    moving = [draw_face(20 + 4 * (index // 10), 30, side=60, seed=9) for index in range(40)]
    for index, picture in enumerate(moving):  # light that grows with the seconds: frames of one second are alike
        picture[: 8 * (index // 10)] = 255
    write_video(root / "talk.avi", moving)
    return root
