"""Labelled frames as training samples: labels follow every crop and flip, weights follow sigma, videos count once."""

import cv2
import numpy as np
import pytest

from facelift.datasets.augment import Augmentation
from facelift.datasets.pseudo_frames import SURE, PseudoFrames, label_weight
from facelift.datasets.sample import UNKNOWN
from facelift.labelling.shards import FinishedItem, LabelledFace, encode, shard_bytes, shard_name
from facelift.landmarks import WFLW98, mean_head

SHAPE = mean_head()[:, :2] * [1, -1]
POINTS = (SHAPE - SHAPE[:96].min(0)) / np.ptp(SHAPE[:96], axis=0).max() * 60 + [30, 27]
MARKED = 60
"""Outer corner of the image-left eye: marked red in the picture."""
SIDE = 114


def face(reason="kept", frame=0, sigma=0.5, **change):
    image = np.full((SIDE, SIDE, 3), 60, np.uint8)
    cv2.circle(image, tuple(int(v) for v in POINTS[MARKED]), 3, (255, 0, 0), -1)
    sigma = np.broadcast_to(sigma, 98)[:, None, None]
    table = {"crop": np.zeros(4), "points": POINTS, "covariance": sigma**2 * np.eye(2), "visibility": np.ones(98)}
    table |= {"measures": np.zeros(4), "hash": np.zeros(32, np.uint8)}
    return LabelledFace(frame, 0.0, reason, encode(image), **table | change)


def write(folder, *items, index=0):
    finished = [FinishedItem(key, sequence, faces=faces) for key, sequence, faces in items]
    folder.mkdir(exist_ok=True)
    (folder / shard_name(index)).write_bytes(shard_bytes(finished, index))
    return folder


def red(image):
    """Where the mark is, px."""
    mark = (image[..., 0].astype(int) - image[..., 1]).clip(40) - 40
    ys, xs = np.mgrid[: len(image), : len(image)] + 0.5
    return np.array([(mark * xs).sum(), (mark * ys).sum()]) / mark.sum()


def test_labels_follow_crops_turns_and_flips(tmp_path):
    frames = PseudoFrames((write(tmp_path, ("a", "a", [face()])),))
    np.testing.assert_allclose(red(frames.crop(0, 128).image), frames.crop(0, 128).points[MARKED] * 128, atol=1)
    flips = set()
    for draw in range(30):
        sample = frames.augmented(0, 128, np.random.default_rng(draw), Augmentation(colour=0, occluder=0))
        there = np.linalg.norm(sample.points * 128 - red(sample.image), axis=-1).argmin()
        assert there in (MARKED, WFLW98.mirror[MARKED])
        np.testing.assert_allclose(red(sample.image), sample.points[there] * 128, atol=1.5)
        flips.add(int(there))
        assert (sample.state == UNKNOWN).all() and np.isnan(sample.rotation).all() and np.isnan(sample.hidden).all()
    assert flips == {MARKED, int(WFLW98.mirror[MARKED])}


def test_a_flip_renames_the_weights_too(tmp_path):
    sigma = np.where(np.arange(98) == MARKED, 5.0, 0.1)
    frames = PseudoFrames((write(tmp_path, ("a", "a", [face(sigma=sigma)])),))
    for draw in range(10):
        sample = frames.augmented(0, 128, np.random.default_rng(draw), Augmentation(colour=0, occluder=0))
        there = np.linalg.norm(sample.points * 128 - red(sample.image), axis=-1).argmin()
        assert sample.weight.argmin() == there and sample.weight[there] < 0.2 and np.sum(sample.weight == 1) == 97


def test_weight_by_hand():
    size = np.sqrt(np.prod(np.ptp(POINTS[:96], axis=0)))
    covariance = np.tile(np.eye(2), (98, 1, 1)) * (2 * SURE * size) ** 2
    np.testing.assert_allclose(label_weight(POINTS, covariance), 0.25)
    np.testing.assert_allclose(label_weight(POINTS, covariance / 16), 1)


def test_only_kept_faces_are_there_and_clips_of_one_video_are_one_sequence(tmp_path):
    clips = [("v_0", "v", [face(frame=1), face("unsure", frame=2)]), ("v_1", "v", [face(frame=3)])]
    write(tmp_path, *clips)
    write(tmp_path, ("v_2", "v", [face(frame=4)]), ("photo", "photo", [face()]), ("bad", "bad", []), index=1)
    frames = PseudoFrames((tmp_path,))
    assert len(frames) == 4 and frames.sequences == [[0, 1, 2], [3]]


def test_same_seed_same_sample_and_other_seed_another(tmp_path):
    frames = PseudoFrames((write(tmp_path, ("a", "a", [face(), face()])),))
    draw = lambda seed: frames.augmented(1, 96, np.random.default_rng(seed), Augmentation())  # noqa: E731
    np.testing.assert_array_equal(draw(5).image, draw(5).image)
    assert np.abs(draw(5).points - draw(6).points).max() > 0.005


def test_folders_that_hold_nothing_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected shards by `facelift label frames`"):
        PseudoFrames((tmp_path,))
    write(tmp_path, ("a", "a", [face("unsure")]))
    with pytest.raises(ValueError, match="no face was kept"):
        PseudoFrames((tmp_path,))
    whole = (tmp_path / shard_name(0)).read_bytes()
    for content in (whole[:-2000], whole[100:], b""):
        (tmp_path / shard_name(0)).write_bytes(content)
        with pytest.raises(ValueError, match=r"frames-00000\.tar: expected a shard"):
            PseudoFrames((tmp_path,))
