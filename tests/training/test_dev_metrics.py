"""The error that training reports, by hand."""

import numpy as np
import pytest

from facelift.datasets.real_faces import CropSample
from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED
from facelift.landmarks import wflw98_of_ibug68
from facelift.training.dev_metrics import visible_nme


def sample(state: np.ndarray) -> CropSample:
    """Points on a grid whose iBUG-68 subset spans 0.4 x 0.9: its size is 0.6."""
    points = np.full((98, 2), 0.2)
    index = wflw98_of_ibug68()
    points[index[0]], points[index[1]] = (0.1, 0.05), (0.5, 0.95)
    nowhere = np.full((98, 2), np.nan)
    points[state == SELF_OCCLUDED] = np.nan
    return CropSample(np.zeros((4, 4, 3), np.uint8), points, state, np.full((3, 3), np.nan), nowhere)


def test_hidden_points_do_not_count_and_bins_are_by_yaw():
    index = wflw98_of_ibug68()
    state = np.zeros((3, 98), np.int8)
    state[:, index[5]], state[:, index[6]] = OCCLUDED, SELF_OCCLUDED
    crops = [sample(row) for row in state]
    points = np.stack([np.nan_to_num(crop.points) for crop in crops])
    points[:, index[5:7]] += 9.0  # hidden: no error
    points[0, index[2], 0] += 0.66
    points[1, index[2], 1] -= 1.32
    metrics = visible_nme(points, crops, np.array([-10.0, 45.0, -89.0]))
    first = 100 * 0.66 / 66 / 0.6
    assert metrics == pytest.approx(
        {"nme": first, "nme_yaw_0_30": first, "nme_yaw_30_60": 2 * first, "nme_yaw_60_180": 0.0}, abs=1e-9
    )
