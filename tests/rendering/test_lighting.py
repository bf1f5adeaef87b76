"""Light: what a sphere, a shadow and a probe must look like."""

import numpy as np
import pytest

from facelift.rendering.lighting import Light, directions, irradiance, probe, sky_visibility


def test_directions_are_unit_and_balanced():
    around = directions()
    np.testing.assert_allclose(np.linalg.norm(around, axis=-1), 1)
    assert np.abs(around.mean(0)).max() < 0.02


def test_even_light_falls_evenly_on_every_normal():
    """Integral of the cosine over the sphere is a quarter of it: 4/k times the sum is 1, wrap aside."""
    normals = np.array([[0, 0, 1.0], [1, 0, 0], [0, -1, 0]])
    light = Light(np.ones((64, 3)))
    found = irradiance(normals, np.ones((3, 64), np.float32), light)
    np.testing.assert_allclose(found, 0.85 * 1 + 0.15 * 0.5 * 4, rtol=0.03)


def test_a_roof_shades_what_is_under_it():
    side = 0.2
    roof = np.array([[-side, 0.3, -side], [side, 0.3, -side], [side, 0.3, side], [-side, 0.3, side]])
    vertices = np.concatenate([roof, [[0, 0, 0], [0.0, 0.45, 0]]])
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    nothing = np.full(2, -1, np.int32)
    alphas = (np.ones((1, 1), np.float32),) * 2
    seen = sky_visibility(vertices, faces, np.zeros((2, 3, 2), np.float32), nothing, alphas)
    up, down = directions()[:, 1] > 0.95, directions()[:, 1] < -0.95
    assert (seen[4, up] == 0).all() and (seen[4, down] == 1).all()
    assert (seen[5, up] == 1).all() and (seen[5, down] == 0).all()


@pytest.mark.parametrize(("turn", "axis"), [(0.0, 2), (np.pi / 2, 0)])
def test_a_probe_s_lamp_shines_from_its_side(turn, axis):
    image = np.full((16, 32, 3), 0.01, np.float32)
    image[7:9, :2] = image[7:9, -2:] = 50  # azimuth 0: straight before the face
    light = probe(image, turn)
    assert directions()[light.strongest[0], axis] > 0.8
    assert light.radiance.mean() == pytest.approx(0.5)
