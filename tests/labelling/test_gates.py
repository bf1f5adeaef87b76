"""Which faces the gates let through."""

from dataclasses import replace

import numpy as np
import pytest
from square_faces import SHAPE

from facelift.detectors2d.protocol import Detections
from facelift.labelling.gates import GateConfig, judge, measure

SIDE = 100.0
SIZE = np.sqrt(np.prod(np.ptp(SHAPE[:96], axis=0))) * SIDE


def detections(*, at=(20.0, 20.0), scale=1.0, sigma=1.0, gap=1.0, visibility=None):
    points = (np.array(at) + SHAPE * SIDE * scale)[None]
    ones = np.ones((1, 98))
    covariance = np.broadcast_to(np.asarray(sigma) ** 2, (98,))[None, :, None, None] * np.eye(2)
    return Detections(points, ones, ones[:, 0] > 0, covariance, visibility, np.asarray(gap) * ones)


def test_measures_by_hand():
    found = detections(at=(-SHAPE[0, 0] * SIDE - 1, 20.0), sigma=2.0, gap=3.0)  # the first point is 1 px outside
    measures = measure(found, 300, 300)
    assert measures.size_px[0] == pytest.approx(SIZE)
    assert measures.sigma[0] == pytest.approx(2 / SIZE) and measures.flip[0] == pytest.approx(3 / SIZE)
    outside = (found.points[0, :, 0] < 0).mean()
    assert outside > 0 and measures.inside[0] == pytest.approx(1 - outside)


def test_hidden_points_do_not_count():
    sigma, visibility = np.where(np.arange(98) < 49, 1.0, 50.0), np.where(np.arange(98) < 49, 1.0, 0.0)
    measures = measure(detections(sigma=sigma, visibility=visibility[None], gap=sigma), 300, 300)
    assert measures.sigma[0] == pytest.approx(1.05 / SIZE, rel=0.01)
    assert measures.flip[0] == pytest.approx(1.05 / SIZE, rel=0.01)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "kept"),
        ({"scale": 0.2, "sigma": 0.1, "gap": 0.1}, "small"),
        ({"at": (-30.0, 20.0)}, "outside"),
        ({"sigma": 0.2 * SIZE}, "unsure"),
        ({"sigma": np.nan}, "unsure"),
        ({"gap": 0.2 * SIZE}, "unstable"),
        ({"at": (-30.0, 20.0), "gap": 0.2 * SIZE}, "outside"),  # the first gate that fails
    ],
)
def test_each_gate_rejects_what_it_is_for(change, verdict):
    assert judge(measure(detections(**change), 300, 300), GateConfig()) == [verdict]


def test_a_detector_without_uncertainty_is_refused():
    for lacking in ("covariances", "disagreement"):
        with pytest.raises(ValueError, match="expected a detector with covariances and a mirrored look"):
            measure(replace(detections(), **{lacking: None}), 300, 300)
