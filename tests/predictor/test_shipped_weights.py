"""The weights that come with the package on the photo that comes with it, against points placed by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from facelift import Predictor
from facelift.detectors2d.factory import build_detector
from facelift.images import load_photo
from facelift.landmarks import WFLW98
from facelift.onnx_models.lifter import SHIPPED, OnnxLifter, weights_path
from facelift.onnx_models.session import open_session
from facelift.predictors.dense_predictor import DensePredictor
from facelift.predictors.mesh_predictor import MeshPredictor

PHOTO = Path(__file__).parents[2] / "examples" / "astronaut.jpg"
BOX = [[180, 93, 269, 180]]
BY_HAND = {
    16: (225, 178),  # chin
    54: (225, 127),  # nose tip
    60: (192.5, 102),
    64: (212, 103),
    68: (236, 105),
    72: (258.5, 103.5),
    76: (203, 139),
    82: (247.5, 138.5),
    96: (203, 101.5),
    97: (246.5, 103.5),
}


@pytest.fixture(scope="module")
def face():
    return Predictor(threads=1).predict(PHOTO, BOX)[0]


def test_landmarks_lie_where_a_person_puts_them(face):
    error = np.linalg.norm(face.points_2d[list(BY_HAND)] - list(BY_HAND.values()), axis=1)
    assert error.mean() < 3.3 and error.max() < 6.6  # 5 and 10 %: the eyes' outer corners are 66 px apart


def test_uncertainty_visibility_and_pose_are_those_of_a_frontal_face(face):
    assert face.visibility[list(BY_HAND)].min() > 0.8
    assert 0.3 < np.median(face.sigmas) < 6
    assert np.abs(face.euler_deg[1:]).max() < 10 and abs(face.euler_deg[0]) < 20
    ears = face.landmarks_3d[[0, 32]]
    assert ears[0, 0] < -0.1 and ears[1, 0] > 0.1 and face.landmarks_3d[54, 2] > ears[:, 2].max() + 0.1


def test_the_mirrored_photo_gives_the_mirrored_face(face):
    pixels = load_photo(PHOTO).pixels
    x0, y0, x1, y1 = BOX[0]
    width = pixels.shape[1]
    other = Predictor(threads=1).predict(pixels[:, ::-1], [[width - x1, y0, width - x0, y1]])[0]
    back = other.points_2d[WFLW98.mirror] * [-1, 1] + [width, 0]
    assert np.linalg.norm(back - face.points_2d, axis=1).max() < 1
    np.testing.assert_allclose(other.euler_deg, face.euler_deg * [1, -1, -1], atol=1)


def test_the_turned_photo_gives_the_turned_face(face):
    pixels = load_photo(PHOTO).pixels
    x0, y0, x1, y1 = BOX[0]
    turned = Predictor(threads=1).predict(np.rot90(pixels, -1), [[512 - y1, x0, 512 - y0, x1]])[0]  # clockwise
    back = np.stack([turned.points_2d[:, 1], 512 - turned.points_2d[:, 0]], axis=1)
    assert np.linalg.norm(back - face.points_2d, axis=1).mean() < 5
    assert turned.euler_deg[2] == pytest.approx(face.euler_deg[2] + 90, abs=8)


def test_the_file_is_small_and_carries_its_card():
    network = OnnxLifter()
    assert weights_path().stat().st_size < 20e6
    for word in ("MERL-RAV", "300-W", "ICT-FaceKit", "recipes/small.sh", "NME", "non-commercial"):
        assert word in network.card
    assert network.card == weights_path().with_suffix(".md").read_text()


def ibug_by_hand() -> tuple[list[int], np.ndarray]:
    """Those of the points above that are iBUG-68's."""
    places = {8: 16, 30: 54, 36: 60, 39: 64, 42: 68, 45: 72, 48: 76, 54: 82}
    return list(places), np.array([BY_HAND[index] for index in places.values()])


def test_the_meshs_landmarks_lie_where_a_person_puts_them():
    found = MeshPredictor("m3lrn", threads=1).predict(PHOTO, BOX, vertices=True)[0]
    index, expected = ibug_by_hand()
    error = np.linalg.norm(found.landmarks[index, :2] - expected, axis=1)
    assert error.mean() < 5.3 and error.max() < 12  # 8 and 18 % of the distance between the outer eye corners
    assert found.vertices.shape == (9728, 3) and np.abs(found.euler_deg).max() < 25
    low, high = found.vertices.min(0), found.vertices.max(0)
    assert (low[:2] < expected.min(0) + 3).all() and (high[:2] > expected.max(0) - 3).all()


def test_dense_landmarks_lie_where_a_person_puts_them():
    found = DensePredictor("dense", threads=1).predict(PHOTO, BOX)[0]
    index, expected = ibug_by_hand()
    error = np.linalg.norm(found.landmarks[index] - expected, axis=1)
    assert error.mean() < 4 and error.max() < 8
    assert found.points.shape == (202, 2) and 0.1 < np.median(found.sigma) < 6
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


@pytest.mark.parametrize("name", SHIPPED)
def test_every_file_carries_its_card_and_its_sources(name):
    path = weights_path(name)
    metadata = open_session(path).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["card"]) == path.with_suffix(".md").read_text(encoding="utf-8")
    assert "non-commercial" in json.loads(metadata["card"]) and json.loads(metadata["sources"])
    assert sum(weights_path(one).stat().st_size for one in SHIPPED) < 60e6


@pytest.mark.parametrize("name", ["m3lrn", "dense"])
def test_what_is_no_lifter_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f'expected "mediapipe", "small" or .*, found "{name}", no detector'):
        build_detector(name)
    with pytest.raises(ValueError, match=f"expected a lifter .*found task '{name}'"):
        Predictor(name)
