"""The second look and the mirrored one, with a network whose answers are known; and the lifter as a detector."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from facelift.detectors2d.factory import build_detector
from facelift.detectors2d.lifter import LifterDetector
from facelift.detectors2d.looks import CropPoints, look, mirrored
from facelift.detectors2d.protocol import Detector2D
from facelift.landmarks import WFLW98, mean_head
from facelift.onnx_models.lifter import weights_path
from facelift.predictors.predictor import Predictor

ROOT = Path(__file__).parents[2]

SHAPE = mean_head()[:, :2] * [1, -1]
SHAPE = (SHAPE - SHAPE.min(0)) / np.ptp(SHAPE, axis=0).max()


class Spots:
    """Finds one bright spot and answers with a face about it, `bias` px of the crop too far to the right."""

    scheme, size = WFLW98, 64

    def __init__(self, turn_deg=0.0, bias=0.0):
        self.turn, self.bias, self.crops = np.radians(turn_deg), bias, []

    def run(self, crops):
        self.crops.append(crops)
        grey = crops[..., 0].astype(float) ** 4
        ys, xs = np.mgrid[: self.size, : self.size] + 0.5
        total = grey.sum((1, 2))
        middle = np.stack([(grey * xs).sum((1, 2)), (grey * ys).sum((1, 2))], -1) / total[:, None]
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        face = (SHAPE - SHAPE.mean(0)) @ np.array([[cos, sin], [-sin, cos]]) * 20
        points = (middle[:, None] + face + [self.bias, 0]) / self.size
        covariance = np.tile(np.array([[4.0, 1.0], [1.0, 2.0]]) / self.size**2, (len(crops), 98, 1, 1))
        return CropPoints(points, covariance, np.tile(np.linspace(0, 1, 98), (len(crops), 1)))


def spot(x, y, side=200):
    image = np.zeros((side, side, 3), np.uint8)
    cv2.circle(image, (x, y), 4, (255, 255, 255), -1)
    return image


BOX = np.array([[60.0, 50.0, 140.0, 130.0]])


def test_one_look_is_in_px_of_the_image():
    network = Spots()
    found = look(network, [spot(100, 80)], BOX)
    np.testing.assert_allclose(found.points[0].mean(0), [100.5, 80.5], atol=1)
    side = 120 / 64  # px of the image in one of the crop
    np.testing.assert_allclose(found.covariances[0, 3], np.array([[4, 1], [1, 2]]) * side**2, rtol=1e-6)
    assert found.disagreement is None and len(network.crops) == 1


def test_the_second_look_is_upright_and_framed_by_the_first():
    network = Spots(turn_deg=90)
    found = look(network, [spot(100, 80)], BOX, refine=True)
    assert len(network.crops) == 2
    # the first answer is a face of 20 crop px (37.5 px) lying on its side: the second crop is turned and closer
    scale = np.sqrt(np.linalg.det(found.covariances[0, 3]) / (7 / 64**4)) / 64**2
    assert scale == pytest.approx((1.5 * 37.5 / 64) ** 2, rel=0.02)
    first = look(Spots(turn_deg=90), [spot(100, 80)], BOX).points[0]
    down = [points[76:96].mean(0) - points[60:76].mean(0) for points in (first, found.points[0])]
    angles = [np.degrees(np.arctan2(-d[0], d[1])) for d in down]
    assert angles[0] == pytest.approx(90, abs=3)
    assert abs(angles[1]) == pytest.approx(180, abs=5)  # 90 in a crop that is turned by 90 already


def test_the_mirrored_look_takes_a_constant_bias_out_and_measures_it():
    found = look(Spots(bias=2.0), [spot(100, 80)], BOX, mirror=True)
    plain = look(Spots(), [spot(100, 80)], BOX)
    np.testing.assert_allclose(found.points, plain.points, atol=0.35)  # the mean head is nearly symmetric
    np.testing.assert_allclose(found.disagreement.mean(), 4 * 120 / 64, rtol=0.1)
    np.testing.assert_allclose(found.covariances[0, 3], np.array([[4, 0], [0, 2]]) * (120 / 64) ** 2, atol=1e-9)
    np.testing.assert_allclose(found.visibility[0, [0, 32]], [16 / 97, 16 / 97], atol=1e-6)


def test_two_mirrors_are_none():
    found = Spots().run(np.stack([spot(30, 30, 64)]))
    twice = mirrored(mirrored(found, WFLW98), WFLW98)
    np.testing.assert_allclose(twice.points, found.points)
    np.testing.assert_allclose(twice.covariance, found.covariance)
    assert not np.allclose(mirrored(found, WFLW98).points, found.points)
    with pytest.raises(ValueError, match="expected one box per image, found 1 images and 2 boxes"):
        look(Spots(), [spot(30, 30)], np.tile(BOX, (2, 1)))


def test_the_shipped_lifter_is_a_detector_that_says_what_the_predictor_says():
    image = cv2.imread(str(ROOT / "examples" / "astronaut.jpg"), cv2.IMREAD_COLOR_RGB)
    box = np.array([180.0, 90.0, 270.0, 190.0])
    detector = build_detector("small")
    assert isinstance(detector, Detector2D) and isinstance(detector, LifterDetector)
    once = detector.detect([image], box[None])
    face = Predictor(refine=False, mirror=False, threads=1).predict(image, [box.tolist()])[0]
    np.testing.assert_allclose(once.points[0], face.marks_2d, atol=1e-3)
    np.testing.assert_allclose(once.covariances[0], face.marks_covariances, rtol=1e-4)
    twice = build_detector(str(weights_path()), refine=True, mirror=True).detect([image], box[None])
    best = Predictor(threads=1).predict(image, [box.tolist()])[0]
    side = np.ptp(best.points_2d, axis=0).max()
    assert np.linalg.norm(twice.points[0] - best.marks_2d, axis=-1).max() < 0.01 * side
    other = build_detector("small", refine=True, mirror=True).detect(
        [np.ascontiguousarray(image[:, ::-1])], np.array([[512 - 270.0, 90, 512 - 180, 190]])
    )
    flipped = other.points[0][WFLW98.mirror] * [-1, 1] + [512, 0]
    assert np.linalg.norm(flipped - twice.points[0], axis=-1).max() < 0.01 * side


def test_a_file_that_is_neither_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ValueError, match=r"text\.onnx: expected weights in ONNX format, found"):
        build_detector(str(tmp_path / "text.onnx"))
    with pytest.raises(FileNotFoundError, match='expected "mediapipe", "small" or the path'):
        build_detector("gone.onnx")
