"""Small linear models of random numbers: 100 vertices, 5 shape and 3 expression components."""

import numpy as np
import pytest

from facelift.landmarks import IBUG68
from facelift.morphable.linear import LinearModel, Whitening
from facelift.sources import Source

MIDDLE = 10
"""Vertices before this are on the plane x = 0; of those behind, each even one is the partner of the next."""


@pytest.fixture
def partners() -> np.ndarray:
    """The mirror image's vertices."""
    index = np.arange(100)
    return np.where(index < MIDDLE, index, index ^ 1)


@pytest.fixture
def marks() -> np.ndarray:
    """Landmarks of the left half are even vertices, their partners odd ones."""
    found = np.zeros(68, np.int32)
    own = IBUG68.mirror == np.arange(68)
    found[own] = np.arange(MIDDLE)
    left = np.flatnonzero(IBUG68.mirror > np.arange(68))
    found[left] = MIDDLE + 2 * np.arange(len(left))
    found[IBUG68.mirror[left]] = found[left] + 1
    return found


@pytest.fixture
def plain(rng, marks) -> LinearModel:
    """No symmetry at all; float64, so that sums are exact."""
    return LinearModel(
        mean=rng.standard_normal((100, 3)),
        shape=rng.standard_normal((5, 100, 3)),
        expression=rng.standard_normal((3, 100, 3)),
        faces=rng.integers(0, 100, (40, 3)),
        landmark_vertices=marks,
        uv=rng.random((100, 2)),
        whitening=Whitening(rng.standard_normal(20), rng.uniform(0.5, 2, 20)),
        sources=(Source("numbers", "none", free=True),),
        name="plain",
    )


@pytest.fixture
def symmetric_mean(rng, partners) -> np.ndarray:
    """A mean that is its own mirror image at x = 0, no two vertices near each other."""
    mean = rng.normal([4, 0, 0], 1, (100, 3))
    mean[:MIDDLE, 0] = 0
    mean[MIDDLE + 1 :: 2] = mean[MIDDLE::2] * [-1, 1, 1]
    return mean
