"""Augmentation of a face crop: where it is cut, what covers it, and what the camera did to it."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from facelift.crops import MARGIN, CropTransform, crop_transform


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes. The defaults suit training at 128 px."""

    scale: float = 0.10
    """Standard deviation of the log of the crop's side."""
    shift: float = 0.05
    """Standard deviation of the crop's place, in crop sides."""
    roll_deg: float = 18.0
    """Standard deviation of the in-plane turn about the crop's middle, which the camera's roll absorbs exactly."""
    large_roll: float = 0.08
    """Share of crops turned evenly within +-90 degrees instead."""
    occluder: float = 0.35
    """Share of crops with something pasted over the face."""
    colour: float = 1.0
    """Strength of colour, blur, noise and compression; 0 turns them off."""


def random_crop(
    rng: np.random.Generator, box: Float[np.ndarray, "4"], size: int, augmentation: Augmentation
) -> CropTransform:
    """A crop about the face box, drawn from the augmentation's ranges."""
    roll = random_roll(rng, augmentation)
    scale = MARGIN * np.exp(np.clip(rng.normal(0.02, augmentation.scale), -0.3, 0.3))
    side = scale * max(box[2] - box[0], box[3] - box[1])
    shift = np.clip(rng.normal(0, augmentation.shift, 2), -0.15, 0.15) * side
    return crop_transform(box + np.tile(shift, 2), size=size, scale=scale, roll=roll)


def random_roll(rng: np.random.Generator, augmentation: Augmentation) -> float:
    """Clockwise turn in rad, drawn from the augmentation's ranges."""
    roll = rng.normal(0, augmentation.roll_deg)
    if rng.random() < augmentation.large_roll:
        roll = rng.uniform(-90, 90)
    return float(np.radians(roll))


def occlude(
    rng: np.random.Generator, image: UInt8[np.ndarray, "s s 3"], other: UInt8[np.ndarray, "h w 3"]
) -> tuple[UInt8[np.ndarray, "s s 3"], np.ndarray]:
    """Pastes an ellipse or box of `other` or of one colour; returns the picture and the (s, s) cover mask."""
    size = len(image)
    mask = np.zeros((size, size), np.uint8)
    centre = tuple(int(v) for v in rng.uniform(0.1, 0.9, 2) * size)
    axes = tuple(int(v) for v in rng.uniform(0.06, 0.28, 2) * size)
    if rng.random() < 0.5:
        cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 1, -1)
    else:
        box = cv2.boxPoints((centre, (2 * axes[0], 2 * axes[1]), rng.uniform(0, 90))).astype(np.int32)
        cv2.fillPoly(mask, [box], 1)
    if rng.random() < 0.6:
        cover = cv2.resize(other, (size, size))
        cover = cv2.flip(cover, 1) if rng.random() < 0.5 else cover
    else:
        cover = np.full_like(image, rng.integers(0, 256, 3))
    return np.asarray(cv2.copyTo(cover, mask, image.copy())), mask > 0


def distort(rng: np.random.Generator, image: UInt8[np.ndarray, "s s 3"], strength: float) -> np.ndarray:
    """Colour, tone, blur, low resolution, noise and JPEG, each at random; in bytes, rounded after each."""
    if strength <= 0:
        return image
    x, size = image, len(image)
    if rng.random() < 0.8:
        gain = (1 + strength * rng.uniform(-0.12, 0.12, 3)) * np.exp(strength * rng.normal(0, 0.2))
        shift, gamma = strength * rng.normal(0, 0.06), np.exp(rng.normal(0, 0.25))
        curve = np.clip(_LEVELS * gain + shift, 0, 1) ** gamma
        x = cv2.LUT(x, np.rint(255 * curve).astype(np.uint8))
    if rng.random() < 0.15:
        x = cv2.transform(x, np.full((3, 3), 1 / 3))
    if rng.random() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, 1.6) * strength)
    if rng.random() < 0.2:
        low = int(size * rng.uniform(0.25, 0.8))
        x = cv2.resize(cv2.resize(x, (low, low), interpolation=cv2.INTER_AREA), (size, size))
    if rng.random() < 0.3:
        x = _noisy(rng, x, rng.uniform(0, 0.06) * strength)
    if rng.random() < 0.3:
        data = cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 90))])[1]
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None  # just encoded
        x = decoded
    return np.asarray(x)


_LEVELS = (np.arange(256) / 255)[None, :, None]
"""The values of a byte, as cv2's table of each channel is shaped."""


def _noisy(rng: np.random.Generator, image: UInt8[np.ndarray, "s s 3"], sigma: float) -> UInt8[np.ndarray, "s s 3"]:
    """Gaussian noise of every pixel and channel; a stretch of one long sequence, drawn once: ten times as fast."""
    noise = _noise_sequence(16 * image.size)
    start = int(rng.integers(len(noise) - image.size))
    part = noise[start : start + image.size].reshape(image.shape)
    return np.asarray(cv2.add(image, part * np.float32(255 * sigma), dtype=cv2.CV_8U))


@cache
def _noise_sequence(count: int) -> Float[np.ndarray, "n"]:
    return np.random.default_rng(0).standard_normal(count, np.float32)
