"""Midpoint subdivision: by hand, areas, orientation and counts that a closed mesh must keep."""

import numpy as np

from facelift.evaluation.metrics.upsample import midpoint_subdivision, upsample, with_midpoints

OCTAHEDRON = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
OCTAHEDRON_FACES = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])


def doubled_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Twice the area of each triangle, as a vector along its normal."""
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    return np.cross(b - a, c - a)


def test_one_triangle_by_hand():
    vertices = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 2.0]])
    finer, faces = upsample(vertices, np.array([[0, 1, 2]]))
    np.testing.assert_array_equal(finer, [[0, 0], [4, 0], [0, 2], [2, 0], [0, 1], [2, 1]])
    np.testing.assert_array_equal(faces, [[0, 3, 4], [1, 5, 3], [2, 4, 5], [3, 5, 4]])


def test_two_triangles_share_the_middle_of_their_edge():
    vertices = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    finer, faces = upsample(vertices, np.array([[0, 1, 2], [0, 2, 3]]))
    assert len(finer) == 4 + 5 and len(np.unique(finer, axis=0)) == 9
    assert (finer == [0.5, 0.5]).all(1).sum() == 1
    middle = np.flatnonzero((finer == [0.5, 0.5]).all(1))[0]
    assert (faces == middle).any(1).sum() == 6


def test_closed_mesh_keeps_its_topology_and_gains_an_edge_a_vertex(rng):
    vertices = OCTAHEDRON + rng.normal(size=OCTAHEDRON.shape) * 0.1
    edges = {frozenset(pair) for face in OCTAHEDRON_FACES for pair in zip(face, np.roll(face, 1), strict=True)}
    finer, faces = upsample(vertices, OCTAHEDRON_FACES)
    assert len(finer) == 6 + len(edges) == 18 and len(faces) == 32
    directed = {(int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True)}
    assert len(directed) == 3 * 32 and all((b, a) in directed for a, b in directed)
    assert len(finer) - len(directed) // 2 + len(faces) == 2


def test_each_triangle_becomes_four_of_its_plane_and_orientation(rng):
    """A quarter of the area vector each: also the side that it faces."""
    vertices = OCTAHEDRON + rng.normal(size=OCTAHEDRON.shape) * 0.1
    finer, faces = upsample(vertices, OCTAHEDRON_FACES)
    parts = doubled_areas(finer, faces).reshape(4, 8, 3)
    for part in parts:
        np.testing.assert_allclose(part, doubled_areas(vertices, OCTAHEDRON_FACES) / 4, atol=1e-12)


def test_old_vertices_stay_first_and_new_ones_are_middles(rng):
    vertices = rng.normal(size=(6, 3))
    edges, faces = midpoint_subdivision(OCTAHEDRON_FACES, 6)
    finer = with_midpoints(vertices, edges)
    np.testing.assert_array_equal(finer[:6], vertices)
    for row, (a, b) in enumerate(edges):
        np.testing.assert_allclose(finer[6 + row], (vertices[a] + vertices[b]) / 2, rtol=1e-15)
    np.testing.assert_array_equal(np.unique(faces), np.arange(18))


def test_vertices_that_no_triangle_uses_are_kept(rng):
    vertices = rng.normal(size=(9, 3))
    finer, faces = upsample(vertices, OCTAHEDRON_FACES)
    assert len(finer) == 9 + 12 and (np.setdiff1d(np.arange(21), faces) == [6, 7, 8]).all()


def test_one_subdivision_serves_a_batch(rng):
    vertices = rng.normal(size=(2, 3, 6, 3))
    edges, faces = midpoint_subdivision(OCTAHEDRON_FACES, 6)
    batch = with_midpoints(vertices, edges)
    assert batch.shape == (2, 3, 18, 3)
    for i, j in np.ndindex(2, 3):
        single, same = upsample(vertices[i, j], OCTAHEDRON_FACES)
        np.testing.assert_array_equal(batch[i, j], single)
        np.testing.assert_array_equal(faces, same)


def test_the_middle_in_the_picture_is_not_the_middle_in_perspective():
    """Why to subdivide before projecting."""
    ends = np.array([[-1.0, 0.0, 2.0], [1.0, 0.0, 6.0]])
    edge = np.array([[0, 1]])
    middle = with_midpoints(ends, edge)[2]
    assert middle[0] / middle[2] == 0
    assert abs(with_midpoints(ends[:, :2] / ends[:, 2:], edge)[2, 0]) > 0.1
