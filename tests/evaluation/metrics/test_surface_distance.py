"""Closest points on a mesh: each region of a triangle by hand, and all triangles by brute force and by a solver."""

import numpy as np
import pytest
from scipy.optimize import minimize

from facelift.evaluation.metrics import surface_distance
from facelift.evaluation.metrics.surface_distance import Surface, closest_on_triangles

TRIANGLE = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0]])


@pytest.mark.parametrize(
    ("point", "foot"),
    [
        ((1, 1, 3), (1, 1, 0)),  # inside
        ((1, 2, -5), (1, 2, 0)),
        ((2, -3, 1), (2, 0, 0)),  # beside each edge
        ((-3, 2, 1), (0, 2, 0)),
        ((3, 3, 1), (2, 2, 0)),
        ((-1, -2, 1), (0, 0, 0)),  # beyond each corner
        ((7, -1, 0), (4, 0, 0)),
        ((-1, 9, 2), (0, 4, 0)),
    ],
)
def test_every_region_of_a_triangle(point, foot):
    np.testing.assert_allclose(closest_on_triangles(np.array(point, float), TRIANGLE), foot, atol=1e-15)


def test_feet_are_what_a_constrained_solver_finds(rng):
    for triangle, point in zip(rng.standard_normal((15, 3, 3)), 2 * rng.standard_normal((15, 3)), strict=True):
        found = minimize(
            lambda vw, p=point, t=triangle: (((1 - vw.sum()) * t[0] + vw @ t[1:] - p) ** 2).sum(),
            [0.3, 0.3],
            method="SLSQP",
            bounds=[(0, 1), (0, 1)],
            constraints={"type": "ineq", "fun": lambda vw: 1 - vw.sum()},
            options={"ftol": 1e-15},
        )
        foot = closest_on_triangles(point, triangle)
        assert ((foot - point) ** 2).sum() == pytest.approx(found.fun, abs=1e-9)


def test_triangles_without_area_are_segments_and_points():
    segment = np.array([[0.0, 0, 0], [1, 0, 0], [3, 0, 0]])
    np.testing.assert_allclose(closest_on_triangles(np.array([2.0, 5, 0]), segment), [2, 0, 0])
    np.testing.assert_allclose(closest_on_triangles(np.array([9.0, 1, 1]), segment), [3, 0, 0])
    np.testing.assert_allclose(closest_on_triangles(np.array([9.0, 1, 1]), np.ones((3, 3))), [1, 1, 1])


def brute_force(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Distances without the code under test: dense samples would not be exact, so projection and edges by lstsq."""
    best = np.full(len(points), np.inf)
    for a, b, c in corners:
        basis = np.stack([b - a, c - a], axis=1)
        vw = np.linalg.lstsq(basis, (points - a).T, rcond=None)[0].T
        inside = (vw >= 0).all(1) & (vw.sum(1) <= 1)
        plane = np.linalg.norm(points - a - vw @ basis.T, axis=1)
        best = np.where(inside, np.minimum(best, plane), best)
        for start, end in ((a, b), (b, c), (c, a)):
            share = np.clip((points - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
            best = np.minimum(best, np.linalg.norm(points - start - share[:, None] * (end - start), axis=1))
    return best


@pytest.mark.parametrize("spread", [1.0, 30.0, 300.0])
def test_distances_are_those_of_all_triangles(bumpy_grid, rng, spread):
    vertices, triangles = bumpy_grid
    points = vertices[rng.integers(0, 625, 60)] + spread * rng.standard_normal((60, 3))
    surface = Surface(vertices, triangles)
    found = surface.closest(points)
    expected = brute_force(points, vertices[triangles])
    np.testing.assert_allclose(found.distances, expected, rtol=1e-9, atol=1e-9)
    assert expected.mean() > 0.2 * spread
    on_own = closest_on_triangles(points, surface.corners[found.triangles])
    np.testing.assert_allclose(found.points, on_own, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(points - found.points, axis=1), found.distances, rtol=1e-12)


def test_a_huge_triangle_among_small_ones_is_found(bumpy_grid):
    """Its middle is far from a point that it all but touches."""
    vertices, triangles = bumpy_grid
    sheet = np.array([[-30.0, 0, 60], [5000, 10, 60], [5000, -10, 60]])
    surface = Surface(np.concatenate([vertices, sheet]), np.concatenate([triangles, [[625, 626, 627]]]))
    found = surface.closest(np.array([[-20.0, 0, 59], [0, 0, 59.5], [0, 0, -200]]))
    np.testing.assert_allclose(found.distances[:2], [1, 0.5])
    assert found.triangles[:2].tolist() == [len(triangles)] * 2 and found.triangles[2] != len(triangles)


def test_blocks_do_not_matter(bumpy_grid, rng, monkeypatch):
    vertices, triangles = bumpy_grid
    points = 40 * rng.standard_normal((100, 3))
    whole = Surface(vertices, triangles).closest(points)
    monkeypatch.setattr(surface_distance, "_CHUNK", 7)
    monkeypatch.setattr(surface_distance, "_PAIRS", 50)
    np.testing.assert_array_equal(Surface(vertices, triangles).closest(points).distances, whole.distances)


def test_no_points_have_no_feet(bumpy_grid):
    assert Surface(*bumpy_grid).closest(np.zeros((0, 3))).points.shape == (0, 3)


def test_bad_input_is_refused(bumpy_grid):
    vertices, triangles = bumpy_grid
    with pytest.raises(ValueError, match="at least one triangle"):
        Surface(vertices, triangles[:0])
    with pytest.raises(ValueError, match="indices below 100, found 624"):
        Surface(vertices[:100], triangles)
    with pytest.raises(ValueError, match="finite vertices"):
        Surface(np.full_like(vertices, np.nan), triangles)
    with pytest.raises(ValueError, match="finite points"):
        Surface(vertices, triangles).closest(np.full((1, 3), np.nan))
