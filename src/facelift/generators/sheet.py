"""Contact sheets of views."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from facelift.generators.protocol import Generator, View


def contact_sheet(
    generator: Generator,
    seeds: Sequence[int],
    rotations: Float[np.ndarray, "n 3 3"],
    translations: Float[np.ndarray, "n 3"],
    *,
    size: int = 256,
    columns: int = 8,
    points: bool = False,
) -> UInt8[np.ndarray, "h w 3"]:
    """Every seed from every camera, row by row; with exact landmarks drawn in: green where seen, red where hidden."""
    tiles = [
        _draw(view) if points else view.image
        for seed in seeds
        for view in generator.render(seed, rotations, translations, size)
    ]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows, axis=0)


def _draw(view: View) -> np.ndarray:
    image = view.image.copy()
    if view.points is None or view.visible is None:
        return image
    for point, seen in zip(view.points, view.visible, strict=True):
        place = (round(point[0] * 8 - 4), round(point[1] * 8 - 4))
        cv2.circle(image, place, max(8, view.size // 24), (0, 255, 80) if seen else (255, 60, 40), -1, cv2.LINE_AA, 3)
    return image
