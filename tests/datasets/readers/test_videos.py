"""Frames of a video are the ones asked for."""

import cv2
import numpy as np
import pytest

from facelift.datasets.readers import videos
from facelift.datasets.readers.videos import read_frame, video_info


@pytest.fixture
def video(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "grey.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for index in range(12):
        frame = np.full((48, 64, 3), 20 * index, np.uint8)
        frame[:, :8] = (250, 0, 0)  # BGR: blue
        writer.write(frame)
    writer.release()
    return tmp_path / "grey.avi"


def test_info(video):
    info = video_info(video)
    assert (info.frames, info.fps, info.width, info.height) == (12, 20, 64, 48)


@pytest.mark.parametrize("index", [0, 1, 7, 11])
def test_each_frame_is_the_one_asked_for(video, index):
    frame = read_frame(video, index)
    assert abs(float(frame[:, 20:].mean()) - 20 * index) < 3
    assert frame[20, 3, 2] > 200 > frame[20, 3, 0]  # RGB


def test_a_container_that_cannot_seek_is_read_from_its_start(video, monkeypatch):
    monkeypatch.setattr(videos, "_seek", lambda capture, index: False)
    assert abs(float(read_frame(video, 7)[:, 20:].mean()) - 140) < 3
    with pytest.raises(ValueError, match=r"a frame 40 .*found an end after 12"):
        read_frame(video, 40)


def test_errors_name_the_file(video, tmp_path):
    with pytest.raises(ValueError, match=r"grey\.avi: expected a frame 12 .*video of 12 frames"):
        read_frame(video, 12)
    with pytest.raises(FileNotFoundError, match=r"none\.avi: expected a video"):
        video_info(tmp_path / "none.avi")
    (tmp_path / "text.avi").write_text("no video")
    with pytest.raises(ValueError, match=r"text\.avi: expected a video that OpenCV reads, found 8 bytes"):
        video_info(tmp_path / "text.avi")
