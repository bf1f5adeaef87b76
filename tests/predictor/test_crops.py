"""The crop's way to the picture and back, its picture, and its camera."""

import cv2
import numpy as np
import pytest

from facelift.crops import crop_around, crop_transform, cut


@pytest.mark.parametrize("roll", [0.0, 0.3, -2.0])
def test_there_and_back(rng, roll):
    transform = crop_transform(np.array([10.0, 20.0, 90.0, 70.0]), size=128, roll=roll)
    points = rng.uniform(-500, 500, (50, 2))
    np.testing.assert_allclose(transform.to_image(transform.to_crop(points)), points, atol=1e-9)


def test_corners_by_hand():
    """Box 20 x 40 at 10 20: centre (20, 40), side 1.5 x 40 = 60, so the crop spans -10..50 and 10..70."""
    transform = crop_transform(np.array([10.0, 20.0, 30.0, 60.0]), size=120)
    np.testing.assert_allclose(transform.to_crop(np.array([[-10.0, 10.0], [50.0, 70.0]])), [[0, 0], [120, 120]])
    assert transform.scale == pytest.approx(2)


def test_positive_roll_turns_content_clockwise():
    """A point right of the centre comes out below it (y down)."""
    transform = crop_transform(np.array([0.0, 0.0, 40.0, 40.0]), size=60, roll=np.pi / 2)
    np.testing.assert_allclose(transform.to_crop(np.array([[30.0, 20.0]])), [[30, 40]], atol=1e-12)


def test_crop_around_frames_the_points_in_the_turned_picture(rng):
    points = rng.uniform(0, 100, (30, 2))
    transform = crop_around(points, size=90, roll=0.7)
    moved = transform.to_crop(points)
    low, high = moved.min(0), moved.max(0)
    np.testing.assert_allclose((low + high) / 2, [45, 45], atol=1e-9)
    assert (high - low).max() == pytest.approx(60)  # 90 / 1.5


@pytest.mark.parametrize("box", [[5, 5, 5, 5], [0, 0, np.nan, 9], [9, 0, 0, 0]])
def test_box_without_extent(box):
    with pytest.raises(ValueError, match="face box: expected finite"):
        crop_transform(np.array(box, float), size=16)


@pytest.mark.parametrize("roll", [0.0, 0.4])
@pytest.mark.parametrize("side", [40, 400])
def test_pixels_land_where_points_do(roll, side):
    """A blurred dot's centre of mass in the crop is where the transform puts the dot; up- and downscaling."""
    image = np.zeros((600, 600, 3), np.uint8)
    centre = np.array([307.5, 291.5])
    y, x = np.mgrid[:600, :600] + 0.5
    sigma = side / 20
    image[:] = (255 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2)))[..., None]
    box = np.array([300 - side / 3, 300 - side / 3, 300 + side / 3, 300 + side / 3])
    transform = crop_transform(box, size=128, roll=roll)
    crop = cut(image, transform)[..., 0].astype(float)
    grid = np.stack(np.meshgrid(np.arange(128) + 0.5, np.arange(128) + 0.5), -1)
    found = (crop[..., None] * grid).sum((0, 1)) / crop.sum()
    np.testing.assert_allclose(found, transform.to_crop(centre[None])[0], atol=0.03)


def test_outside_repeats_the_edge():
    image = np.full((10, 10, 3), 50, np.uint8)
    image[:, -1] = 200
    crop = cut(image, crop_transform(np.array([8.0, 0.0, 28.0, 10.0]), size=30))
    assert (crop[:, 15:] == 200).all()
    far = cut(image, crop_transform(np.array([500.0, 500.0, 520.0, 520.0]), size=8))
    assert (far == 200).all()


def test_shrinking_does_not_alias():
    """A checkerboard of single pixels, shrunk 7.3 times, is plain grey (an odd block's mean is off by half a pixel)."""
    image = np.indices((400, 400)).sum(0) % 2 * 255
    image = np.repeat(image[..., None], 3, 2).astype(np.uint8)
    crop = cut(image, crop_transform(np.array([1, 1, 5, 5]) * 400 / 6, size=55))
    assert np.ptp(crop[3:-3, 3:-3]) <= 6


def test_window_does_not_change_the_crop(rng):
    """Cutting out of a large photo equals OpenCV's warp of the whole photo."""
    image = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    transform = crop_transform(np.array([100.0, 80.0, 160.0, 150.0]), size=128, roll=0.2)
    half = transform.crop_from_image.copy()
    half[:, 2] += half[:, :2] @ [0.5, 0.5] - 0.5
    whole = cv2.warpAffine(image, half, (128, 128), borderMode=cv2.BORDER_REPLICATE)
    difference = np.abs(cut(image, transform).astype(int) - whole.astype(int))
    assert np.percentile(difference, 99) <= 4 and difference.mean() < 1  # OpenCV's weights have 5 bits
