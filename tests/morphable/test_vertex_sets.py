"""Dense vertex sets: exact counts of a mesh's own vertices, points found again on coarser meshes, spirals."""

import numpy as np
import pytest

from facelift.morphable.decimation import barycentric, decimate, edges
from facelift.morphable.face_cut import face_cut
from facelift.morphable.procedural_head import ProceduralHead
from facelift.morphable.spirals import spirals
from facelift.morphable.vertex_sets import COARSER, COUNTS, build_vertex_sets, head_vertex_sets, load_vertex_sets


@pytest.fixture(scope="module")
def head():
    return ProceduralHead()


@pytest.fixture(scope="module")
def sets(head):
    return head_vertex_sets(head, "procedural-head", faces=4)


def grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """A flat rectangle of unit squares, two triangles each, anticlockwise as seen from +z."""
    y, x = np.mgrid[:rows, :columns]
    vertices = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3).astype(float)
    a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = np.concatenate([np.stack([a, a + 1, a + columns + 1], -1), np.stack([a, a + columns + 1, a + columns], -1)])
    return vertices, faces


def test_sets_have_exactly_so_many_points_and_are_nested(sets, head):
    assert [len(level) for level in sets.levels] == [*COUNTS, *COARSER]
    for finer, coarser in zip(sets.levels, sets.levels[1:], strict=False):
        assert np.isin(coarser.vertices, finer.vertices).all()
        assert coarser.up_index.shape == (len(finer), 3)
    for level in sets.levels:
        assert len(np.unique(level.vertices)) == len(level)
        assert np.array_equal(np.unique(level.faces), np.arange(len(level)))  # none stands alone
        np.testing.assert_allclose(level.landmark_weights.sum(1), 1, atol=1e-6)
    neutral = head.vertices(np.zeros(5), np.zeros(3))
    np.testing.assert_array_equal(sets.mean[sets.places(202)], neutral[sets[202].vertices])
    with pytest.raises(ValueError, match=r"expected one of \[1609, .* found 300"):
        sets[300]


def test_coarser_meshes_keep_the_shape(sets):
    """Each point of the finest set, found again on the meshes of its kept points alone."""
    points, error = sets.mean.astype(float), []
    for level in sets.levels[1:5]:
        own = sets.mean[sets.places(len(level))].astype(float)
        index, weights = barycentric(points[None], own[None], level.faces)
        error.append(np.linalg.norm((own[index] * weights[..., None]).sum(1) - points, axis=-1).mean())
    assert error[0] < 0.001 and error[3] < 0.008  # canonical units: 0.4 and 3 mm
    assert np.all(np.diff(error) > 0)


def test_upsampling_brings_each_finer_point_back(sets):
    for finer, coarser in zip(sets.levels, sets.levels[1:4], strict=False):
        wanted, own = (sets.mean[sets.places(len(level))] for level in (finer, coarser))
        found = (own[coarser.up_index] * coarser.up_weights[..., None]).sum(1)
        error = np.linalg.norm(found - wanted, axis=-1)
        kept = np.isin(finer.vertices, coarser.vertices)
        assert error[kept].max() < 1e-6 < error[~kept].mean() < 0.006


def test_landmarks_of_any_face_lie_where_the_embedding_says(sets, head):
    cut, rng = face_cut(head), np.random.default_rng(5)
    for count, bound_mm in ((1609, 0.3), (403, 1.0), (101, 3.0)):
        level, distance = sets[count], []
        for _ in range(10):
            mesh = head.vertices(*head.sample(rng))
            found = (mesh[level.vertices][level.landmark_index] * level.landmark_weights[..., None]).sum(1)
            distance.append(np.linalg.norm(found - mesh[cut.vertices[cut.landmark_vertices]], axis=-1))
        assert 360 * np.mean(distance) < bound_mm


def test_partners_are_mirror_images(sets, head):
    mesh = head.vertices(np.zeros(5), np.zeros(3))
    np.testing.assert_allclose(mesh[sets.partners], sets.mean * [-1, 1, 1], atol=1e-5)


def test_sets_pass_through_a_file(sets, tmp_path):
    back = load_vertex_sets(sets.save(tmp_path / "sets.npz"))
    assert back.head == "procedural-head" and len(back.levels) == len(sets.levels)
    for level, other in zip(sets.levels, back.levels, strict=True):
        for name in vars(level):
            np.testing.assert_array_equal(getattr(level, name), getattr(other, name))
    with pytest.raises(FileNotFoundError, match="expected vertex sets"):
        load_vertex_sets(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("faces_1", None, "found level 1 without faces"),
        ("up_index_2", lambda a: a[:-1], r"found level 2 with up_index \(804, 3\)"),
        ("landmark_index_0", lambda a: a + 1609, "level 0 with landmark_index of .* not of its 1609"),
        ("landmark_weights_3", lambda a: a.astype(int), "with landmark_weights .* of int64, not .* of floats"),
        ("vertices_4", lambda a: a + 1, "level 4 with vertices that the finer level lacks"),
        ("mean", lambda a: a[:5], r"expected mean \(1609, 3\)"),
    ],
)
def test_files_that_are_no_vertex_sets_are_refused(sets, tmp_path, name, change, said):
    with np.load(sets.save(tmp_path / "sets.npz")) as file:
        arrays = dict(file)
    array = arrays.pop(name)
    if change:
        arrays[name] = change(array)
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=rf"bad.npz: expected .*{said}|bad.npz: {said}"):
        load_vertex_sets(tmp_path / "bad.npz")


def test_a_flat_mesh_stays_flat_and_whole():
    vertices, faces = grid(9, 9)
    chosen, triangles = decimate(vertices, faces, 20)
    a, b, c = (vertices[chosen][triangles[:, k], :2] for k in range(3))
    area = np.cross(np.pad(b - a, ((0, 0), (0, 1))), np.pad(c - a, ((0, 0), (0, 1))))[:, 2] / 2
    assert len(chosen) == 20 and area.sum() > 0.8 * 64
    with pytest.raises(ValueError, match="expected 3 to 81 vertices, found 82"):
        decimate(vertices, faces, 82)


def test_a_region_too_small_for_its_points_is_refused():
    vertices, faces = grid(5, 5)
    poses = (vertices - [2, 0, 0])[None]
    with pytest.raises(ValueError, match="expected 3 to 25 vertices, found 1609"):
        build_vertex_sets(poses, faces, np.zeros((1, 68, 3)), head="grid")


def test_a_point_is_its_triangles_weighted_mean():
    vertices, faces = grid(2, 2)
    index, weights = barycentric(np.array([[[0.75, 0.25, 0.3], [2.0, 0.5, 0.0]]]), vertices[None], faces)
    found = (vertices[index] * weights[..., None]).sum(1)
    np.testing.assert_allclose(found, [[0.75, 0.25, 0], [1, 0.5, 0]], atol=1e-6)
    assert set(index[0]) == {0, 1, 3}


def test_other_poses_tell_touching_lips_apart():
    """Two strips that touch in the first pose; the point moves with the upper one, though the lower is as near."""
    lower, faces = grid(2, 3)
    upper = lower + np.array([0, 0, 0.001])
    both, triangles = np.concatenate([lower, upper]), np.concatenate([faces, faces + 6])
    point = np.array([[0.9, 0.4, 0.0004]])
    opened = both + np.where(np.arange(12)[:, None] < 6, 0, [0, 1.0, 0])
    index, _ = barycentric(point[None], both[None], triangles)
    assert (index < 6).all()
    index, _ = barycentric(np.stack([point, point + np.array([0, 1, 0])]), np.stack([both, opened]), triangles)
    assert (index >= 6).all()


def test_edges_are_each_there_once():
    assert edges(np.array([[0, 1, 2], [0, 2, 3]])).tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [2, 3]]


def test_a_spiral_by_hand():
    """The middle of a 3 x 3 grid: its six neighbours anticlockwise from a highest one, then the two corners left."""
    vertices, faces = grid(3, 3)
    spiral = spirals(vertices, faces, length=9)[4]
    assert spiral[0] == 4 and set(spiral) == set(range(9))
    ring = spiral[1:7]
    assert vertices[ring[0], 1] == 2 and set(ring) == {0, 1, 3, 5, 7, 8}
    angle = np.unwrap(np.arctan2(*(vertices[ring] - vertices[4])[:, [1, 0]].T))
    assert np.all(np.diff(angle) > 0) and angle[-1] - angle[0] < 2 * np.pi
    assert spirals(vertices, faces, length=4, dilation=2)[4].tolist() == spiral[:8:2].tolist()


def test_spirals_stay_near_and_fill_up_where_the_mesh_ends(sets):
    level = sets[403]
    points = sets.mean[sets.places(403)]
    rows = spirals(points, level.faces, length=9, dilation=2)
    assert (rows[:, 0] == np.arange(403)).all()
    assert all(len(set(row)) == 9 for row in rows.tolist())
    distance = np.linalg.norm(points[rows] - points[:, None], axis=-1)
    assert distance[:, 1:3].mean() < distance[:, -2:].mean() < 0.15
    alone = spirals(np.zeros((4, 3)), np.array([[0, 1, 2]]), length=5)
    assert alone[3].tolist() == [3] * 5 and alone[0].tolist()[3:] == [0, 0]
