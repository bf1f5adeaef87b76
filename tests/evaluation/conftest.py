"""A surface to align and to measure."""

import numpy as np
import pytest


@pytest.fixture
def bumpy_grid() -> tuple[np.ndarray, np.ndarray]:
    """(vertices, triangles) of a height field of 120 x 120 mm, normals to +z, with nothing that ICP could slide along
    or, being irregular, lock onto."""
    axis, jitter = np.linspace(-60, 60, 25), np.random.default_rng(5).uniform(-2, 2, (2, 625))
    x, y = np.reshape(np.meshgrid(axis, axis), (2, 625)) + jitter
    height = 25 * np.exp(-((x - 5) ** 2 + (y + 8) ** 2) / 500) + 8 * np.sin(x / 17) * np.cos(y / 23 + 1) - x * y / 300
    index = np.arange(625).reshape(25, 25)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    triangles = np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])
    return np.stack([x, y, height], axis=1), triangles
