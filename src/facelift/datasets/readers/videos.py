"""Single frames of video files, by OpenCV."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from facelift.datasets.readers.official_layout import require_file


@dataclass(frozen=True)
class VideoInfo:
    """What a container says of its video."""

    frames: int
    """0 where the container does not say."""
    fps: float
    width: int
    height: int


def video_info(path: Path) -> VideoInfo:
    """Length, rate and size. Raises FileNotFoundError, or ValueError for a file that OpenCV cannot open."""
    capture = _open(path)
    try:
        frames, fps, width, height = (
            capture.get(key)
            for key in (
                cv2.CAP_PROP_FRAME_COUNT,
                cv2.CAP_PROP_FPS,
                cv2.CAP_PROP_FRAME_WIDTH,
                cv2.CAP_PROP_FRAME_HEIGHT,
            )
        )
    finally:
        capture.release()
    return VideoInfo(max(0, int(frames)), fps, int(width), int(height))


def read_frame(path: Path, index: int) -> UInt8[np.ndarray, "h w 3"]:
    """Frame `index` (0 is the first), RGB. Where the container cannot seek, all frames before it are decoded.

    Raises as `video_info`, and ValueError where the video ends before the frame.
    """
    capture = _open(path)
    try:
        if not _seek(capture, index):
            capture.release()
            capture = _open(path)
            _skip(capture, path, index)
        good, bgr = capture.read()
        if not good:
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            raise ValueError(f"{path}: expected a frame {index} (counted from 0), found a video of {count} frames")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _seek(capture: cv2.VideoCapture, index: int) -> bool:
    """Whether the next frame read is now frame `index`."""
    return capture.set(cv2.CAP_PROP_POS_FRAMES, index) and capture.get(cv2.CAP_PROP_POS_FRAMES) == index


def _skip(capture: cv2.VideoCapture, path: Path, count: int) -> None:
    for index in range(count):
        if not capture.grab():
            raise ValueError(f"{path}: expected a frame {count} (counted from 0), found an end after {index} frames")


def _open(path: Path) -> cv2.VideoCapture:
    require_file(path, "a video file")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        size = path.stat().st_size
        raise ValueError(f"{path}: expected a video that OpenCV reads, found {size} bytes it cannot open")
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return capture
