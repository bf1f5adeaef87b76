"""A small linear 3DMM with random bases."""

from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture
def linear_model() -> SimpleNamespace:
    """What networks read of a `morphable.linear.LinearModel`: 75 vertices in units of about a face, 40 + 10
    coefficients, and a mean pose that puts the mean face into a crop of 120 px."""
    rng = np.random.default_rng(7)
    vertices, shapes, expressions = 75, 40, 10
    pose = np.array([[40, 0, 0, 60], [0, -40, 0, 60], [0, 0, -40, 0]], float).ravel()
    mean = np.concatenate([pose, np.zeros(shapes + expressions)])
    std = np.concatenate([np.tile([4.0, 4, 4, 8], 3), rng.uniform(0.5, 2, shapes + expressions)])
    return SimpleNamespace(
        mean=rng.standard_normal((vertices, 3)).astype(np.float32),
        shape=0.1 * rng.standard_normal((shapes, vertices, 3)).astype(np.float32),
        expression=0.1 * rng.standard_normal((expressions, vertices, 3)).astype(np.float32),
        landmark_vertices=rng.permutation(vertices)[:68],
        whitening=SimpleNamespace(mean=mean.astype(np.float32), std=std.astype(np.float32)),
    )
