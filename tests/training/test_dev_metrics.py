"""The error that training reports, by hand."""

import numpy as np
import pytest
import torch

from facelift.datasets.real_faces import CropSample
from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED
from facelift.geometry import UNIT_CM, intrinsics, look_at_rotation, project, roll_rotation, sphere_translation
from facelift.landmarks import mean_head, wflw98_of_ibug68
from facelift.models.lifter import LifterOutput
from facelift.training.dev_metrics import head_errors, visible_nme


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


def test_errors_on_heads_leave_size_out_and_count_hidden_landmarks():
    """Two views: one head found twice as large with its picture points off by (3, 4) % of the crop, one turned."""
    truth = np.stack([mean_head(), mean_head()])
    truth[:, 96:] = np.nan
    rotation = look_at_rotation(np.array([0.0, 50.0]), 0.0)
    translation = sphere_translation(rotation)
    points = project(np.nan_to_num(truth), rotation, translation, intrinsics(1.0))
    landmarks = 2 * np.nan_to_num(truth)
    landmarks[1, :96] = truth[1, :96] * [1, 1, 1.1]
    moved, turned = points.copy(), rotation.copy()
    moved[0] += [0.03, 0.04]
    turned[1] = roll_rotation(np.radians(24.0)) @ rotation[1]
    found = LifterOutput(
        *(torch.as_tensor(a) for a in (landmarks, turned, translation, moved)), *(torch.zeros(0) for _ in range(5))
    )
    errors = head_errors(found, truth, rotation, translation)
    box = np.ptp(points[0, :96], axis=0)
    assert errors["heads_nme"] == pytest.approx(100 * 0.05 / np.sqrt(box.prod()) / 2, rel=1e-6)
    assert errors["heads_pose_deg"] == pytest.approx(12, abs=1e-6)
    assert 0.5 < errors["heads_3d_mm"] < 3  # the stretched head alone, a tenth of a depth of some 10 cm
    landmarks[1] = landmarks[0]
    found = found._replace(landmarks=torch.as_tensor(landmarks))
    assert head_errors(found, truth, rotation, translation)["heads_3d_mm"] == pytest.approx(0, abs=1e-6 * UNIT_CM)
