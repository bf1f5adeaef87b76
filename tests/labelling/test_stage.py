"""Videos and photos into shards: counts, resuming, sources of all kinds."""

import json
import shutil

import cv2
import numpy as np
import pytest
from square_faces import SHAPE, SquareDetector, SquareFinder, draw_face, write_video

from facelift.cli import main
from facelift.labelling.shards import load_shard, shard_paths
from facelift.labelling.sources import Sampling, find_items
from facelift.labelling.stage import CROP_SCALE, FramesConfig, label_frames, summary


def run(out, *sources, stop_after=None, **options):
    config = FramesConfig(tuple(map(str, sources)), out, **{"shard_pictures": 2, "workers": 1} | options)
    return label_frames(config, detector=SquareDetector(stop_after), finder=SquareFinder())


def rows(out):
    """(item's name, frame, reason) of all faces, in order."""
    found = []
    for path in shard_paths(out):
        shard = load_shard(path)
        names = [str(item).rpartition(":")[0].rsplit("/", 1)[-1] for item in shard.item]
        found += [
            (names[i], int(frame), str(reason))
            for i, frame, reason in zip(shard.item_of_face, shard.frame, shard.reason, strict=True)
        ]
    return found


KEPT = [
    *(("0.jpg", 0, "kept"), ("2.jpg", 0, "kept"), ("3.jpg", 0, "unsure")),
    *(("talk.avi", frame, "kept") for frame in (0, 10, 20, 30)),
]


def test_each_face_is_kept_rejected_or_a_duplicate_and_broken_files_are_named(folder, tmp_path):
    out = run(tmp_path / "out", folder)
    assert rows(out) == KEPT
    text = "\n".join(summary(out))
    assert "25 pictures of 7 photos and videos: 24 faces found" in text  # 5 photos, 20 frames at 5 of 10 a second
    assert "duplicate       17" in text and "unsure           1" in text and "kept             6" in text
    assert "1 broken" in text and "5.jpg: expected an image" in text
    assert (out / "kept.jpg").exists() and (out / "rejected.jpg").exists()


def test_points_fit_the_stored_crop(folder, tmp_path):
    shard = load_shard(shard_paths(run(tmp_path / "out", folder / "0.jpg"))[0])
    image, points = shard.image(0), shard.points[0]
    side = len(image)
    assert side == round(CROP_SCALE * 60) and shard.crop[0] == pytest.approx(
        [*(box_middle := np.array([40, 30]) + 60 * np.ptp(SHAPE[:96], axis=0) / 2) - side / 2, *box_middle + side / 2],
        abs=0.6,
    )
    inside = (points[:96].min(0) + 2, points[:96].max(0) - 2)
    assert all(image[int(y), int(x), 0] > 200 for x, y in inside)  # the red square, under the points
    low, high = points[:96].min(0) - 3, points[:96].max(0)
    assert image[int(low[1]), int(low[0]), 0] < 150 and np.ptp(points[:96], axis=0).max() == pytest.approx(60, abs=0.5)
    assert high.max() < side
    np.testing.assert_allclose(shard.covariance[0, 5], np.eye(2) * 0.6**2, rtol=0.02)


def test_large_faces_are_shrunk_with_their_covariance(tmp_path):
    cv2.imwrite(str(tmp_path / "large.png"), draw_face(100, 100, side=400, width=640, height=640)[..., ::-1])
    shard = load_shard(shard_paths(run(tmp_path / "out", tmp_path / "large.png"))[0])
    scale = 192 / (CROP_SCALE * 400)
    assert shard.image(0).shape == (192, 192, 3)
    np.testing.assert_allclose(shard.covariance[0, 5], np.eye(2) * (4 * scale) ** 2, rtol=0.02)


@pytest.mark.parametrize("stop_after", [1, 3, 9, 20])
def test_a_killed_run_goes_on_without_loss_or_doubles(folder, tmp_path, stop_after):
    whole = run(tmp_path / "whole", folder)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", folder, stop_after=stop_after)
    out = run(tmp_path / "out", folder)
    assert rows(out) == rows(whole) == KEPT and summary(out) == summary(whole)
    before = [path.stat().st_mtime_ns for path in shard_paths(out)]
    run(tmp_path / "out", folder)
    assert [path.stat().st_mtime_ns for path in shard_paths(out)] == before


def test_sources_may_grow_and_copies_in_them_are_known(folder, tmp_path):
    out = run(tmp_path / "out", folder / "0.jpg")
    shutil.copy(folder / "2.jpg", folder / "copy.jpg")
    run(out, folder, folder / "copy.jpg")
    assert sorted(rows(out)) == sorted(KEPT) and "26 pictures of 8 photos" in summary(out)[0]


def test_another_setting_is_refused(folder, tmp_path):
    out = run(tmp_path / "out", folder / "0.jpg")
    with pytest.raises(ValueError, match=r"frames\.json: expected this run's settings, .*sampling"):
        run(out, folder, sampling=Sampling(every=3))
    assert json.loads((out / "frames.json").read_text())["settings"]["gates"]["smallest_px"] == 32


def test_sources_that_are_none_are_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name in ("gone.mp4", "empty"):
        assert main(["label", "frames", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 1
        assert name in capsys.readouterr().err
    arguments = ["label", "frames", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="expected one that tells its uncertainty, found mediapipe"):
        FramesConfig((str(tmp_path),), tmp_path, detector="mediapipe")
    assert main([*arguments, "--detector", "gone.onnx"]) == 1
    assert not (tmp_path / "out" / "frames.json").exists()
    with pytest.raises(ValueError, match="per-second: expected more than 0"):
        Sampling(per_second=0)


def test_frames_a_second_or_every_so_many(folder):
    for sampling, expected in (
        (Sampling(per_second=2.5), range(0, 40, 4)),
        (Sampling(per_second=99), range(40)),
        (Sampling(every=7), range(0, 40, 7)),
    ):
        (item,) = find_items([str(folder / "talk.avi")], sampling)
        assert [picture.frame for picture in item.read()] == [*expected]


def test_packed_sets_start_from_their_boxes(tmp_path):
    import tarfile

    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), draw_face(40, 30)[..., ::-1])
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(path, "a.jpg")
    np.savez(tmp_path / "set.npz", name=["a.jpg"], box=np.array([[30, 20, 110, 100]], np.float32))
    (item,) = find_items([str(tmp_path / "set.tar")], Sampling())
    (picture,) = item.read()
    np.testing.assert_array_equal(picture.boxes, [[30, 20, 110, 100]])
    config = FramesConfig((str(tmp_path / "set.tar"),), tmp_path / "out", workers=1)
    label_frames(config, detector=SquareDetector(), finder=None)  # no finder is asked
    assert rows(tmp_path / "out") == [("a.jpg", 0, "kept")]
    np.savez(tmp_path / "set.npz", name=["a.jpg"], box=np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match=r"set\.npz: expected box as \(n, 4\), found \(1, 3\)"):
        find_items([str(tmp_path / "set.tar")], Sampling())


def test_celebv_hq_is_read_by_clip_and_sampled_by_video(tmp_path):
    box = {"top": 0.0, "bottom": 1.0, "left": 0.0, "right": 0.75}
    clip = lambda start: {"ytb_id": "abc", "duration": {"start_sec": start, "end_sec": start + 2}, "bbox": box}  # noqa: E731
    (tmp_path / "celebvhq_info.json").write_text(json.dumps({"clips": {"abc_0": clip(0), "abc_1": clip(2)}}))
    pictures = [draw_face(30 + i, 30, seed=i) for i in range(40)]
    write_video(tmp_path / "raw" / "abc.avi", pictures)
    out = run(tmp_path / "out", tmp_path, sampling=Sampling(clip_frames=2), shard_pictures=100)
    shard = load_shard(shard_paths(out)[0])
    assert [str(item).rsplit("/", 1)[-1] for item in shard.item] == ["abc_0", "abc_1"]
    assert len(set(shard.sequence.tolist())) == 1 and shard.frame.tolist() == [5, 15, 25, 35]
    np.testing.assert_allclose(shard.time_s, [0.5, 1.5, 2.5, 3.5])


def test_two_workers_write_the_bytes_that_one_writes(folder, tmp_path):
    for workers in (1, 2):
        run(tmp_path / str(workers), folder, workers=workers)
    one, two = ([path.read_bytes() for path in shard_paths(tmp_path / name)] for name in ("1", "2"))
    assert one == two and len(one) >= 3


def test_sources_and_shards_may_be_in_an_object_store(folder, tmp_path, monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("FACELIFT_CACHE", str(tmp_path / "cache"))
    files, root = fsspec.filesystem("memory"), f"memory://{tmp_path.name}"
    for path in folder.iterdir():
        files.pipe_file(f"/{tmp_path.name}/in/{path.name}", path.read_bytes())
    out = run(f"{root}/out", f"{root}/in/*.jpg", f"{root}/in/talk.avi")
    assert out == f"{root}/out" and rows(out) == KEPT
    run(out, folder)  # the same files on a disk: nothing to do
    assert rows(out) == KEPT and files.exists(f"/{tmp_path.name}/out/kept.jpg")
