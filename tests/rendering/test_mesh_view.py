"""Depth, PNCC and visibility of meshes whose truth is known."""

import os
import subprocess
import sys

import numpy as np
import pytest
from spheres import sphere, topology

from facelift.rendering.maps import DARKEST, depth_picture, normalised_coordinates, pncc
from facelift.rendering.mesh_view import MeshView


def quad(x0: float, y0: float, x1: float, y1: float, z: float) -> np.ndarray:
    """Corners of a rectangle; `FRONT` shows its front to the camera, `BACK` its back."""
    return np.array([[x0, y0, z], [x0, y1, z], [x1, y0, z], [x1, y1, z]], float)


FRONT = np.array([[0, 1, 2], [2, 1, 3]])
BACK = FRONT[:, ::-1]


def test_normalised_coordinates_by_hand():
    mean = np.array([[-1.0, 10, 5], [3, 20, 5], [0, 12, 5]])
    np.testing.assert_allclose(normalised_coordinates(mean), [[0, 0, 0], [1, 1, 0], [0.25, 0.2, 0]])


def test_pncc_at_the_vertices_are_their_coordinates(rng):
    """Vertices at pixel centres; whatever the pose's depth."""
    vertices = quad(2.5, 3.5, 12.5, 9.5, 7.0)
    vertices[:, 2] = 7, 10, 5, 8
    codes = rng.random((4, 3))
    picture = pncc(MeshView(vertices, FRONT, (14, 16)), codes)
    at = vertices[:, :2].astype(int)
    np.testing.assert_array_equal(picture[at[:, 1], at[:, 0]], np.rint(255 * codes))
    middle = 255 * codes[[1, 2]].mean(0)  # of the diagonal, at (7.5, 6.5)
    np.testing.assert_allclose(picture[6, 7], middle, atol=0.5)
    assert not picture[:3].any() and not picture[:, 13:].any()


def test_depth_of_a_sphere_is_its_equation():
    faces, _ = topology()
    depth = MeshView(sphere((30, 25), 20), faces, (50, 64)).depth()
    x, y = np.meshgrid(np.arange(64) + 0.5 - 30, np.arange(50) + 0.5 - 25)
    inside = np.hypot(x, y) < 17
    np.testing.assert_allclose(
        depth[inside], -np.sqrt(400 - x[inside] ** 2 - y[inside] ** 2), atol=0.12
    )  # flat triangles
    assert np.isnan(depth[np.hypot(x, y) > 20]).all()


def test_what_is_seen_from_behind_hides_but_is_not_drawn():
    vertices = np.concatenate([quad(0, 0, 8, 8, 5), quad(0, 0, 4, 8, 1)])
    depth = MeshView(vertices, np.concatenate([FRONT, BACK + 4]), (8, 8)).depth()
    assert np.isnan(depth[:, :4]).all() and (depth[:, 4:] == 5).all()
    behind = MeshView(vertices[:4], BACK, (8, 8))
    assert np.isnan(behind.depth()).all() and not behind.interpolate(np.ones((4, 2))).any()
    assert not behind.seen_vertices().any()


def test_a_mesh_without_faces_or_outside_of_the_picture_shows_nothing():
    for view in (
        MeshView(quad(0, 0, 8, 8, 5), np.zeros((0, 3), int), (8, 8)),
        MeshView(quad(20, 0, 28, 8, 5), FRONT, (8, 8)),
    ):
        assert np.isnan(view.depth()).all() and not view.seen_vertices().any()
        assert not depth_picture(view.depth()).any() and not pncc(view, np.ones((4, 3))).any()


def test_the_seen_half_of_a_sphere():
    """All vertices before the horizon by more than a degree, none behind it; also of a turned one."""
    faces, _ = topology()
    for turn in (0, 50):
        vertices = sphere((40, 40), 30, turn_deg=turn)
        seen, towards = MeshView(vertices, faces, (80, 80)).seen_vertices(), -vertices[:, 2] / 30
        assert seen[towards > 0.1].all() and not seen[towards < -0.1].any()
        assert 0.3 < seen.mean() < 0.9


def test_hidden_vertices_and_those_outside_of_the_picture():
    faces, _ = topology()
    ball, wall = sphere((40, 40), 30), quad(0, 0, 40, 80, -40)
    vertices = np.concatenate([wall, ball])
    seen = MeshView(vertices, np.concatenate([FRONT, faces + 4]), (80, 60)).seen_vertices()[4:]
    front = ball[:, 2] < -5
    assert not seen[(ball[:, 0] < 39) | (ball[:, 0] > 60)].any()
    assert seen[front & (ball[:, 0] > 41) & (ball[:, 0] < 59)].all()


def test_a_vertex_a_little_behind_the_surface_is_seen_within_the_tolerance():
    """A pit of 3 px under a wall with a hole of none: only the tolerance decides."""
    pit = np.array([[4, 4, 8], [4, 6, 8], [6, 4, 8.0]])
    view = MeshView(np.concatenate([quad(0, 0, 10, 10, 5), pit]), np.concatenate([FRONT, [[4, 5, 6]]]), (10, 10))
    assert not view.seen_vertices()[4:].any() and view.seen_vertices(tolerance_px=3.5)[4:].all()


def test_depth_as_a_picture():
    grey = depth_picture(np.array([[2.0, 4.0], [6.0, np.nan]], np.float32))
    assert grey.tolist() == [[255, round((255 + DARKEST) / 2)], [DARKEST, 0]]
    assert depth_picture(np.full((2, 2), 3.0)).tolist() == [[255 - 215, 40], [40, 40]]


@pytest.mark.parametrize("module", ["rendering.maps", "rendering.uv_textures", "meshes"])
def test_the_core_install_suffices(module):
    heavy = ("torch", "scipy", "numba", "matplotlib", "trimesh")
    program = f"import sys, facelift.{module}; print([name for name in {heavy} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
