"""The rasteriser against a plain twin and against triangles worked by hand."""

import numpy as np
import pytest

from facelift.rendering.raster import FAR, HALF, MOSTLY, TWO_SIDED, rasterize, rasterize_alpha


def plain_rasterize(pixels: np.ndarray, faces: np.ndarray, size: int, *, cull: bool) -> tuple[np.ndarray, ...]:
    """Every triangle against every pixel, in NumPy."""
    centre = np.arange(size) + 0.5
    x, y = np.meshgrid(centre, centre)
    depth, triangle = np.full((size, size), FAR), np.full((size, size), -1)
    barycentric = np.zeros((size, size, 2))
    for index, face in enumerate(faces):
        (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = pixels[face].astype(np.float64)
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0 or (cull and area > 0) or min(z0, z1, z2) <= 0:
            continue
        w0 = ((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)) / area
        w1 = ((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) / area
        z = 1 / (w0 / z0 + w1 / z1 + (1 - w0 - w1) / z2)
        nearer = (w0 >= 0) & (w1 >= 0) & (w0 + w1 <= 1) & (z < depth)
        depth[nearer], triangle[nearer] = z[nearer], index
        barycentric[nearer] = np.stack([w0 / z0 * z, w1 / z1 * z], -1)[nearer]
    return triangle, barycentric, depth


@pytest.mark.parametrize("cull", [True, False])
def test_equals_the_plain_twin_on_random_triangles(rng, cull):
    pixels = np.concatenate([rng.uniform(-8, 40, (60, 2)), rng.uniform(1, 5, (60, 1))], axis=1).astype(np.float32)
    faces = rng.integers(0, 60, (40, 3)).astype(np.int32)
    found = rasterize(pixels, faces, 32, cull=cull)
    triangle, barycentric, depth = plain_rasterize(pixels, faces, 32, cull=cull)
    same = found.triangle == triangle
    assert same.mean() > 0.995 and (triangle >= 0).mean() > 0.5  # float32 may lose a pixel on an edge
    np.testing.assert_allclose(found.depth[same], depth[same], rtol=2e-4)
    np.testing.assert_allclose(found.barycentric[same], barycentric[same], atol=2e-3)


def test_a_triangle_by_hand():
    """Corner at the origin, legs of 4 px: pixel (x, y) is inside where x + y + 1 <= 4. Depth 2 at the origin, 4 at the
    ends: at pixel (1, 1), weights 1/4, 3/8, 3/8 give 1/z = 1/4/2 + 3/4/4 = 5/16."""
    pixels = np.array([[0, 0, 2], [0, 4, 4], [4, 0, 4]], np.float32)
    found = rasterize(pixels, np.array([[0, 1, 2]], np.int32), 6)
    inside = found.triangle == 0
    assert inside.sum() == 10 and inside[0, 3] and inside[3, 0] and not inside[3, 1]
    assert found.depth[1, 1] == pytest.approx(16 / 5)
    np.testing.assert_allclose(found.barycentric[1, 1], [1 / 4 / 2 * 16 / 5, 3 / 8 / 4 * 16 / 5], rtol=1e-6)


def test_back_faces_and_what_is_behind_the_camera_are_left_out():
    pixels = np.array([[0, 0, 2], [0, 4, 4], [4, 0, 4]], np.float32)
    assert (rasterize(pixels, np.array([[0, 2, 1]], np.int32), 6).triangle == -1).all()
    assert (rasterize(pixels, np.array([[0, 2, 1]], np.int32), 6, cull=False).triangle == 0).any()
    pixels[0, 2] = -1
    assert (rasterize(pixels, np.array([[0, 1, 2]], np.int32), 6).triangle == -1).all()


def test_hashed_alpha_keeps_its_share_of_pixels_and_repeats():
    pixels = np.array([[0, 0, 2], [0, 400, 2], [400, 0, 2]], np.float32)
    faces, uv = np.array([[0, 1, 2]], np.int32), np.zeros((1, 3, 2), np.float32)
    draw = lambda alpha: rasterize_alpha(  # noqa: E731
        pixels, faces, uv, np.zeros(1, np.int32), (np.full((2, 2), alpha, np.float32),) * 2, 128
    )
    for alpha in (0.0, 0.35, 0.5, 1.0):
        expected = np.clip((alpha - 0.2) / 0.6, 0, 1)
        assert (draw(alpha).triangle == 0).mean() == pytest.approx(expected, abs=0.02)
    np.testing.assert_array_equal(draw(0.5).triangle, draw(0.5).triangle)


def test_things_seen_from_both_sides_cover_all_three_or_two_of_four_pixels():
    corners = np.array([[-50, -50, 1], [-50, 99, 1], [99, -50, 1]], np.float32)
    uv, pictures = np.zeros((1, 3, 2), np.float32), (np.ones((1, 1), np.float32),) * 2
    for order in ([0, 1, 2], [0, 2, 1]):
        for alpha, share in ((TWO_SIDED, 4), (MOSTLY, 3), (HALF, 2)):
            faces, codes = np.array([order], np.int32), np.array([alpha], np.int32)
            found = rasterize_alpha(corners, faces, uv, codes, pictures, 8).triangle == 0
            blocks = found.reshape(4, 2, 4, 2).sum((1, 3))
            assert (blocks == share).all()
