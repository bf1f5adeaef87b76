"""What counts as a copy of a face that was kept before."""

import cv2
import numpy as np
from square_faces import SHAPE

from facelift.labelling.duplicates import DuplicateConfig, KeptOfItem, KeptOfOthers, appearance, difference_hash


def scene(seed, side=128):
    small = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)


POINTS = 30 + 60 * SHAPE


def test_within_a_video_both_motion_and_picture_must_be_small():
    seen = KeptOfItem(DuplicateConfig())
    crop = scene(0)
    seen.keep(appearance(crop, POINTS))
    assert seen.is_copy(appearance(np.clip(crop.astype(int) + 3, 0, 255).astype(np.uint8), POINTS + 0.5))
    assert not seen.is_copy(appearance(crop, POINTS + 128 * 0.03))  # moved by 3 % of the crop
    assert not seen.is_copy(appearance(scene(1), POINTS))
    blink = POINTS.copy()
    blink[[61, 62, 63], 1] += 128 * 0.02  # the lid alone
    assert not seen.is_copy(appearance(crop, blink))


def test_across_items_a_smaller_recompressed_copy_is_known_and_other_pictures_are_not():
    seen = KeptOfOthers(DuplicateConfig())
    crop = scene(0)
    seen.remember(difference_hash(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY))[None])
    data = cv2.imencode(".jpg", cv2.resize(crop, (90, 90), interpolation=cv2.INTER_AREA), [1, 60])[1]
    copy = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert seen.is_copy(appearance(copy, POINTS * 0.4).hash)  # where its points are does not matter
    assert not any(seen.is_copy(appearance(scene(seed), POINTS).hash) for seed in range(1, 20))
