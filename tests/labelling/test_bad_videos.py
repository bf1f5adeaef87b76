"""Videos as they come: each is counted, what is wrong with it is named, and the others go on."""

import struct
from fractions import Fraction

import cv2
import numpy as np
import pytest
from square_faces import SquareDetector, SquareFinder, draw_face, write_video

from facelift.labelling.shards import load_shard, shard_paths
from facelift.labelling.sources import Sampling, find_items
from facelift.labelling.stage import FramesConfig, label_frames, summary

EVERY = Sampling(every=1)


def moving(count=6, **size):
    return [draw_face(10 + 8 * index, 20, seed=index, **size) for index in range(count)]


def write_mp4(path, pictures, stamps=None):
    """MPEG-4 by PyAV, frame i shown at `stamps[i]` ms."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = pictures[0].shape[1::-1]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = (stamps[index] if stamps else 40 * index), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn(path):
    """Writes into the track's header that the camera was held upright: turn the picture by 90 degrees to show it."""
    data = path.read_bytes()
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = data.index(plain, data.index(b"tkhd"))
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:at] + turned + data[at + len(plain) :])


def pictures_of(path):
    (item,) = find_items([str(path)], EVERY)
    return list(item.read())


def test_times_of_a_variable_frame_rate_are_those_of_the_frames(tmp_path):
    stamps = [0, 40, 400, 440, 1000, 1500]
    pictures = pictures_of(write_mp4(tmp_path / "phone.mp4", moving(), stamps))
    np.testing.assert_allclose([picture.time_s for picture in pictures], np.array(stamps) / 1000, atol=2e-3)
    assert [picture.frame for picture in pictures] == list(range(6))


def test_a_phone_s_video_is_turned_upright(tmp_path):
    path = write_mp4(tmp_path / "phone.mp4", moving())
    (lying, *_), _ = pictures_of(path), turn(path)
    upright = pictures_of(path)[0]
    assert lying.pixels.shape == (120, 160, 3) and upright.pixels.shape == (160, 120, 3)
    difference = np.abs(np.rot90(lying.pixels, -1).astype(int) - upright.pixels).mean()
    assert difference < 3 < np.abs(np.rot90(lying.pixels).astype(int) - upright.pixels).mean()


@pytest.fixture
def folder(tmp_path):
    """A good photo and a good video among all that goes wrong."""
    root = tmp_path / "in"
    root.mkdir()
    cv2.imwrite(str(root / "a-photo.png"), draw_face(40, 30, seed=99)[..., ::-1])
    blank = [np.full((120, 160, 3), 10 * index, np.uint8) for index in range(4)]
    write_video(root / "faceless.avi", blank)
    write_video(root / "large.avi", moving(2, side=900, width=3840, height=2160))
    write_video(root / "tiny.avi", [np.full((8, 8, 3), 99, np.uint8)] * 3)
    (root / "empty.mp4").write_bytes(b"")
    (root / "text.mp4").write_text("no video at all")
    whole = write_mp4(tmp_path / "whole.mp4", moving(40, width=640)).read_bytes()
    (root / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    start = whole.index(b"mdat") + 4
    middle = start + (whole.index(b"moov") - start) // 2
    noise = np.random.default_rng(0).bytes(3000)
    (root / "noise.mp4").write_bytes(whole[:middle] + noise + whole[middle + len(noise) :])
    write_mp4(root / "z-good.mp4", moving())
    return root


def test_what_is_wrong_with_a_video_is_named_and_costs_no_other(folder, tmp_path):
    config = FramesConfig((str(folder),), tmp_path / "out", sampling=EVERY, workers=1)
    label_frames(config, detector=SquareDetector(), finder=SquareFinder())
    (path,) = shard_paths(tmp_path / "out")
    shard = load_shard(path)
    names = [str(key).rpartition(":")[0] for key in shard.item]
    pictures = dict(zip(names, shard.pictures.tolist(), strict=True))
    error = dict(zip(names, shard.error.tolist(), strict=True))
    faces = dict(zip(names, np.bincount(shard.item_of_face, minlength=len(names)).tolist(), strict=True))
    assert set(names) == {path.name for path in folder.iterdir()}
    assert {name: faces[name] for name in ("a-photo.png", "z-good.mp4")} == {"a-photo.png": 1, "z-good.mp4": 6}
    assert pictures["large.avi"] == 2 and faces["large.avi"] + shard.duplicates[names.index("large.avi")] == 2
    assert (
        pictures["faceless.avi"] == 4 and pictures["tiny.avi"] == 3 and faces["faceless.avi"] == faces["tiny.avi"] == 0
    )
    for name in ("empty.mp4", "text.mp4", "cut.mp4"):
        assert f"{name}: expected a video that OpenCV reads" in error[name] and faces[name] == 0
    assert 20 <= pictures["noise.mp4"] <= 40 and faces["noise.mp4"] >= 10
    clean = ("a-photo.png", "faceless.avi", "large.avi", "tiny.avi", "z-good.mp4")
    assert not any(error[name] for name in clean)
    text = "\n".join(summary(tmp_path / "out"))
    assert "2 photos and videos without a face" in text and "cut.mp4: expected a video" in text


def test_a_video_that_ends_before_its_header_says_is_told(tmp_path):
    """Motion JPEG, the second half of it missing: what decodes is kept."""
    write_video(tmp_path / "whole.avi", moving(20))
    whole = (tmp_path / "whole.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    (item,) = find_items([str(tmp_path / "cut.avi")], EVERY)
    found = []
    with pytest.raises(ValueError, match=r"cut\.avi: expected 20 frames, as its header says, found \d+ that decode"):
        found.extend(item.read())
    config = FramesConfig((str(tmp_path / "cut.avi"),), tmp_path / "out", sampling=EVERY, workers=1)
    label_frames(config, detector=SquareDetector(), finder=SquareFinder())
    assert len(found) >= 5 and summary(tmp_path / "out")[-2] == "1 broken"
    assert load_shard(shard_paths(tmp_path / "out")[0]).pictures.tolist() == [len(found)]


def test_keys_hold_on_any_machine_and_a_repaired_file_is_looked_at_again(folder, tmp_path):
    """The same files under another path are known; one that was cut off and came again whole is new."""
    config = FramesConfig((str(folder / "cut.mp4"), str(folder / "a-photo.png")), tmp_path / "out", workers=1)
    label_frames(config, detector=SquareDetector(), finder=SquareFinder())
    elsewhere = tmp_path / "elsewhere" / "deep"
    elsewhere.mkdir(parents=True)
    for name in ("cut.mp4", "a-photo.png"):
        (elsewhere / name).write_bytes((folder / name).read_bytes())
    same = FramesConfig((str(elsewhere),), tmp_path / "out", workers=1)
    label_frames(same, detector=SquareDetector(), finder=SquareFinder())
    assert len(shard_paths(tmp_path / "out")) == 1
    (elsewhere / "cut.mp4").write_bytes((folder.parent / "whole.mp4").read_bytes())
    label_frames(same, detector=SquareDetector(), finder=SquareFinder())
    shard = load_shard(shard_paths(tmp_path / "out")[1])
    assert shard.item.tolist()[0].startswith("cut.mp4:") and not shard.error[0] and shard.pictures[0] == 8
    assert str(tmp_path) not in "".join([*shard.item, *shard.sequence])
