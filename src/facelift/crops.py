"""Square crops of a photo, upright or turned, and the exact way back to its pixels."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

MARGIN = 1.5
"""Side of a face crop over the longer side of the tight box of the landmarks."""


@dataclass(frozen=True)
class CropTransform:
    """Similarity between image px and the px of a square crop; pixel centres at integer + 0.5 in both."""

    crop_from_image: Float[np.ndarray, "2 3"]
    size: int
    """Side of the crop, px."""
    roll: float
    """Angle in rad by which the crop's content is turned clockwise against the image."""

    @property
    def scale(self) -> float:
        """Crop px per image px."""
        return float(np.sqrt(np.linalg.det(self.crop_from_image[:, :2])))

    def to_crop(self, points: Float[np.ndarray, "*b n 2"]) -> Float[np.ndarray, "*b n 2"]:
        """Image px -> crop px."""
        return points @ self.crop_from_image[:, :2].T + self.crop_from_image[:, 2]

    def to_image(self, points: Float[np.ndarray, "*b n 2"]) -> Float[np.ndarray, "*b n 2"]:
        """Crop px -> image px."""
        return (points - self.crop_from_image[:, 2]) @ np.linalg.inv(self.crop_from_image[:, :2]).T


def crop_transform(
    box: Float[np.ndarray, "4"], *, size: int, scale: float = MARGIN, roll: float = 0.0
) -> CropTransform:
    """The square of `scale` times the box's longer side about its centre, its content turned clockwise by `roll` rad.

    Raises ValueError for a box without extent or with values that are not finite.
    """
    box = np.asarray(box, np.float64)
    side = scale * max(box[2] - box[0], box[3] - box[1]) if np.isfinite(box).all() else 0.0
    if not side > 0:
        raise ValueError(f"face box: expected finite x0 < x1, y0 < y1, found {box.tolist()}")
    return _square((box[:2] + box[2:]) / 2, side, size=size, roll=roll)


def box_of_crop(crop: Float[np.ndarray, "4"]) -> Float[np.ndarray, "4"]:
    """The face box whose crop is the given square."""
    centre, half = (crop[:2] + crop[2:]) / 2, (crop[2:] - crop[:2]) / 2 / MARGIN
    return np.concatenate([centre - half, centre + half])


def crop_around(
    points: Float[np.ndarray, "n 2"], *, size: int, scale: float = MARGIN, roll: float = 0.0
) -> CropTransform:
    """The crop, its content turned clockwise by `roll` rad, that frames the points' tight box in the turned picture."""
    turn = _turn(roll)
    turned = points @ turn.T
    low, high = turned.min(0), turned.max(0)
    return _square(turn.T @ ((low + high) / 2), scale * float((high - low).max()), size=size, roll=roll)


def _square(centre: np.ndarray, side: float, *, size: int, roll: float) -> CropTransform:
    linear = _turn(roll) * (size / side)
    return CropTransform(np.column_stack([linear, size / 2 - linear @ centre]), size, float(roll))


def _turn(roll: float) -> np.ndarray:
    """Turns picture content clockwise (x right, y down)."""
    cos, sin = np.cos(roll), np.sin(roll)
    return np.array([[cos, -sin], [sin, cos]])


def cut(image: UInt8[np.ndarray, "h w 3"], transform: CropTransform) -> UInt8[np.ndarray, "s s 3"]:
    """The crop's picture: bilinear, blurred first where it shrinks; outside the photo its edge is repeated."""
    linear, offset = transform.crop_from_image[:, :2], transform.crop_from_image[:, 2]
    image, origin = _window(image, transform)
    offset = offset + linear @ origin
    shrink = 1 / transform.scale
    if shrink >= 2:  # first the mean over whole blocks, fast; the rest is below a factor of 2
        block = int(shrink)
        image, linear, shrink = shrink_by(image, block), linear * block, shrink / block
    if shrink > 1.2:  # the width at which the pixel grid of the crop is just not undersampled
        image = cv2.GaussianBlur(image, (0, 0), 0.45 * np.sqrt(shrink**2 - 1), borderType=cv2.BORDER_REPLICATE)
    index_from_index = np.column_stack([linear, offset + linear @ [0.5, 0.5] - 0.5])
    size = (transform.size, transform.size)
    return cv2.warpAffine(image, index_from_index, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def shrink_by(image: UInt8[np.ndarray, "h w 3"], factor: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Mean over factor x factor blocks; the last block of a row or column is filled up with its edge."""
    height, width = image.shape[:2]
    bottom, right = -height % factor, -width % factor
    if bottom or right:
        image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    size = (image.shape[1] // factor, image.shape[0] // factor)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def sized(image: np.ndarray, size: int) -> np.ndarray:
    """A square picture or mask at another size: means of areas where it shrinks, linear where it grows; no value leaves
    the picture's range."""
    if image.shape[0] == size:
        return image
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_LINEAR)


def _window(image: np.ndarray, transform: CropTransform) -> tuple[np.ndarray, np.ndarray]:
    """The part of the photo that the crop reads, with room for the blur, and its place (x, y).

    Always at least one pixel, so that the edge can be repeated.
    """
    height, width = image.shape[:2]
    s = float(transform.size)
    corners = transform.to_image(np.array([[0.0, 0.0], [s, 0.0], [0.0, s], [s, s]]))
    room = 2 + 2 / transform.scale
    low = np.clip(np.floor(corners.min(0) - room), 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(corners.max(0) + room), low + 1, [width, height]).astype(int)
    return image[low[1] : high[1], low[0] : high[0]], low.astype(np.float64)
