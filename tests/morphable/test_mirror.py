"""A flipped picture: mirrored landmarks and mirrored parameters say the same."""

from dataclasses import replace

import numpy as np
import pytest

from facelift.landmarks import IBUG68
from facelift.morphable.linear import mirror_error, place, split_parameters
from facelift.morphable.mirror import coefficient_mirror, mirror_partners, mirror_pose, mirrored, symmetric_landmarks
from facelift.morphable.pca import symmetric_components


@pytest.fixture
def symmetric(plain, symmetric_mean, partners):
    """A model whose every component is symmetric or antisymmetric."""
    signs = np.array([1, -1, 1, 1, -1, 1, -1, 1])
    basis = np.concatenate([plain.shape, plain.expression])
    basis = (basis + signs[:, None, None] * mirrored(basis, partners)) / 2
    return replace(
        plain,
        mean=symmetric_mean,
        shape=basis[:5],
        expression=basis[5:],
        mirror_vertices=partners,
        mirror_signs=signs,
    )


def landmarks_px(model, parameters) -> np.ndarray:
    pose, shape, expression = split_parameters(parameters, 5, 3)
    return place(model.landmarks(shape, expression), pose)


@pytest.mark.parametrize("batch", [(), (3,)])
def test_mirrored_parameters_give_mirrored_landmarks(symmetric, rng, batch):
    """Whatever the pose: 12 free numbers, not a rotation."""
    parameters = rng.standard_normal((*batch, 20))
    wanted = landmarks_px(symmetric, parameters)[..., IBUG68.mirror, :] * [-1, 1, 1] + [120, 0, 0]
    flipped = symmetric.mirror_parameters(parameters, 120.0)
    np.testing.assert_allclose(landmarks_px(symmetric, flipped), wanted, atol=1e-10)
    np.testing.assert_allclose(symmetric.mirror_parameters(flipped, 120.0), parameters, atol=1e-10)
    assert mirror_error(symmetric) < 1e-10


def test_least_squares_finds_the_signs_and_the_partners(symmetric, rng):
    """The same model that does not say that it is symmetric: geometry tells."""
    silent = replace(symmetric, mirror_signs=None, mirror_vertices=None)
    np.testing.assert_array_equal(silent.partners, symmetric.mirror_vertices)
    parameters = rng.standard_normal((2, 20))
    expected = symmetric.mirror_parameters(parameters, 120.0)
    np.testing.assert_allclose(silent.mirror_parameters(parameters, 120.0), expected, atol=1e-8)


def test_least_squares_of_a_space_without_symmetry_is_the_nearest_mesh(plain, partners, rng):
    """Against a generic solver, and no coefficients nearby do better."""
    matrix, offset = coefficient_mirror(plain.mean, plain.shape, partners)
    coefficients = rng.standard_normal(5)
    wanted = mirrored(plain.vertices(coefficients, np.zeros(3)), partners)
    solved = np.linalg.lstsq(plain.shape.reshape(5, -1).T, (wanted - plain.mean).ravel(), rcond=None)[0]
    np.testing.assert_allclose(matrix @ coefficients + offset, solved, atol=1e-9)
    model = replace(plain, mirror_vertices=partners)
    parameters = np.concatenate([np.zeros(12), coefficients, np.zeros(3)])
    np.testing.assert_allclose(model.mirror_parameters(parameters, 9.0)[12:17], solved, atol=1e-9)
    assert mirror_error(model) > 0.1


def test_shape_and_expression_do_not_mix(plain, partners):
    model, parameters = replace(plain, mirror_vertices=partners), np.zeros(20)
    neutral = model.mirror_parameters(parameters, 0.0)
    assert np.abs(neutral[12:17]).max() > 0.01 and (neutral[17:] == 0).all()  # the mean's asymmetry is a shape


def test_pose_of_a_turned_head_mirrors_its_turn():
    """Nose to the right becomes nose to the left; by hand for a turn by 90 degrees about y."""
    pose = np.array([[0.0, 0, 2, 30], [0, -2, 0, 50], [2, 0, 0, 7]])
    model_side = np.array([[0.0, 0, -2, 90], [0, -2, 0, 50], [-2, 0, 0, 7]])
    np.testing.assert_array_equal(mirror_pose(pose, 120.0), model_side)


def test_partners_of_landmarks_are_landmarks(symmetric_mean, partners, marks, rng):
    np.testing.assert_array_equal(mirror_partners(symmetric_mean), partners)
    uneven = symmetric_mean + 0.01 * rng.standard_normal((100, 3))
    found = mirror_partners(uneven, marks)
    np.testing.assert_array_equal(found[marks], marks[IBUG68.mirror])
    with pytest.raises(ValueError, match="expected a face that is its own mirror image at x = 0"):
        mirror_partners(symmetric_mean + np.array([10, 0, 0]))
    broken = marks.copy()
    broken[16] = 3
    np.testing.assert_array_equal(symmetric_landmarks(broken, partners), marks)


def test_wrong_partners_of_signs_are_refused(symmetric):
    landmarks = symmetric.landmark_vertices[::-1].copy()
    with pytest.raises(ValueError, match="landmark_vertices: expected partners of mirror_vertices"):
        replace(symmetric, landmark_vertices=landmarks)


def test_components_are_those_of_the_faces_and_their_mirror_images(rng, partners):
    """NumPy's SVD of both together, without a word of symmetry; then the symmetry, to the last bit."""
    offsets = rng.standard_normal((30, 100, 3)) * rng.uniform(0.1, 3, (1, 100, 1))
    found = symmetric_components(offsets, partners, 12)
    both = np.concatenate([offsets, mirrored(offsets, partners)]).reshape(60, -1)
    _, values, rows = np.linalg.svd(both, full_matrices=False)
    np.testing.assert_allclose(found.explained, (values**2 / (values**2).sum())[:12], rtol=1e-10)
    unit = found.basis.reshape(12, -1) / np.linalg.norm(found.basis.reshape(12, -1), axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs((unit * rows[:12]).sum(1)), 1, atol=1e-5)
    np.testing.assert_allclose((found.basis.astype(float) ** 2).sum((1, 2)), values[:12] ** 2 / 60, rtol=1e-5)
    assert {1, -1} == set(found.signs)
    np.testing.assert_array_equal(mirrored(found.basis, partners), found.signs[:, None, None] * found.basis)


def test_components_stop_where_the_faces_end(rng, partners):
    directions = rng.standard_normal((2, 100, 3))
    directions += mirrored(directions, partners)  # two symmetric directions
    offsets = np.tensordot(rng.standard_normal((20, 2)), directions, 1)
    found = symmetric_components(offsets, partners, 10)
    assert found.signs.tolist() == [1, 1] and found.explained.sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="expected faces that differ, found 20 equal ones"):
        symmetric_components(0 * offsets, partners, 10)
