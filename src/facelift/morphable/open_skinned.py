"""The open head as fits move it: identity, ARKit's expressions as they are in the file, eyes that turn.

Generators make it livelier (`open_head.py`: lids that close on any identity and never pass the eyeball): that is no sum
of offsets. A fit takes the plain sum.
"""

import numpy as np

from facelift.geometry import ORIGIN_CM, UNIT_CM
from facelift.landmarks import wflw98_of_ibug68
from facelift.morphable.expressions import GAZE_DEG
from facelift.morphable.open_head import OpenHead
from facelift.morphable.skinned import UNLIMITED, Joints, Landmarks, SkinnedModel
from facelift.rendering import materials
from facelift.sources import ICT

_NECK_CM = -11.5
"""Height of the file below which are shoulders; the chin lies at -7.6."""
EXPRESSION_STD = 0.3
"""How far an expression coefficient, 0..1, usually goes."""
_LEFT_OUT = ("PupilDilate", "eyeLook")
"""Expressions that no landmark shows, and those that the eyes' joints stand for."""


def open_skinned(head: OpenHead) -> SkinnedModel:
    """All 24,359 vertices, canonical. Coefficients: 100 identities ~ N(0, 1), expressions 0..1 but for the gaze, which
    two joints are (x turns an eye down, y to the subject's left)."""
    kept = [k for k, name in enumerate(head.names) if not name.startswith(_LEFT_OUT)]
    files, unit = head.files, np.float32(1 / UNIT_CM)
    shape = files["identity_basis"].astype(np.float32) * unit
    expression = files["expression_basis"][kept].astype(np.float32) * unit
    marks = Landmarks(head.landmark_vertices, head.landmark_weights.astype(np.float32))
    iris = wflw98_of_ibug68()
    return SkinnedModel(
        mean=((head.mean_cm - np.asarray(ORIGIN_CM, np.float32)) * unit).astype(np.float32),
        shape=shape,
        expression=expression,
        faces=head.topology.faces,
        joints=_eyes(head),
        correctives=None,
        landmarks={"wflw98": marks, "ibug68": Landmarks(marks.vertices[iris], marks.weights[iris])},
        coefficient_mean=np.zeros(len(shape) + len(kept), np.float32),
        coefficient_std=np.concatenate([np.ones(len(shape)), np.full(len(kept), EXPRESSION_STD)]).astype(np.float32),
        limits=np.concatenate([np.tile(UNLIMITED, (len(shape), 1)), np.tile([0.0, 1.0], (len(kept), 1))]),
        name="open-head",
        sources=(ICT,),
        expression_names=tuple(head.names[k] for k in kept),
        skin=np.isin(head.topology.material, (materials.SKIN, materials.EYE)) & _above_shoulders(head),
    )


def _above_shoulders(head: OpenHead) -> np.ndarray:
    """(f,) triangles of head and neck: no landmark tells how shoulders are turned."""
    return (head.mean_cm[head.topology.faces, 1] > _NECK_CM).all(1)


def _eyes(head: OpenHead) -> Joints:
    """One a ball, about the mean of its vertices."""
    corners, count = head.topology.faces, len(head.mean_cm)
    ball = np.unique(corners[head.topology.material == materials.EYE])
    weights = np.zeros((count, 2), np.float32)
    for column, sign in ((0, 1), (1, -1)):
        weights[ball[np.sign(head.mean_cm[ball, 0]) == sign], column] = 1
    limit = np.radians(GAZE_DEG) * 1.2
    limits = np.tile(np.array([[-limit, limit], [-limit, limit], [0, 0]]), (2, 1, 1))
    return Joints(
        ("left_eye", "right_eye"),
        np.array([-1, -1], np.int32),
        (weights / weights.sum(0)).T.copy(),
        weights,
        limits,
    )
