"""The head built by code as fits move it: its five identity and three expression modes, exactly."""

import numpy as np

from facelift.landmarks import wflw98_of_ibug68
from facelift.morphable.procedural_head import ProceduralHead
from facelift.morphable.skinned import UNLIMITED, Landmarks, SkinnedModel, no_joints
from facelift.sources import PROCEDURAL_HEAD

_EXPRESSION_STD = 0.4


def procedural_skinned(head: ProceduralHead) -> SkinnedModel:
    """Canonical; identities ~ N(0, 1), expressions 0..1. No texture place: its own is one a corner."""
    mean = head.vertices(np.zeros(5), np.zeros(3))
    offsets = np.stack([head.vertices(unit[:5], unit[5:]) - mean for unit in np.eye(8)])
    marks = Landmarks(head.landmark_vertices, head.landmark_weights.astype(np.float32))
    own = wflw98_of_ibug68()
    return SkinnedModel(
        mean=mean,
        shape=offsets[:5],
        expression=offsets[5:],
        faces=head.topology.faces,
        joints=no_joints(len(mean)),
        correctives=None,
        landmarks={"wflw98": marks, "ibug68": Landmarks(marks.vertices[own], marks.weights[own])},
        coefficient_mean=np.zeros(8, np.float32),
        coefficient_std=np.array([1] * 5 + [_EXPRESSION_STD] * 3, np.float32),
        limits=np.concatenate([np.tile(UNLIMITED, (5, 1)), np.tile([0.0, 1.0], (3, 1))]),
        name="procedural-head",
        sources=(PROCEDURAL_HEAD,),
        expression_names=head.names,
    )
