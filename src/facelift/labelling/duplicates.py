"""Near-identical faces: frames of one item by landmark motion and picture, other items by a difference hash."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

_INNER = slice(33, 96)
"""WFLW-98 without the jaw, whose points slide, and the pupils."""
_SIDE = 32
"""Side of the pictures that are compared, px."""


@dataclass(frozen=True)
class DuplicateConfig:
    """When a face adds nothing to what was kept before."""

    motion: float = 0.01
    """Frames of one video: the largest way that a point of brows, nose, eyes or mouth has gone, in widths of the face's
    crop, below which two frames may be one. A blink is 0.02; from frame to frame points tremble by 0.003..."""
    picture: float = 8.0
    """...and are, where their crops' mean difference is below so many of 256 grey levels too."""
    hash_bits: int = 20
    """Other items: so many of the 256 bits of a difference hash, or fewer, differ between two copies of a picture."""


@dataclass(frozen=True, eq=False)
class Appearance:
    """What is compared of a face, from its crop."""

    points: Float[np.ndarray, "98 2"]
    """Crop widths."""
    thumbnail: Float[np.ndarray, "32 32"]
    """Grey levels."""
    hash: UInt8[np.ndarray, "32"]


def appearance(crop: UInt8[np.ndarray, "s s 3"], points: Float[np.ndarray, "98 2"]) -> Appearance:
    """`points` in px of the crop."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
    return Appearance(points / len(crop), thumbnail, difference_hash(grey))


def difference_hash(grey: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "32"]:
    """256 bits: whether each of 16 x 16 cells is brighter than the one to its left."""
    cells = cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA).astype(int)
    return np.packbits(cells[:, 1:] > cells[:, :-1])


class KeptOfItem:
    """The faces of one item that are no copies of each other."""

    def __init__(self, config: DuplicateConfig):
        self._config = config
        self._kept: list[Appearance] = []

    def is_copy(self, face: Appearance) -> bool:
        """Whether a face like this was kept."""
        if not self._kept:
            return False
        motion = np.linalg.norm(np.stack([f.points for f in self._kept]) - face.points, axis=-1)[:, _INNER].max(-1)
        change = np.abs(np.stack([f.thumbnail for f in self._kept]) - face.thumbnail).mean((1, 2))
        return bool(((motion < self._config.motion) & (change < self._config.picture)).any())

    def keep(self, face: Appearance) -> None:
        """Remembers a face."""
        self._kept.append(face)


class KeptOfOthers:
    """The faces of all finished items, by their hashes."""

    def __init__(self, config: DuplicateConfig):
        self._config = config
        self._hashes = np.zeros((0, 32), np.uint8)

    def is_copy(self, look: UInt8[np.ndarray, "32"]) -> bool:
        """Whether a face with a hash like this was kept."""
        bits = np.bitwise_count(self._hashes ^ look).sum(-1, dtype=np.int64)
        return bool((bits <= self._config.hash_bits).any())

    def remember(self, hashes: UInt8[np.ndarray, "n 32"]) -> None:
        """Faces of a finished item."""
        self._hashes = np.concatenate([self._hashes, hashes])
