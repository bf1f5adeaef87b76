"""Which labels of a real photo count, and which landmarks of a rendered view are called hidden."""

from types import SimpleNamespace

import numpy as np
import torch

from facelift.datasets.augment import Augmentation
from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED, UNKNOWN, VISIBLE
from facelift.datasets.views import RenderedView
from facelift.geometry import look_at_rotation, sphere_translation
from facelift.landmarks import mean_head, normals
from facelift.training.lifter_task import LifterTask, frame_weight


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


def test_states_of_a_rendered_view_are_what_the_renderer_saw():
    rotation = look_at_rotation(0.0, 0.0)
    visible, covered = np.ones(98, bool), np.zeros(98, bool)
    visible[[54, 57]], covered[57] = False, True
    image = np.zeros((32, 32, 3), np.uint8)
    view = RenderedView(image, mean_head(), rotation, sphere_translation(rotation), visible, covered)
    plain = SimpleNamespace(config=SimpleNamespace(augmentation=Augmentation(colour=0, occluder=0)))
    state = LifterTask._view_sample(plain, view, np.random.default_rng(0)).state
    assert state[[51, 54, 57]].tolist() == [VISIBLE, SELF_OCCLUDED, OCCLUDED]
