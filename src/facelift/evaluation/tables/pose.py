"""The table of head pose."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from facelift.evaluation.metrics.definition_offset import identity_halves
from facelift.evaluation.metrics.pose import (
    euler_errors,
    euler_near,
    frobenius,
    geodesic_deg,
    within_99,
    without_frame_turn,
    without_shape_turn,
)
from facelift.evaluation.tables import cells, published
from facelift.evaluation.tables.entries import Entry, finite
from facelift.evaluation.tables.table import Row, Table
from facelift.evaluation.truth import Truth
from facelift.geometry import AFLW2000, BIWI, EulerConvention, euler_deg

ANGLES = ("pitch", "yaw", "roll")
"""Attributes of the samples of sets that write angles."""
FAILURE = {**dict.fromkeys(("yaw", "pitch", "roll", "mean", "geodesic"), 90.0), "||I - R R^T||": 2.0}
"""The columns, and what a face not found scores where it counts: a quarter turn, whose Frobenius norm is 2."""


def has_pose(truth: Truth) -> bool:
    """Whether the benchmark has poses to score, as angles or rotations."""
    return truth.benchmark.pose and (set(ANGLES) <= set(truth.attributes) or truth.rotation is not None)


def pose_table(truth: Truth, entries: Sequence[Entry]) -> Table:
    """Errors of head pose in the set's convention, over the papers' subset and all faces."""
    kept = within_99(_true_angles(truth))
    rows = [row for entry in entries for row in _rows(truth, entry, kept)]
    convention = "BIWI as Hopenet reads it" if _convention(truth) is BIWI else "AFLW2000-3D"
    notes = (
        f"Angles in the convention of {convention}; means over the faces found.",
        f"{cells.FAILED}: over all faces, one not found scores a quarter turn: 90 degrees, norm 2.",
        f"{int((~kept).sum())} of {len(kept)} faces with an angle beyond 99 degrees are left out, as usual.",
        "head axes by shape: the turn between both head frames, by Procrustes of the mean landmarks in them, is off; "
        "fitted on the other half of people, by the set's 3D points and poses, never by predicted poses.",
        "head axes aligned: a constant turn between both frames, fitted on the other half of people, is off.",
        *(entry.coverage for entry in entries if not truth.has_points),
    )
    known = published.pose_rows(truth.benchmark.name)
    return Table("Pose, mean absolute error in degrees", tuple(FAILURE), (*rows, *known), notes)


def pose_errors(truth: Truth, entry: Entry) -> Float[np.ndarray, "m"] | None:
    """Mean absolute Euler error in degrees of the faces that papers keep, NaN in others, infinite in those not found.

    None for a system without rotations.
    """
    if entry.rotation is None:
        return None
    angles = _true_angles(truth)
    errors = np.where(finite(entry.rotation), _angle_errors(truth, entry.rotation).mean(-1), np.inf)
    return np.where(within_99(angles), errors, np.nan)


def _rows(truth: Truth, entry: Entry, kept: Bool[np.ndarray, "m"]) -> list[Row]:
    if entry.rotation is None:
        return []
    rotation, half = entry.rotation, identity_halves(truth.identity.tolist())
    rows = _both_ways(entry.system, truth, rotation, kept)
    if not kept.all():
        rows += _both_ways(f"{entry.system}, all {len(truth)} faces", truth, rotation, np.ones_like(kept))
    if truth.rotation is None:
        return rows
    shape, both = entry.predictions.points_3d, finite(rotation) & finite(truth.rotation)
    if truth.points_3d is not None and shape is not None:
        usable = both & finite(shape) & finite(truth.points_3d)
        if _in_both_halves(usable, half):
            shape = np.where(usable[:, None, None], shape, np.nan)
            turned = without_shape_turn(rotation, shape, truth.points_3d, truth.rotation, half)
            rows += _both_ways(f"{entry.system}, head axes by shape", truth, turned, kept)
    if _in_both_halves(both, half):
        turned = without_frame_turn(rotation, truth.rotation, half)
        rows += _both_ways(f"{entry.system}, head axes aligned", truth, turned, kept)
    return rows


def _in_both_halves(faces: Bool[np.ndarray, "m"], half: Bool[np.ndarray, "m"]) -> bool:
    return bool(faces[half].any() and faces[~half].any())


def _both_ways(system: str, truth: Truth, rotation: np.ndarray, kept: np.ndarray) -> list[Row]:
    errors = _angle_errors(truth, rotation)
    columns = {"yaw": errors[:, 1], "pitch": errors[:, 0], "roll": errors[:, 2], "mean": errors.mean(-1)}
    if truth.rotation is not None:
        columns["geodesic"] = geodesic_deg(rotation, truth.rotation)
        columns["||I - R R^T||"] = frobenius(rotation, truth.rotation)
    lost = ~finite(rotation)
    columns = {name: np.where(kept, np.where(lost, np.inf, values), np.nan) for name, values in columns.items()}
    return cells.both_ways(system, columns, truth.identity, failure=FAILURE)


def _angle_errors(truth: Truth, rotation: np.ndarray) -> Float[np.ndarray, "m 3"]:
    angles = _true_angles(truth)
    return euler_errors(euler_near(rotation, angles, _convention(truth)), angles)


def _convention(truth: Truth) -> EulerConvention:
    return BIWI if truth.benchmark.name == "biwi" else AFLW2000


def _true_angles(truth: Truth) -> Float[np.ndarray, "m 3"]:
    """(pitch, yaw, roll) as the set writes them, else read from its rotations."""
    if set(ANGLES) <= set(truth.attributes):
        return np.stack([truth.attributes[key] for key in ANGLES], axis=-1).astype(float)
    assert truth.rotation is not None
    return euler_deg(truth.rotation, _convention(truth))
