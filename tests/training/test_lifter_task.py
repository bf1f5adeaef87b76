"""Which labels of a real photo count."""

import torch

from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED, UNKNOWN, VISIBLE
from facelift.geometry import look_at_rotation
from facelift.training.lifter_task import frame_weight


def test_human_states_go_before_predicted_normals():
    rotation = torch.as_tensor(look_at_rotation(0.0, 0.0)).float()[None]  # camera in front: +z faces it
    towards, away = [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]
    normals = torch.tensor([towards, away, away, away, towards, towards])
    normals = torch.cat([normals, torch.tensor(away).repeat(92, 1)])
    state = torch.full((1, 98), UNKNOWN)
    state[0, :6] = torch.tensor([UNKNOWN, UNKNOWN, VISIBLE, OCCLUDED, SELF_OCCLUDED, VISIBLE])
    points = torch.zeros(1, 98, 2)
    points[0, 4:6] = torch.nan
    weight = frame_weight(rotation, points, state, normals)
    assert weight[0, :6].tolist() == [1, 0, 1, 1, 0, 0] and not weight[0, 60:].any()
