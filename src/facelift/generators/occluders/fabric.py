"""Masks, caps, headscarves and scarves."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from facelift.generators.occluders.parts import (
    CM,
    HeadShape,
    Part,
    cloth_picture,
    direction_of,
    grid,
    plain_picture,
    tube,
)
from facelift.rendering import materials


def mask(rng: np.random.Generator, head: HeadShape, marks: np.ndarray) -> list[Part]:
    """Cloth from the bridge of the nose to under the chin, with pleats or a ridge, and straps to the ears."""
    below_nose = rng.random() < 0.12
    nose = marks[57] - [0, 0.3 * CM, 0] if below_nose else marks[51] + rng.uniform(0.1, 0.85) * (marks[53] - marks[51])
    top, bottom = (
        np.arcsin((p - head.centre)[1] / np.linalg.norm(p - head.centre))
        for p in (nose, marks[16] - [0, rng.uniform(0.3, 1.5) * CM, 2 * CM])
    )
    reach = np.radians(rng.uniform(52, 72))
    side_top, side_bottom = top - np.radians(rng.uniform(8, 18)), bottom + np.radians(rng.uniform(10, 22))
    azimuth, row = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(0, 1, 29))
    edge = np.abs(azimuth) ** rng.uniform(1.0, 1.8)
    upper, lower = top + edge * (side_top - top), bottom + edge * (side_bottom - bottom)
    directions = direction_of(azimuth * reach, upper + row * (lower - upper))
    points = head.shell(directions, 0.2 * CM, taut=int(rng.integers(3, 7)))
    middle = np.sin(np.pi * row) * (1 - azimuth**2)
    if rng.random() < 0.6:
        bulge = rng.uniform(0, 0.5) * middle - 0.2 * ((row * 4) % 1) * middle  # pleats
    else:
        bulge = rng.uniform(0.5, 2.0) * middle * (1 - np.abs(azimuth))  # ridge
    points = points + directions * (bulge * CM)[..., None]
    colours = ([0.35, 0.6, 0.8], [0.8, 0.8, 0.8], [0.02, 0.02, 0.02], [0.3, 0.65, 0.55], None)
    cloth = cloth_picture(rng, colours[rng.integers(len(colours))])
    parts = [grid(points, materials.CLOTH, cloth, inside=head.centre)]
    white = plain_picture([0.7, 0.7, 0.7])
    for column, ear in ((0, marks[0]), (-1, marks[32])):
        for corner, lift in ((points[1, column], 0.5), (points[-2, column], -0.5)):
            end = ear + np.array([0, lift * CM, -2.5 * CM])
            path = head.outside(corner + np.linspace(0, 1, 14)[:, None] * (end - corner), np.full(14, 0.1 * CM))
            parts.append(
                tube(path, [(0.1 * CM, 0.1 * CM)], materials.CLOTH, white, up=np.array([0.0, 1, 0]), sections=5)
            )
    return parts


def cap(rng: np.random.Generator, skin: np.ndarray, marks: np.ndarray) -> list[Part]:
    """A cap with a peak, before or behind, or a woollen hat."""
    brow = marks[[35, 44]].mean(0)
    head = HeadShape(skin[skin[:, 1] > marks[57, 1]], np.array([0, brow[1] + 1 * CM, marks[0, 2] - 2.5 * CM]))
    woollen = rng.random() < 0.4
    front = np.radians(rng.uniform(4, 14) if woollen else rng.uniform(10, 20))
    back = np.radians(rng.uniform(-35, -12))
    azimuth, row = np.meshgrid(np.linspace(-np.pi, np.pi, 65), np.linspace(0, 1, 25))
    rim = back + (front - back) * (0.5 + 0.5 * np.cos(azimuth))
    elevation = np.pi / 2 - 0.02 - row * (np.pi / 2 - 0.02 - rim)
    directions = direction_of(azimuth, elevation)
    points = head.shell(directions, rng.uniform(0.5, 1.3) * CM, taut=2)
    points[:, [0, -1]] = points[:, [0, -1]].mean(1, keepdims=True)
    top = np.sin(elevation) ** 4 * (rng.uniform(0, 2.5) if woollen else rng.uniform(0, 0.8))
    fold = 0.45 * (row > 0.75) if woollen else np.zeros_like(row)
    points = points + directions * ((top + fold) * CM)[..., None]
    cloth = cloth_picture(rng)
    parts = [grid(points, materials.CLOTH, cloth, inside=head.centre)]
    if not woollen:
        parts.append(_peak(rng, points[-1], azimuth[-1], cloth, turned=rng.random() < 0.15))
    return parts


def _peak(rng: np.random.Generator, rim: np.ndarray, azimuth: np.ndarray, cloth: np.ndarray, *, turned: bool) -> Part:
    """A bent sheet that goes on from the rim."""
    half = np.radians(rng.uniform(48, 62))
    across = np.linspace(-1, 1, 33)
    towards = (-1 if turned else 1) * np.array([0, rng.uniform(-0.35, 0.1), 1])
    place = np.pi - half * across if turned else half * across
    start = np.stack([np.interp(place, azimuth, rim[:, k], period=2 * np.pi) for k in range(3)], -1)
    length = rng.uniform(5, 7.5) * CM * np.sqrt(np.clip(1 - across**2, 0, 1))
    share = np.linspace(0, 1, 9)
    sheet = start + share[:, None, None] * length[:, None] * towards
    bend = rng.uniform(0.2, 1.6) * CM * across**2
    sheet[..., 1] -= share[:, None] * bend
    return grid(sheet, materials.CLOTH, cloth, inside=sheet.mean((0, 1)) - [0, 1, 0])


def headscarf(rng: np.random.Generator, head: HeadShape, marks: np.ndarray) -> list[Part]:
    """Cloth about the whole head but an oval of the face, and about the neck."""
    crown = marks[[34, 37, 42, 45]] + [0, rng.uniform(1.5, 4.5) * CM, -1 * CM]
    rim = np.concatenate([marks[:33], crown]) - head.centre
    turn, spread = np.arctan2(rim[:, 0], rim[:, 1]), np.arctan2(np.hypot(rim[:, 0], rim[:, 1]), rim[:, 2])
    around, row = np.meshgrid(np.linspace(-np.pi, np.pi, 65), np.linspace(0, 1, 25) ** 1.5)
    order = np.argsort(turn)
    inner = gaussian_filter1d(np.interp(around[0], turn[order], spread[order], period=2 * np.pi), 2, mode="wrap")
    inner = np.minimum(inner, np.pi / 2 - 0.1) * rng.uniform(0.76, 1.0)
    angle = inner + row * (np.pi - 0.02 - inner)
    directions = np.stack([np.sin(angle) * np.sin(around), np.sin(angle) * np.cos(around), np.cos(angle)], -1)
    points = head.shell(directions, rng.uniform(0.4, 1.0) * CM, taut=2)
    points[:, [0, -1]] = points[:, [0, -1]].mean(1, keepdims=True)
    cloth = cloth_picture(rng)
    return [grid(points, materials.CLOTH, cloth, inside=head.centre), _ring(rng, head, marks, cloth, -4.5)]


def scarf(rng: np.random.Generator, head: HeadShape, marks: np.ndarray) -> list[Part]:
    """A thick ring about the neck, up to the chin or over it."""
    return [_ring(rng, head, marks, cloth_picture(rng), rng.uniform(-4, 2.5))]


def _ring(rng: np.random.Generator, head: HeadShape, marks: np.ndarray, cloth: np.ndarray, height_cm: float) -> Part:
    azimuth = np.linspace(-np.pi, np.pi, 49)
    middle = marks[16] + [0, height_cm * CM, 0]
    tilt = rng.uniform(0, 0.25)
    half = np.array([rng.uniform(6.5, 8.5), 7.0]) * CM
    path = np.stack([half[0] * np.sin(azimuth), tilt * half[1] * (1 - np.cos(azimuth)), half[1] * np.cos(azimuth)], -1)
    path += [0, middle[1], middle[2] - half[1] - 0.5 * CM]
    thick, tall = rng.uniform(1.5, 2.5) * CM, rng.uniform(2.5, 4) * CM
    path = gaussian_filter1d(head.outside(path, np.full(len(path), 0.5 * thick)), 2, axis=0, mode="wrap")
    path[-1] = path[0]
    folds = 1 + 0.12 * np.sin(azimuth * rng.integers(5, 11))[:, None]
    return tube(path, np.array([[thick, tall]]) * folds, materials.CLOTH, cloth, up=np.array([0.0, 1, 0]), sections=16)
