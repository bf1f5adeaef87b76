"""What the tests of readers draw: a picture with one bright spot, and 68 points that lie like a face's."""

import cv2
import numpy as np
import pytest

from facelift.geometry import look_at_rotation
from facelift.landmarks import conversion, mean_head


def draw_spot(path, x, y, *, width=128, height=96):
    """A dark picture whose bright square has its middle in pixel (x, y), both counted from 0."""
    image = np.zeros((height, width, 3), np.uint8)
    image[y - 4 : y + 5, x - 4 : x + 5] = (0, 120, 255)  # BGR
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else [])


def spot_centre(image):
    """Where the spot is, px with pixel centres at integer + 0.5; fails where its colour is not that of the drawing."""
    red, green, blue = image[..., 0].astype(float), image[..., 1], image[..., 2]
    grey = np.where(red > 60, red, 0)
    at = np.unravel_index(red.argmax(), red.shape)
    assert red[at] > 230 and 90 < green[at] < 150 and blue[at] < 40
    ys, xs = np.mgrid[: grey.shape[0], : grey.shape[1]] + 0.5
    return np.array([(grey * xs).sum(), (grey * ys).sum()]) / grey.sum()


@pytest.fixture
def spots():
    """(draw_spot, spot_centre)."""
    return draw_spot, spot_centre


@pytest.fixture
def face68():
    """Px of a face's 68 points about (x, y), seen from `yaw_deg`, and its rotation."""

    def place(x, y, *, size=100.0, yaw_deg=0.0):
        rotation = look_at_rotation(yaw_deg, 0.0)
        points = conversion("wflw98", "ibug68") @ mean_head() @ rotation.T
        return (points[:, :2] - points[:, :2].mean(0)) * size / np.ptp(points[:, 0]) + [x, y], rotation

    return place
