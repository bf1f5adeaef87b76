"""Which labels of a real photo count."""

import torch

from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED, UNKNOWN, VISIBLE
from facelift.geometry import look_at_rotation
from facelift.landmarks import normals
from facelift.training.lifter_task import frame_weight


def test_human_states_go_before_predicted_normals():
    rotation = torch.as_tensor(look_at_rotation(0.0, 0.0)).float()[None]  # camera in front: +z faces it
    towards, away = [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]
    normals = torch.tensor(away).repeat(98, 1)
    normals[60:66] = torch.tensor([towards, away, away, away, towards, towards])
    state = torch.full((1, 98), UNKNOWN)
    state[0, 60:66] = torch.tensor([UNKNOWN, UNKNOWN, VISIBLE, OCCLUDED, SELF_OCCLUDED, VISIBLE])
    points = torch.zeros(1, 98, 2)
    points[0, 64:66] = torch.nan
    weight = frame_weight(rotation, points, state, normals)
    assert weight[0, 60:66].tolist() == [1, 0, 1, 1, 0, 0] and not weight[0, 66:].any()


def test_a_jaw_label_counts_as_far_as_the_jaw_faces_the_camera():
    """Whatever people say they see there: that is the outline."""
    rotation = torch.as_tensor(look_at_rotation(45.0, 0.0)).float()[None]
    state, points = torch.full((1, 98), VISIBLE), torch.zeros(1, 98, 2)
    points[0, 30] = torch.nan
    weight = frame_weight(rotation, points, state, torch.tensor(normals(), dtype=torch.float32))[0]
    assert not weight[:9].any() and (weight[20:30] == 1).all() and 0 < weight[16] < 1
    assert weight[30] == 0 and (weight[33:] == 1).all()
