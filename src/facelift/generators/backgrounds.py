"""Pictures behind the head: crops of photos without faces, or coloured noise and boxes."""

import io
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image

from facelift.datasets.packed import tar_files


class Backgrounds:
    """Photos of backgrounds.tar in a data folder if there is one, else procedural scenes. Linear colour out."""

    def __init__(self, data: Path | None):
        self._jpeg: list[bytes] = []
        path = Path(data) / "backgrounds.tar" if data else None
        if path is not None and path.is_file():
            self._jpeg = [content for _, content in sorted(tar_files(path).items())]

    def __call__(self, seed: int, size: int) -> Float[np.ndarray, "s s 3"]:
        """The scene of a seed."""
        rng = np.random.default_rng([seed, 77])
        picture = self._photo(rng, size) if self._jpeg and rng.random() < 0.85 else _procedural(rng, size)
        blur = rng.choice([0, rng.uniform(0, 0.02)]) * size
        return cv2.GaussianBlur(picture, (0, 0), blur) if blur > 0.3 else picture

    def _photo(self, rng: np.random.Generator, size: int) -> np.ndarray:
        photo = Image.open(io.BytesIO(self._jpeg[rng.integers(len(self._jpeg))])).convert("RGB")
        side = min(photo.size) * rng.uniform(0.4, 1.0)
        left, top = (rng.uniform(0, extent - side) for extent in photo.size)
        crop = photo.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
        return (np.asarray(crop, np.float32) / 255) ** np.float32(2.2) * np.float32(rng.uniform(0.5, 1.3))


def _procedural(rng: np.random.Generator, size: int) -> np.ndarray:
    """Soft noise of several octaves and some boxes, in muted colours."""
    saturation = rng.uniform(0, 0.5)

    def mute(colour: np.ndarray) -> np.ndarray:
        return (colour * saturation + colour.mean(-1, keepdims=True) * (1 - saturation)).astype(np.float32)

    picture = np.zeros((size, size, 3), np.float32) + mute(rng.random(3) * 0.8)
    for octave in (2, 4, 8, 16, 32)[: rng.integers(1, 6)]:
        noise = mute(rng.random((octave + 1, octave + 1, 3)))
        picture += (cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC) - 0.5) * (1.2 / octave**0.5)
    for _ in range(rng.integers(0, 12)):
        x, y = rng.integers(-size // 4, size, 2)
        width, height = rng.integers(size // 12, size, 2)
        colour = tuple(float(v) for v in mute(rng.random(3)))
        cv2.rectangle(picture, (int(x), int(y)), (int(x + width), int(y + height)), colour, -1)
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, size / 40))
    return np.clip(picture, 0, 1) ** np.float32(2.2)
