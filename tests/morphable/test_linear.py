"""Linear models: sums of offsets, whitening, parameters, files."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from facelift.morphable.coefficients import fit_coefficients
from facelift.morphable.linear import Whitening, load_linear_model, place, split_parameters
from facelift.sources import Source


def slow_vertices(model, shape, expression) -> np.ndarray:
    """One vertex at a time, in float64."""
    found = np.zeros((100, 3))
    for v in range(100):
        point = model.mean[v].astype(np.float64)
        for weight, offset in zip(shape, model.shape, strict=True):
            point = point + weight * offset[v]
        for weight, offset in zip(expression, model.expression, strict=True):
            point = point + weight * offset[v]
        found[v] = point
    return found


@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_reconstruction_is_the_sum_and_landmarks_are_its_rows(plain, rng, batch):
    shape, expression = rng.standard_normal((*batch, 5)), rng.standard_normal((*batch, 3))
    dense, sparse = plain.vertices(shape, expression), plain.landmarks(shape, expression)
    assert dense.shape == (*batch, 100, 3) and sparse.shape == (*batch, 68, 3)
    rows = zip(shape.reshape(-1, 5), expression.reshape(-1, 3), dense.reshape(-1, 100, 3), strict=True)
    for own_shape, own_expression, own in rows:
        np.testing.assert_allclose(own, slow_vertices(plain, own_shape, own_expression), atol=1e-12)
    np.testing.assert_allclose(sparse, dense[..., plain.landmark_vertices, :], atol=1e-12)


def test_float32_models_stay_float32(plain):
    model = replace(
        plain, **{name: getattr(plain, name).astype(np.float32) for name in ("mean", "shape", "expression")}
    )
    assert model.vertices(np.ones(5), np.ones(3)).dtype == np.float32


def test_whitening_goes_there_and_back(plain, rng):
    parameters = rng.standard_normal((4, 20))
    whitened = plain.whitening.whiten(parameters)
    assert whitened[0, 0] == pytest.approx((parameters[0, 0] - plain.whitening.mean[0]) / plain.whitening.std[0])
    np.testing.assert_allclose(plain.whitening.dewhiten(whitened), parameters, atol=1e-12)


def test_whitening_of_a_sample(rng):
    parameters = rng.standard_normal((500, 3)) * [2, 1, 0] + [5, 0, 7]
    whitening = Whitening.of(parameters)
    whitened = whitening.whiten(parameters)
    np.testing.assert_allclose(whitened.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(whitened.std(0), [1, 1, 0], atol=1e-5)  # what never changes is divided by 1


def test_parameters_are_pose_shape_expression():
    pose, shape, expression = split_parameters(np.arange(20.0), 5, 3)
    assert pose.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert shape.tolist() == [12, 13, 14, 15, 16] and expression.tolist() == [17, 18, 19]
    tensors = split_parameters(torch.arange(40.0).reshape(2, 20), 5, 3)
    assert [tuple(part.shape) for part in tensors] == [(2, 3, 4), (2, 5), (2, 3)]
    with pytest.raises(ValueError, match=r"expected 12 \+ 40 \+ 10 numbers, found 20"):
        split_parameters(np.arange(20.0), 40, 10)


def test_place_of_a_frontal_face():
    """100 px a unit, y turned down, z turned away from the camera, moved to the middle of a crop of 120 px."""
    pose = np.array([[100.0, 0, 0, 60], [0, -100, 0, 60], [0, 0, -100, 0]])
    points = np.array([[0.1, 0.2, 0.3], [0, 0, 0]])
    assert place(points, pose) == pytest.approx(np.array([[70, 40, -30], [60, 60, 0]]))
    quarter = np.array([[0.0, -2, 0, 0], [1, 0, 0, 0], [0, 0, 1, 5]])  # rows say what becomes x, y, z
    assert place(points[:1], quarter).tolist() == [pytest.approx([-0.4, 0.1, 5.3])]
    batch = place(torch.tensor(np.stack([points, points])), torch.tensor(np.stack([pose, pose])))
    assert batch.numpy() == pytest.approx(np.stack([place(points, pose)] * 2))


def test_fit_finds_planted_coefficients(plain, rng):
    shape, expression = rng.standard_normal((6, 5)), rng.standard_normal((6, 3))
    vertices, neutral = plain.vertices(shape, expression), plain.vertices(shape, 0 * expression)
    for found in (fit_coefficients(plain, vertices), fit_coefficients(plain, vertices, neutral)):
        np.testing.assert_allclose(found.shape, shape, atol=1e-9)
        np.testing.assert_allclose(found.expression, expression, atol=1e-9)
        np.testing.assert_allclose(found.residual, 0, atol=1e-9)


def test_fit_is_the_least_squares_solution(plain, rng):
    vertices = rng.standard_normal((100, 3))
    matrix = np.concatenate([plain.shape, plain.expression]).reshape(8, -1).T
    wanted, squares, *_ = np.linalg.lstsq(matrix, (vertices - plain.mean).ravel(), rcond=None)
    found = fit_coefficients(plain, vertices)
    np.testing.assert_allclose(np.concatenate([found.shape, found.expression]), wanted, atol=1e-9)
    assert found.residual == pytest.approx(np.sqrt(squares[0] / 100))
    neutral = fit_coefficients(plain, vertices, vertices)  # a neutral face has no expression
    np.testing.assert_allclose(neutral.expression, 0, atol=1e-12)
    with pytest.raises(ValueError, match="expected 100 vertices of plain, found 99"):
        fit_coefficients(plain, vertices[1:])


def test_a_file_gives_the_model_back(plain, partners, tmp_path):
    for model in (plain, replace(plain, uv=None, mirror_vertices=partners, mirror_signs=np.ones(8, int))):
        model.save(tmp_path / "model.npz")
        found = load_linear_model(tmp_path / "model.npz")
        for name in ("mean", "shape", "expression", "faces", "landmark_vertices", "uv", "mirror_vertices"):
            np.testing.assert_array_equal(getattr(found, name), getattr(model, name))
        np.testing.assert_array_equal(found.whitening.std, model.whitening.std)
        assert found.name == "plain" and found.sources == (Source("numbers", "none", free=True),)
        assert (found.mirror_signs is None) == (model.mirror_signs is None)


BROKEN = {
    "shape": (np.zeros((5, 99, 3)), r"shape: expected floats \(5, 100, 3\), found \(5, 99, 3\)"),
    "expression": (np.zeros((3, 100, 2)), r"expression: expected floats \(3, 100, 3\), found \(3, 100, 2\)"),
    "mean": (np.full((100, 3), np.nan), "mean: expected finite numbers, found 300 that are not"),
    "landmark_vertices": (np.full(68, 100), r"landmark_vertices: expected vertices 0\.\.99, found 100\.\.100"),
    "faces": (np.full((1, 3), -1), r"faces: expected vertices 0\.\.99, found -1\.\.-1"),
    "uv": (np.zeros((100, 3)), r"uv: expected floats \(100, 2\), found \(100, 3\)"),
    "whitening_mean": (np.zeros(62), r"whitening_mean: expected floats \(20,\), found \(62,\)"),
    "whitening_std": (np.zeros(20), "whitening's std: expected positive numbers, found 0"),
    "mirror_signs": (np.ones(8, int), "beside mirror_vertices, found others or none beside"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_do_not_fit_are_refused(plain, tmp_path, name):
    plain.save(tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as file:
        arrays = dict(file)
    value, message = BROKEN[name]
    np.savez(tmp_path / "bad.npz", **{**arrays, name: value})
    with pytest.raises(ValueError, match=rf"bad\.npz: expected a linear face model, .*{message}"):
        load_linear_model(tmp_path / "bad.npz")


def test_whitening_of_another_size_and_other_files_are_refused(plain, tmp_path):
    with pytest.raises(ValueError, match=r"whitening_mean: expected floats \(20,\), found \(62,\)"):
        replace(plain, whitening=Whitening(np.zeros(62), np.ones(62)))
    np.savez(tmp_path / "other.npz", mean=plain.mean)
    with pytest.raises(ValueError, match=r"other\.npz: expected a linear face model with mean, shape, .*, found mean"):
        load_linear_model(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_linear_model(tmp_path / "nowhere.npz")
