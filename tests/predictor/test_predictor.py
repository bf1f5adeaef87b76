"""From photo to Face: geometry that holds whatever the crop, several faces, and weights that are none."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facelift.geometry import euler_deg, geodesic_distance, look_at_rotation, project, roll_rotation
from facelift.images import load_photo
from facelift.landmarks import WFLW98, conversion, eye_opening
from facelift.onnx_models.lifter import FORMAT, SHIPPED, OnnxLifter, OnnxOutput
from facelift.predictors.predictor import Predictor

PHOTO = np.full((120, 160, 3), 128, np.uint8)


def reprojection_px(face) -> float:
    pixels = project(face.landmarks_3d, face.rotation, face.translation, face.intrinsics)
    return float(np.abs(pixels - face.points_2d).max())


def test_numbers_of_an_unrefined_face_by_hand(weights, fixed_finder, answers):
    """Box 40 wide at 20 20: the crop is 60 wide and starts at 10 10."""
    predictor = Predictor(weights, finder=fixed_finder([[20, 20, 60, 60]]), threads=1, refine=False, mirror=False)
    (face,) = predictor.predict(PHOTO)
    np.testing.assert_allclose(face.points_2d, 10 + 60 * answers["points"], atol=1e-3)
    l00, l10, l11 = answers["cholesky"][5]
    expected = 3600 * np.array([[l00**2, l00 * l10], [l00 * l10, l10**2 + l11**2]])
    np.testing.assert_allclose(face.covariances[5], expected, rtol=1e-5)
    np.testing.assert_allclose(face.rotation, answers["rotation"], atol=1e-6)
    np.testing.assert_allclose(face.intrinsics, [[4.2647 * 60, 0, 40], [0, 4.2647 * 60, 40], [0, 0, 1]], atol=1e-9)
    np.testing.assert_allclose(face.visibility, answers["visibility"], atol=1e-6)
    np.testing.assert_allclose(face.marks_2d, 10 + 60 * answers["marks"], atol=1e-3)
    np.testing.assert_allclose(face.marks_covariances, 1.5**2 * face.covariances, rtol=1e-4)
    assert face.score == 0.9 and face.box.tolist() == [20, 20, 60, 60] and face.scheme == "wflw98"


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("roll", [0.0, 0.5, -1.5])
def test_landmarks_project_to_points(weights, fixed_finder, refine, roll):
    finder = fixed_finder([[20, 20, 60, 60], [70, 30, 110, 85]], [roll, -roll])
    for face in Predictor(weights, finder=finder, threads=1, refine=refine).predict(PHOTO):
        assert reprojection_px(face) < 1e-3
        np.testing.assert_allclose(face.rotation @ face.rotation.T, np.eye(3), atol=1e-5)


class TurnReader:
    """Stands in for the network: reads from the crop how the photo was turned, cut and scaled, and answers for a head
    that is fixed to the photo. The photo's red is x / width, its green y / height."""

    input_size = 64

    def __init__(self, answers, rotation):
        self.answers, self.rotation, self.seen = answers, rotation, []

    def run(self, crops):
        lifted = [self._one(crop.astype(float)) for crop in crops]
        stacked = {name: np.stack([one[name] for one in lifted]) for name in lifted[0]}
        return OnnxOutput(**stacked)

    def _one(self, crop):
        xy = crop[..., :2] / 255
        along_x = (xy[:, 32:] - xy[:, :32]).mean((0, 1))  # photo direction of the crop's x axis
        turn = roll_rotation(np.asarray(-np.arctan2(along_x[1], along_x[0])))
        self.seen.append(np.degrees(np.arctan2(along_x[1], along_x[0])))
        return {
            "landmarks": self.answers["landmarks"],
            "rotation": turn @ self.rotation,
            "translation": turn @ self.answers["translation"],
            "covariance": np.tile(np.diag([4e-4, 1e-4]), (98, 1, 1)),
            "visibility": self.answers["visibility"],
            "marks": self.answers["marks"],
            "marks_covariance": np.tile(np.diag([9e-4, 1e-4]), (98, 1, 1)),
        }


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("finder_roll_deg", [0, 40, -70])
def test_pose_does_not_depend_on_how_the_crop_was_turned(weights, fixed_finder, answers, finder_roll_deg, refine):
    """A head rolled by 25 degrees in the photo comes out so from every crop; the second crop is upright to the head."""
    truth = look_at_rotation(20, 10, 25)
    y, x = np.mgrid[:512, :512]
    photo = np.stack([x / 2, y / 2, 0 * x], -1).astype(np.uint8)
    finder = fixed_finder([[210, 210, 310, 310]], [np.radians(finder_roll_deg)])
    predictor = Predictor(weights, finder=finder, threads=1, refine=refine, mirror=False)
    predictor.network = TurnReader(answers, truth)
    (face,) = predictor.predict(photo)
    assert np.degrees(geodesic_distance(face.rotation, truth)) < 0.5  # 8-bit colours tell the turn to some tenths
    assert face.euler_deg[2] == pytest.approx(euler_deg(truth)[2], abs=0.5)
    assert reprojection_px(face) < 1e-3
    assert predictor.network.seen[0] == pytest.approx(finder_roll_deg, abs=0.5)
    if refine:
        assert predictor.network.seen[1] == pytest.approx(25, abs=0.5)


def test_the_next_frame_is_seen_upright_from_the_last_landmarks(weights, fixed_finder, answers):
    """One look, turned as the head was, framed by its points; the same head comes out."""
    y, x = np.mgrid[:512, :512]
    photo = load_photo(np.stack([x / 2, y / 2, 0 * x], -1).astype(np.uint8))
    predictor = Predictor(weights, finder=fixed_finder([[210, 210, 310, 310]]), threads=1, mirror=False)
    predictor.network = TurnReader(answers, look_at_rotation(20, 10, 25))
    (face,) = predictor.predict_photo(photo)
    predictor.network.seen.clear()
    (following,) = predictor.predict_next(photo, [face])
    assert predictor.network.seen == [pytest.approx(25, abs=0.5)]
    assert np.degrees(geodesic_distance(following.rotation, look_at_rotation(20, 10, 25))) < 0.5
    assert following.score == 0.9 and following.box.tolist() == face.landmark_box.tolist()
    assert reprojection_px(following) < 1e-3
    assert predictor.predict_next(photo, []) == []


def test_covariance_turns_back_with_the_crop(weights, fixed_finder, answers):
    """Uncertain along the crop's x; in a crop turned by 90 degrees that is the photo's y."""
    y, x = np.mgrid[:512, :512]
    photo = np.stack([x / 2, y / 2, 0 * x], -1).astype(np.uint8)
    predictor = Predictor(
        weights, finder=fixed_finder([[180, 180, 330, 330]], [np.pi / 2]), threads=1, refine=False, mirror=False
    )
    predictor.network = TurnReader(answers, look_at_rotation(0, 0))
    covariance = predictor.predict(photo)[0].covariances[0]
    side = 225.0
    np.testing.assert_allclose(covariance, np.diag([1e-4, 4e-4]) * side**2, atol=1e-6)


def test_the_mirrored_look_by_hand(weights, fixed_finder, answers):
    """The tiny network says the same of both crops: the average is as symmetric as a head that faces the camera."""
    finder = fixed_finder([[20, 20, 60, 60]])
    (face,) = Predictor(weights, finder=finder, threads=1, refine=False).predict(PHOTO)
    flip, partner = np.diag([-1.0, 1, 1]), WFLW98.mirror
    landmarks = (answers["landmarks"] + answers["landmarks"][partner] @ flip) / 2
    np.testing.assert_allclose(face.landmarks_3d, landmarks, atol=1e-6)
    np.testing.assert_allclose(face.translation, answers["translation"] * [0, 1, 1], atol=1e-6)
    halfway = Rotation.from_matrix(np.stack([answers["rotation"], flip @ answers["rotation"] @ flip])).mean()
    np.testing.assert_allclose(face.rotation, halfway.as_matrix(), atol=1e-6)
    lower = np.zeros((98, 2, 2))
    lower[:, [0, 1, 1], [0, 0, 1]] = answers["cholesky"]
    covariance = lower @ lower.swapaxes(1, 2)
    other = covariance[partner] * [[1, -1], [-1, 1]]
    np.testing.assert_allclose(face.covariances, 3600 * (covariance + other) / 2, rtol=1e-5)
    marks = (answers["marks"] + answers["marks"][partner] * [-1, 1] + [1, 0]) / 2
    np.testing.assert_allclose(face.marks_2d, 10 + 60 * marks, atol=1e-3)
    assert reprojection_px(face) < 1e-3


def test_a_find_that_the_network_is_not_sure_of_is_no_face(make_network, tmp_path, answers, fixed_finder):
    vague = make_network(tmp_path / "vague.onnx", {**answers, "cholesky": answers["cholesky"] * 8})
    predictor = Predictor(vague, finder=fixed_finder([[20, 20, 60, 60]]), threads=1)
    assert predictor.predict(PHOTO) == [] and len(predictor.predict(PHOTO, [[20, 20, 60, 60]])) == 1


def test_boxes_of_the_caller_keep_their_order(weights):
    predictor = Predictor(weights, threads=1, refine=False)
    boxes = [[100, 50, 140, 90], [20.5, 20, 60, 61]]
    faces = predictor.predict(PHOTO, boxes)
    assert [face.box.tolist() for face in faces] == boxes
    assert all(face.score == 1 for face in faces)
    assert predictor.predict(PHOTO, []) == []
    assert len(predictor.predict(PHOTO, np.zeros((0, 4)))) == 0


@pytest.mark.parametrize("boxes", [[[1, 2, 3]], [[9, 9, 3, 20]], [[0, 0, np.inf, 5]]])
def test_boxes_that_are_none(weights, boxes):
    with pytest.raises(ValueError, match="expected"):
        Predictor(weights, threads=1).predict(PHOTO, boxes)


def test_batch_equals_one_by_one(weights, fixed_finder, rng):
    boxes = rng.uniform(0, 60, (40, 2))
    boxes = np.concatenate([boxes, boxes + rng.uniform(20, 60, (40, 2))], 1)
    predictor = Predictor(weights, finder=fixed_finder(boxes), threads=1)
    together = predictor.predict(PHOTO)
    assert len(together) == 40
    alone = [predictor.predict(PHOTO, [box])[0] for box in boxes]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.points_2d, b.points_2d, atol=1e-9)


def test_no_face_and_nothing_kept(weights, fixed_finder, predictor):
    assert Predictor(weights, finder=fixed_finder([])).predict(PHOTO) == []
    first = predictor.predict(PHOTO)[0]
    predictor.predict(np.zeros((30, 30), np.uint8), [[3, 3, 20, 25]])
    np.testing.assert_array_equal(predictor.predict(PHOTO)[0].points_2d, first.points_2d)


@pytest.mark.parametrize("shape", [(1, 1), (3, 500)])
def test_tiny_pictures(predictor, shape):
    assert reprojection_px(predictor.predict(np.zeros(shape, np.uint8))[0]) < 1e-3


def test_large_photo_is_told_in_its_own_pixels(weights):
    """Shrunk by two while reading; boxes and points stay those of the original."""
    photo = np.zeros((300, 8192), np.uint8)
    (face,) = Predictor(weights, threads=1, refine=False).predict(photo, [[5000, 100, 5100, 200]])
    (small,) = Predictor(weights, threads=1, refine=False).predict(photo[::2, ::2], [[2500, 50, 2550, 100]])
    np.testing.assert_allclose(face.points_2d, 2 * small.points_2d, atol=1e-6)
    np.testing.assert_allclose(face.covariances, 4 * small.covariances, atol=1e-6)
    assert reprojection_px(face) < 1e-3 and face.box.tolist() == [5000, 100, 5100, 200]


def test_face_in_another_scheme(predictor):
    face = predictor.predict(PHOTO)[0]
    face68, face21 = face.to("ibug68"), face.to("aflw21")
    picked = conversion("wflw98", "ibug68").argmax(1)
    np.testing.assert_allclose(face68.points_2d, face.points_2d[picked], atol=1e-9)
    np.testing.assert_allclose(face68.covariances, face.covariances[picked])
    assert reprojection_px(face21) < 1e-9
    # AFLW's left eye centre (7): mean of iBUG 36..41 = WFLW 60, 61, 63, 64, 65, 67.
    eye = [60, 61, 63, 64, 65, 67]
    np.testing.assert_allclose(face21.landmarks_3d[7], face.landmarks_3d[eye].mean(0))
    np.testing.assert_allclose(face21.covariances[7], face.covariances[eye].sum(0) / 36)
    assert face21.visibility[7] == pytest.approx(face.visibility[eye].min())
    assert face.to("wflw98") is face
    with pytest.raises(ValueError, match="do not determine"):
        face68.to("wflw98")


def test_eye_opening_of_a_face_is_that_of_its_3d_landmarks(predictor):
    face = predictor.predict(PHOTO)[0]
    np.testing.assert_allclose(face.eye_opening, eye_opening(face.landmarks_3d))
    np.testing.assert_allclose(face.to("ibug68").eye_opening, face.eye_opening)
    with pytest.raises(ValueError, match="aflw21"):
        _ = face.to("aflw21").eye_opening


def test_scaled_face(predictor):
    face = predictor.predict(PHOTO)[0]
    double = face.scaled(2.0)
    np.testing.assert_allclose(double.points_2d, 2 * face.points_2d)
    np.testing.assert_allclose(double.sigmas, 2 * face.sigmas)
    assert reprojection_px(double) < 1e-9


def test_sigma_by_hand(predictor):
    face = replace(predictor.predict(PHOTO)[0], covariances=np.tile(np.diag([9.0, 41.0]), (98, 1, 1)))
    np.testing.assert_allclose(face.sigmas, 5)  # sqrt((9 + 41) / 2)


# Weights


def test_shipped_weights_are_named_when_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(SHIPPED, "small", str(tmp_path / "facelift-small.onnx"))
    with pytest.raises(FileNotFoundError, match=r"facelift-small.onnx: expected small, m3lrn, dense or weights"):
        Predictor()


@pytest.mark.parametrize("content", [b"", b"no network", bytes(1000)])
def test_weights_that_are_no_onnx(tmp_path, content):
    path = tmp_path / "weights.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights.onnx: expected .*found"):
        OnnxLifter(path)


def test_truncated_weights(tmp_path, weights):
    path = tmp_path / "cut.onnx"
    path.write_bytes(Path(weights).read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"cut.onnx: expected"):
        OnnxLifter(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata": {}}, "facelift_format = '2', found None"),
        ({"metadata": {"facelift_format": "1"}}, "found '1'"),
        ({"metadata": {"facelift_format": FORMAT, "scheme": "ibug68", "input_size": "16"}}, "found 'ibug68'"),
        ({"metadata": {"facelift_format": FORMAT, "scheme": "wflw98", "input_size": "128"}}, r"\(n, 3, 128, 128\)"),
        ({"metadata": {"facelift_format": FORMAT, "scheme": "wflw98", "input_size": "big"}}, "expected"),
        ({"outputs": ("landmarks", "points")}, "expected a lifter"),
    ],
)
def test_weights_of_something_else(tmp_path, make_network, change, message):
    path = make_network(tmp_path / "other.onnx", **change)
    with pytest.raises(ValueError, match=message) as error:
        OnnxLifter(path)
    assert str(path) in str(error.value)


def test_metadata(weights):
    network = OnnxLifter(weights, threads=1)
    assert network.card == "a test" and network.scheme == "wflw98" and network.input_size == 16


def test_unknown_finder(weights):
    with pytest.raises(ValueError, match="face finder: expected"):
        Predictor(weights, finder="eagle")


def test_import_is_cheap(weights):
    """Neither torch nor MediaPipe nor ONNX Runtime come with `import facelift`; torch never with the Predictor."""
    import subprocess
    import sys

    code = (
        "import sys, facelift; early = set(sys.modules)\n"
        "assert not early & {'numpy', 'torch', 'cv2', 'onnxruntime'}, 'import facelift'\n"
        "from facelift import Predictor, Face; import facelift.video, facelift.commands.predict\n"
        "heavy = {'torch', 'numba', 'scipy', 'mediapipe', 'matplotlib', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_threads_share_one_predictor(weights, data_dir):
    """Eight threads over different photos get what one alone gets."""
    from concurrent.futures import ThreadPoolExecutor

    predictor = Predictor(weights, threads=1)
    photos = [data_dir / "photos" / f"{name}.jpg" for name in ("astronaut_frontal", "two_men_wide")] * 4
    alone = [predictor.predict(photo) for photo in photos]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(predictor.predict, photos))
    for one, other in zip(alone, together, strict=True):
        assert [face.box.tolist() for face in one] == [face.box.tolist() for face in other]


def test_a_predictions_file_says_which_weights(weights):
    """Blocks of a killed `evaluate predict` must not be joined with those of other weights under the same name."""
    import hashlib

    from facelift.evaluation.systems import build_system

    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    assert build_system(str(weights)).about["weights"] == f"{weights.name} sha256:{digest}"
