"""NMLC: brute force, the bound by NME, permuted meshes, frozen vertices, masks, faces not found, 3D, bad input."""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facelift.evaluation.metrics import nmlc as module
from facelift.evaluation.metrics.nme import face_nme, point_errors
from facelift.evaluation.metrics.nmlc import Aligned, MeshFace, Nmlc, nmlc
from facelift.evaluation.metrics.upsample import upsample

N, V = 7, 60
REGIONS = {"contours": np.arange(3), "nose": np.arange(3, N)}


def make_faces(
    rng: np.random.Generator, count: int = 45, d: int = 2, landmarks: int = N, vertices: int = V
) -> tuple[list[MeshFace], np.ndarray]:
    """Faces whose landmarks lie near the vertices of a definition, one step off, and that definition."""
    template = rng.normal(size=(vertices, d))
    definition = rng.permutation(vertices)[:landmarks]
    step = rng.normal(size=(landmarks, d)) * 0.4
    faces = []
    for scale in rng.uniform(60, 200, count):
        mesh = scale * (template + rng.normal(size=template.shape) * 0.1) + rng.uniform(100, 900, d)
        points = mesh[definition] + scale * (step + rng.normal(size=step.shape) * 0.2)
        faces.append(MeshFace(points, mesh, float(scale)))
    return faces, definition


def with_masks(rng: np.random.Generator, faces: list[MeshFace], share: float = 0.6) -> list[MeshFace]:
    """Random landmarks count; what does not count has, every other time, no prediction at all."""
    masked = []
    for face in faces:
        counted = rng.uniform(size=len(face.points)) < share
        absent = ~counted & (rng.uniform(size=len(counted)) < 0.5)
        masked.append(face._replace(counted=counted, points=np.where(absent[:, None], np.nan, face.points)))
    return masked


def brute_force(faces: list[MeshFace]) -> tuple[np.ndarray, float]:
    """Indices and NMLC by loops: for each landmark every vertex, for each vertex every found face."""
    landmarks, vertices = len(faces[0].points), len(faces[0].vertices)
    weights = np.zeros((len(faces), landmarks))
    for i, face in enumerate(faces):
        counted = np.ones(landmarks, bool) if face.counted is None else face.counted
        if counted.any() and not np.isnan(face.points).all():
            weights[i, counted] = 1 / counted.sum()
    total, indices = 0.0, np.full(landmarks, -1)
    for j in range(landmarks):
        if not weights[:, j].any():
            continue
        costs = np.zeros(vertices)
        for k in range(vertices):
            for i, face in enumerate(faces):
                if weights[i, j]:
                    costs[k] += weights[i, j] * np.sqrt(sum((face.points[j] - face.vertices[k]) ** 2)) / face.scale
        indices[j] = costs.argmin()
        total += costs.min()
    return indices, total / weights.any(1).sum()


@pytest.mark.parametrize("d", [2, 3])
def test_equals_brute_force(d, rng):
    """More faces than a block, blocks of 32 and a rest."""
    faces, definition = make_faces(rng, d=d)
    found = nmlc(faces)
    indices, value = brute_force(faces)
    np.testing.assert_array_equal(found.indices, indices)
    assert found.value == pytest.approx(value, rel=1e-12) and value > 0.1
    assert (found.indices != definition).any()


def test_equals_brute_force_when_a_tile_of_vertices_is_smaller_than_the_mesh(rng, monkeypatch):
    faces, _ = make_faces(rng)
    monkeypatch.setattr(module, "TILE", 13)
    monkeypatch.setattr(module, "BLOCK", 4)
    for threads in (1, 3):
        found = nmlc(faces, threads=threads)
        indices, value = brute_force(faces)
        np.testing.assert_array_equal(found.indices, indices)
        assert found.value == pytest.approx(value, rel=1e-12)


def test_equals_brute_force_with_masks_and_faces_not_found(rng):
    faces = with_masks(rng, make_faces(rng)[0])
    for missed in (3, 20):
        faces[missed] = faces[missed]._replace(points=np.full((N, 2), np.nan))
    faces[9] = faces[9]._replace(counted=np.zeros(N, bool))
    found = nmlc(faces)
    indices, value = brute_force(faces)
    np.testing.assert_array_equal(found.indices, indices)
    assert found.value == pytest.approx(value, rel=1e-12)
    assert np.isinf(found.per_face[[3, 20]]).all() and np.isnan(found.per_face[9])
    counted = np.array([face.counted for face in faces])
    np.testing.assert_array_equal(np.isnan(found.errors), ~counted)
    np.testing.assert_array_equal(np.isinf(found.errors), counted & np.isin(np.arange(45), [3, 20])[:, None])


def test_a_face_weighs_the_same_however_many_landmarks_count():
    """One landmark, two vertices 1 apart. It is nearer to the first in the face where it is one of two that count, to
    the second where it is the only one: weights 1/2 x 0.8 against 1 x 0.6."""
    vertices = np.array([[0.0, 0.0], [1.0, 0.0], [50.0, 0.0]])
    other = [50.0, 0.0]
    both = MeshFace(np.array([[0.1, 0.0], other]), vertices, 1.0, np.array([True, True]))
    alone = MeshFace(np.array([[0.8, 0.0], other]), vertices, 1.0, np.array([True, False]))
    found = nmlc([both, alone])
    assert found.indices.tolist() == [1, 2]
    assert found.value == pytest.approx(((0.9 + 0) / 2 + 0.2) / 2)
    equally = nmlc([face._replace(counted=None) for face in (both, alone)])
    assert equally.indices.tolist() == [0, 2]  # 0.1 + 0.8 against 0.9 + 0.2


def test_by_hand():
    """Two faces, z = 2 and 4: to the first vertex 3/2 and 4/4, to the second 1/2 and 3/4."""
    small = MeshFace(np.array([[3.0, 0.0]]), np.array([[0.0, 0.0], [2.0, 0.0]]), 2.0)
    large = MeshFace(np.array([[0.0, 4.0]]), np.array([[0.0, 0.0], [0.0, 1.0]]), 4.0)
    found = nmlc([small, large])
    assert found.indices.tolist() == [1]
    np.testing.assert_allclose(found.errors, [[0.5], [0.75]], rtol=1e-15)
    assert found.value == pytest.approx(0.625)


def test_minimises_distances_not_their_squares():
    """Nine faces at 0, one at 10: the mean is 1, the median 0."""
    vertices = np.array([[0.0, 0.0], [1.0, 0.0]])
    faces = [MeshFace(np.array([[x, 0.0]]), vertices, 1.0) for x in [0.0] * 9 + [10.0]]
    found = nmlc(faces)
    assert found.indices.tolist() == [0] and found.value == pytest.approx(1.0)


def test_never_exceeds_the_nme_by_a_definition_among_the_vertices(rng):
    for _ in range(10):
        faces, definition = make_faces(rng, count=12)
        predicted = np.stack([face.points for face in faces])
        truth = np.stack([face.vertices[definition] for face in faces])
        nme = face_nme(point_errors(predicted, truth, np.array([face.scale for face in faces]))).mean()
        value = nmlc(faces).value
        assert 0.05 < value < nme
        assert nmlc(faces, indices=definition).value == pytest.approx(nme, rel=1e-12)


def test_a_definition_that_is_best_already_is_kept_and_its_nmlc_is_the_nme(rng):
    faces, definition = make_faces(rng, landmarks=5)
    faces = [face._replace(points=face.vertices[definition] + rng.normal(size=(5, 2))) for face in faces]
    found = nmlc(faces)
    np.testing.assert_array_equal(found.indices, definition)
    truth = np.stack([face.vertices[definition] for face in faces])
    errors = point_errors(np.stack([face.points for face in faces]), truth, np.array([face.scale for face in faces]))
    np.testing.assert_allclose(found.errors, errors, rtol=1e-12)


def test_permuting_the_vertices_permutes_the_indices_alone(rng):
    faces, _ = make_faces(rng)
    order = rng.permutation(V)
    before, after = nmlc(faces), nmlc([face._replace(vertices=face.vertices[order]) for face in faces])
    np.testing.assert_array_equal(order[after.indices], before.indices)
    np.testing.assert_array_equal(after.errors, before.errors)
    assert (after.indices != before.indices).any() and before.value > 0.1


def test_permuting_the_faces_changes_neither(rng):
    faces, _ = make_faces(rng)
    order = rng.permutation(len(faces))
    before, after = nmlc(faces), nmlc([faces[i] for i in order])
    np.testing.assert_array_equal(after.indices, before.indices)
    np.testing.assert_array_equal(after.errors, before.errors[order])


def test_moving_and_scaling_each_face_with_its_normaliser_changes_nothing(rng):
    faces, _ = make_faces(rng)
    moved = []
    for face in faces:
        angle, factor, shift = rng.uniform(0, 6), rng.uniform(0.1, 10), rng.uniform(-1e3, 1e3, 2)
        turn = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved.append(MeshFace(face.points @ turn + shift, face.vertices @ turn + shift, face.scale * factor))
    before, after = nmlc(faces), nmlc(moved)
    np.testing.assert_array_equal(after.indices, before.indices)
    np.testing.assert_allclose(after.errors, before.errors, rtol=1e-9)


def test_swapping_prediction_and_mesh_changes_the_value(rng):
    """They are not alike: every landmark counts once, of the vertices only the chosen."""
    faces, _ = make_faces(rng, landmarks=9, vertices=9)
    swapped = [face._replace(points=face.vertices, vertices=face.points) for face in faces]
    assert abs(nmlc(faces).value - nmlc(swapped).value) > 1e-3


def test_equal_vertices_give_the_lowest(rng):
    faces, _ = make_faces(rng)
    doubled = [face._replace(vertices=np.concatenate([face.vertices, face.vertices])) for face in faces]
    np.testing.assert_array_equal(nmlc(doubled).indices, nmlc(faces).indices)
    np.testing.assert_array_equal(nmlc(doubled).errors, nmlc(faces).errors)


def test_finds_a_minimum_that_float32_cannot_tell_apart(rng):
    """For each landmark a cluster of vertices that differ in the ninth digit, far from the origin."""
    faces, definition = make_faces(rng, landmarks=3)
    clusters = rng.normal(size=(40, 3, 2)) * 1e-8
    close = []
    for face in faces:
        vertices = face.vertices[definition] + face.scale * (clusters + rng.normal(size=clusters.shape) * 1e-9)
        close.append(face._replace(points=face.points + 1e3, vertices=vertices.reshape(-1, 2) + 1e3))
    np.testing.assert_array_equal(nmlc(close).indices, brute_force(close)[0])


def test_candidates_that_float32_cannot_tell_apart_are_weighed_by_face_too():
    """A step of 1e-9 at a distance of 1: half a step for the first vertex, by the face where two landmarks count,
    against 0.7 for the second."""
    first, second = (np.array([[0.0, 0.0], [step, 0.0], [50.0, 0.0]]) for step in (1e-9, 0.7e-9))
    both = MeshFace(np.array([[-1.0, 0.0], [50.0, 0.0]]), first, 1.0, np.array([True, True]))
    alone = MeshFace(np.array([[1.0, 0.0], [50.0, 0.0]]), second, 1.0, np.array([True, False]))
    assert nmlc([both, alone]).indices[0] == 1
    assert nmlc([both._replace(counted=None), alone._replace(counted=None)]).indices[0] == 0


def test_few_candidates_far_from_the_origin(rng):
    faces, _ = make_faces(rng)
    shift = 1e9
    faces = [face._replace(points=face.points + shift, vertices=face.vertices + shift) for face in faces]
    assert len(module._candidates(faces, 1)[0]) < 3 * N


def test_one_face_gone_astray_leaves_few_candidates(rng):
    """A prediction 1e5 face sizes away is scored, and does not turn every vertex into a candidate."""
    faces, _ = make_faces(rng)
    faces[4] = faces[4]._replace(points=faces[4].points + 1e5 * faces[4].scale)
    assert len(module._candidates(faces, 1)[0]) < 3 * N
    found = nmlc(faces)
    indices, value = brute_force(faces)
    np.testing.assert_array_equal(found.indices, indices)
    assert found.value == pytest.approx(value, rel=1e-12)


def test_indices_of_one_split_apply_to_another(rng):
    faces, _ = make_faces(rng)
    fitted, other = faces[:20], faces[20:]
    frozen = nmlc(fitted).indices
    found = nmlc((face for face in other), indices=frozen)
    expected = [np.linalg.norm(face.points - face.vertices[frozen], axis=-1) / face.scale for face in other]
    np.testing.assert_allclose(found.errors, expected, rtol=1e-12)
    np.testing.assert_array_equal(found.indices, frozen)
    assert found.value > nmlc(other).value
    assert nmlc(fitted, indices=frozen).value == nmlc(fitted).value


def test_a_landmark_that_counts_nowhere_has_no_vertex(rng):
    faces, _ = make_faces(rng, count=5)
    faces = [face._replace(counted=np.arange(N) != 2) for face in faces]
    faces.append(MeshFace(np.full((N, 2), np.nan), faces[0].vertices, 100.0, np.ones(N, bool)))
    found = nmlc(faces)
    assert found.indices[2] == -1 and (np.delete(found.indices, 2) >= 0).all()
    assert np.isnan(found.errors[:5, 2]).all() and np.isinf(found.errors[5]).all()
    np.testing.assert_array_equal(found.indices, brute_force(faces)[0])
    assert len(module._candidates(faces, 1)[0]) < 3 * N
    everywhere = nmlc([face._replace(counted=None) for face in faces[:5]], indices=found.indices)
    assert np.isnan(everywhere.errors[:, 2]).all() and np.isfinite(np.delete(everywhere.errors, 2, axis=1)).all()


def test_no_face_found(rng):
    missed = [MeshFace(np.full((N, 2), np.nan), rng.normal(size=(V, 2)), 1.0)] * 2
    found = nmlc(missed)
    assert (found.indices == -1).all() and np.isnan(found.value) and np.isinf(found.per_face).all()


def test_regions_are_means_over_their_landmarks(rng):
    faces = with_masks(rng, make_faces(rng)[0])
    found = nmlc(faces)
    table = found.regions(REGIONS)
    assert table["full"] == found.value and set(table) == {"full", *REGIONS}
    for name, part in REGIONS.items():
        rows = [row[part][~np.isnan(row[part])] for row in found.errors]
        assert table[name] == pytest.approx(np.mean([row.mean() for row in rows if len(row)]), rel=1e-12)
    assert len({round(value, 6) for value in table.values()}) == 3


def test_categories_share_the_vertices_of_the_whole_set(rng):
    faces, _ = make_faces(rng, count=12)
    found = nmlc(faces)
    profiles = found.per_face[4:].mean()
    assert profiles == pytest.approx(found.errors[4:].mean(), rel=1e-12) and profiles > nmlc(faces[4:]).value


def test_a_finer_mesh_never_scores_worse(rng):
    triangles = rng.permutation(V).reshape(-1, 3)
    faces, _ = make_faces(rng)
    fine = [face._replace(vertices=upsample(face.vertices, triangles)[0]) for face in faces]
    coarse, finer = nmlc(faces), nmlc(fine)
    np.testing.assert_array_equal(finer.indices, brute_force(fine)[0])
    assert finer.value < coarse.value and finer.indices.max() >= V


def turned(rng: np.random.Generator, face: MeshFace, factor: float) -> MeshFace:
    """The face's prediction, not its mesh, moved by a random similarity."""
    rotation = Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix()
    return face._replace(points=factor * face.points @ rotation.T + rng.uniform(-100, 100, 3))


@pytest.mark.parametrize("with_scale", [False, True])
def test_in_3d_the_prediction_is_moved_onto_the_mesh_as_scipy_moves_it(with_scale, rng):
    faces, definition = make_faces(rng, count=8, d=3)
    faces = with_masks(rng, faces, share=0.9)
    faces[5] = faces[5]._replace(points=np.full((N, 3), np.nan))
    aligned = list(Aligned([turned(rng, face, 1.3) for face in faces], definition, with_scale))
    assert len(aligned) == len(faces) and np.isnan(aligned[5].points).all()
    for before, after in zip(faces, aligned, strict=True):
        counted = np.isfinite(before.points).all(-1) & before.counted
        if not counted.any():
            continue
        source = 1.3 * (before.points[counted] - before.points[counted].mean(0))
        target = before.vertices[definition[counted]]
        turn, _ = Rotation.align_vectors(target - target.mean(0), source)
        scale = (turn.apply(source) * (target - target.mean(0))).sum() / (source**2).sum() if with_scale else 1.0
        np.testing.assert_allclose(
            after.points[counted], scale * turn.apply(source) + target.mean(0), rtol=1e-9, atol=1e-6
        )
        assert after.vertices is not None and after.scale == before.scale


def test_in_3d_nmlc_of_moved_predictions_is_that_of_brute_force_after_alignment(rng):
    faces, definition = make_faces(rng, count=10, d=3)
    moved = [turned(rng, face, 2.0) for face in faces]
    found = nmlc(Aligned(moved, definition, with_scale=True))
    indices, value = brute_force(list(Aligned(faces, definition, with_scale=True)))
    np.testing.assert_array_equal(found.indices, indices)
    assert found.value == pytest.approx(value, rel=1e-9) and value > 0.1
    assert nmlc(moved).value > 2 * value
    assert nmlc(Aligned(moved, definition)).value > 1.1 * value  # twice the size, and rigid alone


class Stream:
    """Faces read anew each time; counts how often."""

    def __init__(self, faces: list[MeshFace]):
        self.faces, self.passes = faces, 0

    def __iter__(self) -> Iterator[MeshFace]:
        self.passes += 1
        yield from self.faces[: None if self.passes < 3 else -1]


def test_faces_are_gone_through_twice(rng):
    faces, _ = make_faces(rng)
    stream = Stream(faces)
    assert nmlc(stream).value == nmlc(faces).value and stream.passes == 2
    stream.passes = 1
    with pytest.raises(ValueError, match="expected the same 45 faces when gone through again, found 44"):
        nmlc(stream)


def test_refuses_generators_and_empty_sets(rng):
    faces, definition = make_faces(rng, count=3, d=3)
    with pytest.raises(ValueError, match="gone through twice"):
        nmlc(face for face in faces)
    with pytest.raises(ValueError, match="gone through again"):
        nmlc(Aligned((face for face in faces), definition))
    for indices in (None, definition):
        with pytest.raises(ValueError, match="at least one face"):
            nmlc([], indices=indices)


def nan_at(array: np.ndarray, row: int) -> np.ndarray:
    return np.where(np.arange(len(array))[:, None] == row, np.nan, array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: {"points": f.points[:-1]}, r"shapes \(\(7, 2\), \(60, 2\)\), found \(\(6, 2\), \(60, 2\)\)"),
        (lambda f: {"vertices": f.vertices[:-1]}, r"found \(\(7, 2\), \(59, 2\)\)"),
        (lambda f: {"counted": np.ones(N - 1, bool)}, r"each of 7 landmarks, found shape \(6,\)"),
        (lambda f: {"vertices": nan_at(f.vertices, 3)}, "finite vertices, found NaN"),
        (lambda f: {"scale": 0.0}, "positive normaliser, found 0.0"),
        (lambda f: {"scale": float("nan")}, "positive normaliser, found nan"),
        (lambda f: {"points": nan_at(f.points, 4)}, "finite predictions, found none at landmark 4"),
        (lambda f: {"points": f.points * 1e9}, r"within 1e\+06 normalisers, found"),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_names_the_face_at_fault(change, message, frozen, rng):
    faces, definition = make_faces(rng, count=4)
    faces[2] = faces[2]._replace(**change(faces[2]))
    with pytest.raises(ValueError, match=f"face 2: expected .*{message}"):
        nmlc(faces, indices=definition if frozen else None)


def test_refuses_points_and_vertices_of_other_dimensions(rng):
    face = MeshFace(rng.normal(size=(N, 2)), rng.normal(size=(V, 3)), 1.0)
    with pytest.raises(ValueError, match=r"face 0: expected .* as many coordinates, found .*\(60, 3\)"):
        nmlc([face])


@pytest.mark.parametrize("indices", [np.arange(N - 1), np.arange(N) + V - 3, np.arange(N) - 2])
def test_refuses_frozen_indices_that_the_mesh_has_not(indices, rng):
    faces, _ = make_faces(rng, count=2)
    with pytest.raises(ValueError, match=rf"expected 7 indices of 60 vertices, or -1, found {len(indices)} from"):
        nmlc(faces, indices=indices)


@pytest.mark.parametrize("definition", [np.arange(N - 1), np.arange(N) + V - 3, np.arange(N) - 1])
def test_alignment_refuses_a_definition_that_the_mesh_has_not(definition, rng):
    faces, _ = make_faces(rng, count=2, d=3)
    with pytest.raises(ValueError, match="face 0: expected a definition of 7 of 60 vertices"):
        nmlc(Aligned(faces, definition))


def test_alignment_refuses_faces_with_too_few_landmarks(rng):
    faces, definition = make_faces(rng, count=3, d=3)
    faces[1] = faces[1]._replace(counted=np.arange(N) < 2)
    with pytest.raises(ValueError, match="face 1: expected 3 landmarks that count to align by, found 2"):
        nmlc(Aligned(faces, definition))


def test_value_is_the_mean_of_the_faces_found():
    found = Nmlc(np.array([0, 1]), np.array([[0.1, 0.3], [np.nan, 0.6], [np.inf, np.inf], [np.nan, np.nan]]))
    assert found.value == pytest.approx(0.4)
    np.testing.assert_allclose(found.per_face, [0.2, 0.6, np.inf, np.nan])
