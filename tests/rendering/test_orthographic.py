"""The z-buffer in NumPy against a plain twin, against the compiled rasteriser, and against planes' equations."""

import numpy as np
import pytest

from facelift.rendering.fragments import FAR
from facelift.rendering.orthographic import rasterize_orthographic


def plain(vertices: np.ndarray, faces: np.ndarray, hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(triangle, weights, depth): every triangle against every pixel."""
    x, y = np.meshgrid(np.arange(hw[1]) + 0.5, np.arange(hw[0]) + 0.5)
    depth, triangle, weights = np.full(hw, FAR), np.full(hw, -1), np.zeros((*hw, 2))
    for index, face in enumerate(faces):
        (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = vertices[face]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0:
            continue
        w0 = ((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)) / area
        w1 = ((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) / area
        z = w0 * z0 + w1 * z1 + (1 - w0 - w1) * z2
        nearer = (w0 >= 0) & (w1 >= 0) & (w0 + w1 <= 1) & (z < depth)
        depth[nearer], triangle[nearer], weights[nearer] = z[nearer], index, np.stack([w0, w1], -1)[nearer]
    return triangle, weights, depth


@pytest.fixture
def soup(rng) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of all sizes, before and behind z = 0, some partly or wholly outside of 30 x 40 px."""
    large = np.column_stack([rng.uniform(-15, 55, 80), rng.uniform(-15, 45, 80), rng.uniform(-50, 50, 80)])
    small = large[rng.integers(0, 80, 60)].repeat(3, axis=0) + rng.normal(0, 2, (180, 3)) - [0, 0, 30]
    faces = np.concatenate([rng.integers(0, 80, (15, 3)), np.arange(80, 260).reshape(60, 3)])
    return np.concatenate([large, small]), faces


def test_equals_the_plain_twin(soup):
    found = rasterize_orthographic(*soup, (30, 40))
    triangle, weights, depth = plain(*soup, (30, 40))
    np.testing.assert_array_equal(found.triangle, triangle)
    assert (triangle >= 15).sum() > 25 and 0.5 < (triangle >= 0).mean() < 1
    np.testing.assert_allclose(found.depth, depth, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(found.barycentric, weights, atol=1e-6)
    assert found.depth.dtype == found.barycentric.dtype == np.float32


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_the_size_of_the_chunks_changes_nothing(soup, chunk):
    whole, parts = rasterize_orthographic(*soup, (30, 40)), rasterize_orthographic(*soup, (30, 40), chunk=chunk)
    np.testing.assert_array_equal(whole.triangle, parts.triangle)
    np.testing.assert_array_equal(whole.depth, parts.depth)


def test_equals_the_compiled_rasteriser(soup):
    raster = pytest.importorskip("facelift.rendering.raster", exc_type=ImportError)
    found, compiled = rasterize_orthographic(*soup, (40, 40)), raster.rasterize_parallel(*soup, (40, 40))
    same = found.triangle == compiled.triangle
    assert same.mean() > 0.998
    np.testing.assert_allclose(found.depth[same], compiled.depth[same], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.barycentric[same], compiled.barycentric[same], atol=1e-3)
    with pytest.raises(ValueError, match="expected a square picture, found 40 x 41"):
        raster.rasterize_parallel(*soup, (40, 41))


def test_a_tilted_plane_has_the_depth_of_its_equation(rng):
    """z = 3 + x / 2 - y / 4 over a net of random points: every pixel, without a crack, whatever the triangle."""
    side = np.linspace(-2, 34, 13)
    x, y = (grid.ravel() for grid in np.meshgrid(side, side))
    x, y = x + rng.uniform(-1.4, 1.4, 169), y + rng.uniform(-1.4, 1.4, 169)
    corner = (np.arange(12)[:, None] * 13 + np.arange(12)).reshape(-1, 1)
    faces = np.concatenate([corner + np.array(step) for step in ([0, 13, 1], [1, 13, 14])])
    found = rasterize_orthographic(np.stack([x, y, 3 + x / 2 - y / 4], -1), faces, (32, 32))
    column, row = np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5)
    assert (found.triangle >= 0).all()
    np.testing.assert_allclose(found.depth, 3 + column / 2 - row / 4, rtol=1e-6, atol=1e-6)
    place = found.interpolate(np.stack([x, y], -1), faces)
    np.testing.assert_allclose(place, np.stack([column, row], -1), atol=1e-4)


def test_pixels_on_edges_and_corners_belong_to_the_mesh():
    """Corners on pixel centres: legs of 4 px from (0.5, 0.5) hold 5 + 4 + 3 + 2 + 1 centres; the second triangle adds
    the rest of the square, and the shared diagonal stays the first's."""
    vertices = np.array([[0.5, 0.5, 1], [0.5, 4.5, 1], [4.5, 0.5, 1], [4.5, 4.5, 1]])
    found = rasterize_orthographic(vertices, np.array([[0, 1, 2], [2, 1, 3]]), (6, 7)).triangle
    assert (found == 0).sum() == 15 and (found == 1).sum() == 10
    assert (found[:5, :5] >= 0).all() and (found[5] == -1).all() and (found[:, 5:] == -1).all()


@pytest.mark.parametrize("chunk", [1, 2**20])
def test_the_nearer_wins_and_of_equal_ones_the_first(chunk):
    square = np.array([[0, 0], [0, 4], [4, 0], [4, 4]])
    vertices = np.concatenate([np.column_stack([square, np.full(4, z)]) for z in (2.0, -1.0, -1.0)])
    faces = np.concatenate([np.array([[0, 1, 2], [2, 1, 3]]) + 4 * k for k in range(3)])
    found = rasterize_orthographic(vertices, faces, (4, 4), chunk=chunk)
    assert set(found.triangle.ravel().tolist()) == {2, 3} and (found.depth == -1).all()


@pytest.mark.parametrize(
    "faces",
    [np.zeros((0, 3), int), [[0, 0, 1]], [[0, 1, 2]], [[3, 4, 5]], [[6, 7, 8]], [[9, 10, 11]]],
    ids=["none", "one edge", "from its edge", "outside", "between pixel centres", "thin"],
)
def test_what_covers_no_pixel(faces):
    vertices = np.array(
        [
            *([1, 1, 0], [3, 3, 9], [5, 5, 2]),
            *([-9, -9, 0], [-9, 20, 0], [-1, 3, 0]),
            *([2.6, 2.6, 0], [3.4, 2.6, 0], [3, 3.4, 0]),
            *([0.1, 2.01, 0], [7.9, 2.02, 0], [7.9, 2.01, 0]),
        ]
    )
    found = rasterize_orthographic(vertices, np.array(faces), (8, 8))
    assert (found.triangle == -1).all() and (found.depth == FAR).all() and not found.barycentric.any()
    assert not found.interpolate(vertices, np.array(faces)).any()


def test_vertices_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="expected finite numbers, found 1 of 3"):
        rasterize_orthographic(np.array([[0, 0, 0], [0, 1, np.nan], [1, 0, 0]]), np.array([[0, 1, 2]]), (4, 4))
