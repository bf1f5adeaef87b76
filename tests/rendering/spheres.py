"""A face of simple form: the front of a sphere in the image frame, with a texture whose halves mirror each other."""

import numpy as np

ROWS, COLUMNS = 40, 60
REACH = np.radians(110)
"""Azimuth of the mesh's edges."""


def sphere(centre: tuple[float, float], radius: float, *, turn_deg: float = 0.0) -> np.ndarray:
    """(v, 3) in the image frame; turned to the picture's right."""
    latitude, azimuth = np.meshgrid(
        np.linspace(1.3, -1.3, ROWS + 1), np.linspace(-REACH, REACH, COLUMNS + 1), indexing="ij"
    )
    azimuth = azimuth + np.radians(turn_deg)
    x, y, z = np.cos(latitude) * np.sin(azimuth), -np.sin(latitude), -np.cos(latitude) * np.cos(azimuth)
    return radius * np.stack([x, y, z], -1).reshape(-1, 3) + [*centre, 0]


def topology() -> tuple[np.ndarray, np.ndarray]:
    """(faces, uv): fronts outside; u from the picture's left to its right."""
    corner = (np.arange(ROWS)[:, None] * (COLUMNS + 1) + np.arange(COLUMNS)).reshape(-1, 1)
    down = COLUMNS + 1
    faces = np.concatenate([corner + np.array(step) for step in ([0, down, 1], [1, down, down + 1])])
    v, u = np.meshgrid(np.linspace(0.95, 0.05, ROWS + 1), np.linspace(0.05, 0.95, COLUMNS + 1), indexing="ij")
    return faces, np.stack([u, v], -1).reshape(-1, 2)


def smooth_texture(size: int, *, symmetric: bool) -> np.ndarray:
    """Slow waves in three channels, 40..215."""
    axis = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(axis, axis)
    odd = np.zeros_like(u) if symmetric else np.sin(7 * (u - 0.5))
    waves = [np.cos(9 * (u - 0.5)) * np.cos(5 * v), np.cos(6 * (u - 0.5) ** 2 + 4 * v), np.sin(8 * v)]
    return np.rint(128 + 87 * (np.stack(waves, -1) + odd[..., None]) / (1 if symmetric else 2)).astype(np.uint8)
