"""What a camera does to a crop, in bytes, beside the same in floating point; and the noise's statistics."""

import cv2
import numpy as np
import pytest

from facelift.datasets.augment import _noisy, distort, occlude


def in_floats(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray | None:
    """`distort` without rounding between its steps; None where the draw asks for noise or JPEG, which come last."""
    x = image.astype(np.float64) / 255
    if rng.random() < 0.8:
        x = x * (1 + strength * rng.uniform(-0.12, 0.12, 3)) * np.exp(strength * rng.normal(0, 0.2))
        x = np.clip(x + strength * rng.normal(0, 0.06), 0, 1) ** np.exp(rng.normal(0, 0.25))
    if rng.random() < 0.15:
        x = np.repeat(x.mean(-1, keepdims=True), 3, axis=-1)
    if rng.random() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, 1.6) * strength)
    if rng.random() < 0.2:
        low = int(len(x) * rng.uniform(0.25, 0.8))
        x = cv2.resize(cv2.resize(x, (low, low), interpolation=cv2.INTER_AREA), (len(x), len(x)))
    if rng.random() < 0.3 or rng.random() < 0.3:
        return None
    return 255 * x


@pytest.fixture
def picture(rng) -> np.ndarray:
    return cv2.GaussianBlur(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), (0, 0), 2) * 2


def test_bytes_and_floats_give_the_same_picture(picture):
    compared = 0
    for seed in range(120):
        expected = in_floats(np.random.default_rng(seed), picture, 0.9)
        if expected is not None:
            found = distort(np.random.default_rng(seed), picture, 0.9).astype(float)
            assert np.abs(found - expected).mean() < 0.6 and np.abs(found - expected).max() < 4
            compared += 1
    assert compared > 40


def test_noise_is_gaussian_unbiased_and_new_in_every_picture_channel_and_pixel(rng):
    grey = np.full((128, 128, 3), 128, np.uint8)
    first, second = (_noisy(rng, grey, 0.04).astype(float) - 128 for _ in range(2))
    assert first.std() == pytest.approx(0.04 * 255, rel=0.02) and abs(first.mean()) < 0.2
    assert np.abs(np.percentile(first, [2.3, 97.7]) / first.std()) == pytest.approx([2, 2], rel=0.06)
    for one, other in ((first, second), (first[..., 0], first[..., 1]), (first[1:], first[:-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.03


def test_noise_saturates_and_does_not_wrap(rng):
    white = _noisy(rng, np.full((32, 32, 3), 255, np.uint8), 0.06)
    assert white.min() > 150 and (white == 255).mean() > 0.4


def test_distortion_of_strength_zero_is_none_and_a_seed_is_a_picture(picture):
    assert distort(np.random.default_rng(1), picture, 0) is picture
    pictures = [distort(np.random.default_rng(seed), picture, 1.0) for seed in (5, 5, 6)]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any() and pictures[0].dtype == np.uint8


def test_a_cover_changes_the_picture_under_its_mask_alone(picture):
    for seed in range(20):
        before = picture.copy()
        covered, mask = occlude(np.random.default_rng(seed), picture, np.full((9, 9, 3), 7, np.uint8))
        np.testing.assert_array_equal(picture, before)
        np.testing.assert_array_equal(covered[~mask], picture[~mask])
        assert len(np.unique(covered[mask].reshape(-1, 3), axis=0)) == 1  # of one colour, drawn or of the other picture
