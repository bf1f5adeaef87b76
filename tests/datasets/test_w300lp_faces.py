"""300W-LP's parameters, by 3DDFA's formulas, against what the samples say."""

from dataclasses import replace

import numpy as np
import pytest

from facelift.datasets.augment import Augmentation
from facelift.datasets.w300lp_faces import W300LPFaces
from facelift.morphable.face_cut import procedural_face
from facelift.morphable.head_model import head_model
from facelift.morphable.linear import LinearModel, place, split_parameters
from facelift.morphable.procedural_head import ProceduralHead
from facelift.sources import PROCEDURAL_HEAD
from w300lp_files import write_w300lp

SIZE = 120


@pytest.fixture(scope="module")
def model() -> LinearModel:
    head, sizes = ProceduralHead(), {"faces": 20, "shape": 4, "expression": 2}
    built = head_model(head, procedural_face(head), name="head", sources=(PROCEDURAL_HEAD,), **sizes)
    return built.model


@pytest.fixture
def written(tmp_path, model):
    names = ("a_0", "a_1", "b_0")
    return [write_w300lp(tmp_path, name, model, np.random.default_rng(i)) for i, name in enumerate(names)]


def spot(image: np.ndarray) -> np.ndarray:
    """px of the bright square's middle."""
    weight = image[..., 0].astype(float)
    y, x = np.indices(weight.shape) + 0.5
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def test_landmarks_and_parameters_are_those_of_the_released_formulas(written, tmp_path, model):
    faces = W300LPFaces(tmp_path, model, size=SIZE, cache=tmp_path / "kept.npz")
    assert faces.identity.tolist() == [0, 0, 1]
    for index, points in enumerate(written):
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        scale = SIZE / (1.5 * (high - low).max())
        expected = scale * (points[:, :2] - (low + high) / 2) + SIZE / 2
        sample = faces[index]
        np.testing.assert_allclose(sample.landmarks[:, :2], expected, atol=1e-3)
        depth = -scale * points[:, 2]
        np.testing.assert_allclose(np.diff(sample.landmarks[:, 2]), np.diff(depth), atol=1e-3)
        np.testing.assert_allclose(spot(sample.image), expected[8], atol=1.0)
        pose, *coefficients = split_parameters(sample.parameters, 4, 2)
        np.testing.assert_allclose(place(model.landmarks(*coefficients), pose), sample.landmarks, atol=1e-3)


def test_a_random_crop_keeps_labels_on_the_picture(written, tmp_path, model):
    faces, there = W300LPFaces(tmp_path, model, size=SIZE), Augmentation(roll_deg=30)
    for seed in range(6):
        sample = faces.drawn(1, np.random.default_rng(seed), there)
        assert np.abs(sample.landmarks - faces.landmarks[1]).max() > 3
        np.testing.assert_allclose(spot(sample.image), sample.landmarks[8, :2], atol=1.0)
        pose, *coefficients = split_parameters(sample.parameters, 4, 2)
        np.testing.assert_allclose(place(model.landmarks(*coefficients), pose), sample.landmarks, atol=1e-3)


def test_kept_parameters_spare_the_files(written, tmp_path, model):
    first = W300LPFaces(tmp_path, model, size=SIZE, cache=tmp_path / "kept.npz")
    poses = dict(np.load(tmp_path / "kept.npz"))
    np.savez(tmp_path / "kept.npz", **(poses | {"coefficients": 2 * poses["coefficients"]}))
    again = W300LPFaces(tmp_path, model, size=SIZE, cache=tmp_path / "kept.npz")
    np.testing.assert_allclose(again.parameters[:, 12:], 2 * first.parameters[:, 12:])


def test_another_linear_model_is_refused(written, tmp_path, model):
    half = {"mean": model.mean / 2, "shape": model.shape / 2, "expression": model.expression / 2}
    with pytest.raises(ValueError, match=r"head: expected the linear model that 300W-LP was made with .* of the face"):
        W300LPFaces(tmp_path, replace(model, **half), size=SIZE)
