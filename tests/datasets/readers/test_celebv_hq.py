"""CelebV-HQ as its download script leaves it: whole videos or squares cut from them."""

import json

import cv2
import numpy as np
import pytest

from facelift.crops import box_of_crop, crop_transform
from facelift.datasets.readers import celebv_hq
from facelift.datasets.readers.celebv_hq import CelebVHQ, clip_square
from facelift.datasets.readers.videos import VideoInfo

WIDTH, HEIGHT, FPS = 200, 100, 10
BOX = {"top": 0.2, "bottom": 0.8, "left": 0.4, "right": 0.75}
SQUARE = [83, 18, 147, 82]
"""By hand: rows 18..82 and columns 76..154 after widening by 0.02; the smaller side is 64, so 32 about (115, 50)."""


def write_video(path, first, count, square=None):
    """Frame k is of grey level 4 k, `first` the first k."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (HEIGHT, WIDTH, 3) if square is None else (square, square, 3)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, shape[1::-1])
    for index in range(first, first + count):
        writer.write(np.full(shape, 4 * index, np.uint8))
    writer.release()


def clip(ytb_id, start=2.0, end=4.0, **box):
    return {
        "ytb_id": ytb_id,
        "duration": {"start_sec": start, "end_sec": end},
        "bbox": BOX | box,
        "attributes": {"appearance": [0] * 40, "action": [0] * 35},
    }


def write_info(root, clips):
    (root / "celebvhq_info.json").write_text(json.dumps({"meta_info": {}, "clips": clips}))


@pytest.fixture
def root(tmp_path):
    write_info(tmp_path, {"M2Ohb0FAaJU_1": clip("M2Ohb0FAaJU"), "gone_0": clip("gone")})
    return tmp_path


def test_square_of_the_release():
    np.testing.assert_array_equal(clip_square(np.array([0.2, 0.8, 0.4, 0.75]), WIDTH, HEIGHT), SQUARE)
    # widening stops at the picture's edge
    np.testing.assert_array_equal(clip_square(np.array([0.0, 0.5, 0.99, 1.0]), WIDTH, HEIGHT), [194, 23, 200, 29])


def test_raw_videos_are_cut_in_time_and_space(root):
    write_video(root / "raw" / "M2Ohb0FAaJU.avi", 0, 50)
    data = CelebVHQ(root, frames=2)
    assert len(data) == 2 and data.missing == ["gone_0"]
    grey = [float(data[index].image.mean()) / 4 for index in range(2)]
    np.testing.assert_allclose(grey, [25, 35], atol=0.6)  # 2.5 s and 3.5 s of a clip from 2 to 4 s
    face = data[0]
    assert (face.name, face.identity, face.scheme, len(face.points)) == ("M2Ohb0FAaJU_1/0", "M2Ohb0FAaJU", "none", 0)
    assert face.attributes["time_s"] == 2.5
    corners = crop_transform(face.box, size=64).to_image(np.array([[0.0, 0], [64, 64]]))
    np.testing.assert_allclose(corners.ravel(), SQUARE)


def test_processed_clips_give_the_same_faces(root):
    """The clip is 64 px of the video's frames 20..39: same grey levels, the whole frame is the crop."""
    write_video(root / "processed" / "M2Ohb0FAaJU_1.avi", 20, 20, square=64)
    data = CelebVHQ(root, frames=2)
    grey = [float(data[index].image.mean()) / 4 for index in range(2)]
    np.testing.assert_allclose(grey, [25, 35], atol=0.6)
    np.testing.assert_allclose(data[0].box, box_of_crop(np.array([0.0, 0, 64, 64])))
    assert data[-1].name == "M2Ohb0FAaJU_1/1"
    # processed goes before raw
    write_video(root / "raw" / "M2Ohb0FAaJU.avi", 0, 50)
    assert CelebVHQ(root)[0].image.shape == (64, 64, 3)
    with pytest.raises(IndexError):
        data[2]


def test_folders_as_the_script_leaves_them(root):
    """It makes processed and, as released, leaves it empty."""
    inner = root / "downloaded_celebvhq"
    (inner / "processed").mkdir(parents=True)
    write_video(inner / "raw" / "M2Ohb0FAaJU.avi", 0, 50)
    data = CelebVHQ(root)
    assert data[0].image.shape == (HEIGHT, WIDTH, 3) and data.missing == ["gone_0"]


def test_a_video_without_a_length_is_refused(root, monkeypatch):
    write_video(root / "raw" / "M2Ohb0FAaJU.avi", 0, 2)
    monkeypatch.setattr(celebv_hq, "video_info", lambda path: VideoInfo(0, FPS, WIDTH, HEIGHT))
    with pytest.raises(ValueError, match=r"M2Ohb0FAaJU\.avi: expected a video that tells its length"):
        CelebVHQ(root)[0]


def test_missing_parts_are_named(root):
    with pytest.raises(FileNotFoundError, match=r"processed \(ID\.mp4\) or raw \(YTB_ID\.mp4\), found neither"):
        CelebVHQ(root)
    (root / "processed").mkdir()
    with pytest.raises(FileNotFoundError, match="videos of 2 clips, found none"):
        CelebVHQ(root)
    with pytest.raises(ValueError, match="frames: expected at least 1 a clip, found 0"):
        CelebVHQ(root, frames=0)
    with pytest.raises(FileNotFoundError, match=r"celebvhq_info.json: expected the clips"):
        CelebVHQ(root / "processed")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": {"top": 0.1}}, "of clip a, found no 'bottom'"),
        ({"bbox": BOX | {"bottom": 85}}, "bottom <= 1.*of clip a, found .*85"),
        ({"duration": {"start_sec": 5, "end_sec": 4}}, r"start < end of clip a, found .*5\.0\.\.4\.0 s"),
        ({"ytb_id": None, "bbox": None}, "of clip a"),
    ],
)
def test_clips_that_are_not_the_format_are_refused(tmp_path, change, message):
    write_info(tmp_path, {"a": clip("video") | change})
    with pytest.raises(ValueError, match=message):
        CelebVHQ(tmp_path)
    (tmp_path / "celebvhq_info.json").write_text("{}")
    with pytest.raises(ValueError, match=r"expected {'clips'"):
        CelebVHQ(tmp_path)
    (tmp_path / "celebvhq_info.json").write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        CelebVHQ(tmp_path)
