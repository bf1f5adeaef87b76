"""Glasses: clear with frames, or sunglasses."""

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from facelift.generators.occluders.parts import (
    CM,
    Part,
    grid,
    plain_picture,
    tube,
)
from facelift.rendering import materials
from facelift.rendering.raster import HALF, MOSTLY, TWO_SIDED

_SHADES = ((0.22, TWO_SIDED), (0.1, MOSTLY), (0.1, HALF))
"""Shares of glasses with black, dark and tinted lenses; the others are clear and have frames alone."""


def glasses(rng: np.random.Generator, skin: np.ndarray, marks: np.ndarray) -> list[Part]:
    """Two rims, a bridge, temples to the ears, and lenses where they are dark."""
    eyes = np.stack([marks[60:68].mean(0), marks[68:76].mean(0)])
    wide, high = rng.uniform(2.3, 3.1) * CM, rng.uniform(1.5, 2.6) * CM
    round_, thick = rng.uniform(2, 4.5), rng.uniform(0.07, 0.28) * CM
    drop = rng.uniform(-0.2, 0.9) * CM
    curve = rng.uniform(0.3, 1.0)
    angle = np.linspace(0, 2 * np.pi, 37)
    cosine, sine = np.cos(angle), np.sin(angle)
    outline = np.stack([np.sign(cosine) * abs(cosine) ** (2 / round_), np.sign(sine) * abs(sine) ** (2 / round_)], -1)
    gap = max(abs(eyes[:, 0]).mean() + rng.uniform(-0.1, 0.3) * CM, wide + 0.9 * CM)
    centres = np.array([[-gap, eyes[:, 1].mean() - drop], [gap, eyes[:, 1].mean() - drop]])
    off = np.abs(np.abs(skin[:, :2]) - [gap, centres[0, 1]])
    behind = skin[(off[:, 0] < wide) & (off[:, 1] < high) & (skin[:, 2] > 0.5 * eyes[0, 2])]
    depth = (behind[:, 2] + curve * behind[:, 0] ** 2).max() + rng.uniform(0.15, 0.7) * CM

    def at(points: np.ndarray) -> np.ndarray:
        return np.column_stack([points, depth - curve * points[:, 0] ** 2])

    colour = rng.choice([0.01, 0.03, 0.3]) * rng.uniform(0.5, 1.5, 3) if rng.random() < 0.8 else rng.random(3)
    frame = plain_picture(colour)
    parts, forward, chance = [], np.array([0.0, 0.0, 1.0]), rng.random()
    rims = [at(centre + outline * [wide, high]) for centre in centres]
    lens = next((alpha for share, alpha in _SHADES if (chance := chance - share) < 0), None)
    if lens is None or rng.random() < 0.8:
        parts += [tube(rim, [(thick / 2, thick / 2)], materials.FRAME, frame, up=forward, sections=6) for rim in rims]
    bridge_x = np.linspace(-(gap - wide), gap - wide, 9)
    bridge = at(np.column_stack([bridge_x, centres[0, 1] + 0.3 * high + 0.25 * CM * np.cos(bridge_x / gap * 3)]))
    bridge[:, 2] = np.maximum(bridge[:, 2], marks[51, 2] + 0.3 * CM)
    parts.append(tube(bridge, [(thick / 2, thick / 2)], materials.FRAME, frame, up=forward, sections=6))
    for side, rim in zip((-1, 1), rims, strict=True):
        parts.append(_temple(skin, marks, side, rim, thick, frame))
    if lens is not None:
        tint = plain_picture(rng.uniform(0.005, 0.04, 3))
        parts += [_lens(rim, tint, lens) for rim in rims]
    return parts


def _temple(skin: np.ndarray, marks: np.ndarray, side: int, rim: np.ndarray, thick: float, frame) -> Part:
    """From the outer edge of a rim past the temple to where the ear begins."""
    hinge = rim[np.argmax(side * rim[:, 0])] + [0, 0.25 * CM, 0]
    ear = marks[0 if side < 0 else 32] + [0, 0.8 * CM, -2.2 * CM]
    path = hinge + np.linspace(0, 1, 12)[:, None] * (ear - hinge)
    near = cKDTree(skin[:, 1:])
    for point in path:
        around = skin[near.query_ball_point(point[1:], 0.5 * CM)]
        point[0] = side * max(side * point[0], (side * around[:, 0]).max(initial=0) + 0.12 * CM)
    path[:, 0] = side * np.maximum(side * path[:, 0], side * gaussian_filter1d(path[:, 0], 1.5))
    tail = path[-1] + [[-0.3 * side * CM, -0.1 * CM, -1.2 * CM], [-0.8 * side * CM, -1.2 * CM, -2.4 * CM]]
    path = np.concatenate([rim[[np.argmax(side * rim[:, 0])]], path, tail])
    return tube(
        path, [(thick / 2, 0.35 * thick + 0.06 * CM)], materials.FRAME, frame, up=np.array([0.0, 1, 0]), sections=6
    )


def _lens(rim: np.ndarray, tint: np.ndarray, alpha: int) -> Part:
    centre = rim[:-1].mean(0) + np.array([0, 0, 0.15 * CM])
    rings = centre + np.linspace(0.02, 1, 5)[:, None, None] * (rim - centre)
    return grid(rings, materials.LENS, tint, inside=centre - [0, 0, 1], alpha=alpha)
