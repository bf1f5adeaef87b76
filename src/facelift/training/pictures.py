"""Contact sheets of predictions during training."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8


def draw_points(
    image: UInt8[np.ndarray, "s s 3"], points: Float[np.ndarray, "n 2"], colour: tuple[int, int, int]
) -> UInt8[np.ndarray, "t t 3"]:
    """The crop enlarged to at least 256 px, with points given in crop widths."""
    size = max(256, len(image))
    canvas = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
    for point in points[np.isfinite(points).all(-1)]:
        cv2.circle(canvas, tuple(int(round(v * size * 8 - 4)) for v in point), 12, colour, -1, cv2.LINE_AA, 3)
    return canvas


def sheet(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    """Equal tiles in rows; the last row is filled with grey."""
    blank = np.full_like(tiles[0], 128)
    tiles = tiles + [blank] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows, axis=0)
