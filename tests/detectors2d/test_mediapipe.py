"""MediaPipe's mesh as a landmark detector: the map from its vertices, and real photos where the package is at hand."""

import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from facelift.detectors2d.mediapipe import MediaPipeDetector, wflw98_weights
from facelift.landmarks import WFLW98

# MediaPipe's own mirror pairs at the places where the map reads: outer, inner eye corners, mouth corners, ...
MIRROR = {33: 263, 133: 362, 61: 291, 78: 308, 70: 300, 127: 356, 234: 454, 468: 473, 152: 152, 4: 4, 13: 13}


def test_weights_are_means_of_vertices():
    weights = wflw98_weights()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-12)
    assert (weights >= 0).all()
    assert weights[0, 127] == 1 and weights[32, 356] == 1 and weights[16, 152] == pytest.approx(1)
    # A third and two thirds of the way: place 1/32 = 0.03125 lies between 0 (127) and 0.0464 (234).
    assert weights[1, 234] == pytest.approx(0.03125 / 0.0464)


def test_map_is_mirror_symmetric():
    """Wherever a vertex's mirror partner is known, the mirrored landmark uses it with the same weight."""
    weights = wflw98_weights()
    seen = 0
    for vertex, partner in MIRROR.items():
        np.testing.assert_allclose(weights[:, vertex], weights[WFLW98.mirror, partner], atol=1e-9)
        seen += (weights[:, vertex] > 0).sum()
    assert seen >= len(MIRROR)


def _faces(data_dir: Path, count: int):
    labels = dict(np.load(data_dir / "w300_train.npz"))
    with tarfile.open(data_dir / "w300_train.tar") as tar:
        for index in range(0, count * 40, 40):
            jpeg = tar.extractfile(str(labels["name"][index])).read()
            yield cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB), labels["pts68"][index]


def test_agrees_with_human_labels(data_dir):
    pytest.importorskip("mediapipe")
    images, labels = zip(*_faces(data_dir, 20), strict=True)
    boxes = np.array([[*p.min(0), *p.max(0)] for p in labels], np.float64)
    with MediaPipeDetector("ibug68") as detector:
        result = detector.detect(images, boxes)
    assert result.found.mean() >= 0.9
    size = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    error = np.linalg.norm(result.points - np.array(labels), axis=-1)[result.found] / size[result.found, None]
    assert error.mean() < 0.04
    sure = result.confidence[result.found] > 0.7
    assert error[sure].mean() < 0.7 * error[~sure].mean()


def test_nothing_in_noise(rng):
    pytest.importorskip("mediapipe")
    image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with MediaPipeDetector() as detector:
        result = detector.detect([image], np.array([[8.0, 8.0, 56.0, 56.0]]))
    assert not result.found[0] and np.isnan(result.points).all() and (result.confidence == 0).all()
    assert result.points.shape == (1, 98, 2)
