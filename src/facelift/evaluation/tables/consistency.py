"""Multiface's table without labels: do a system's predictions in all cameras of a frame meet in 3D points?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facelift.datasets.benchmarks import FacesOfMeshes
from facelift.datasets.readers.cameras import Camera
from facelift.evaluation.metrics.bootstrap import bootstrap_mean
from facelift.evaluation.metrics.consistency import Consistency, multi_view_consistency
from facelift.evaluation.metrics.landmarks_3d import mean_of_finite
from facelift.evaluation.predictions import Predictions
from facelift.evaluation.tables.entries import coverage
from facelift.evaluation.tables.meshes import SCHEME, MeshEntry
from facelift.evaluation.tables.table import Measured, Row, Table, measured
from facelift.landmarks import SCHEMES


@dataclass(frozen=True, eq=False)
class Frame:
    """One moment of one person: its faces in the set, and the camera of each."""

    identity: str
    faces: tuple[int, ...]
    cameras: tuple[Camera, ...]


def gather_frames(faces: FacesOfMeshes) -> list[Frame]:
    """Faces of the same identity, sequence and frame, in the set's order. One pass; keeps no mesh.

    Raises ValueError for a face without a camera or without one of the attributes.
    """
    found: dict[tuple[str, str, str], list[tuple[int, Camera]]] = {}
    for index in range(len(faces)):
        sample = faces.meshes[index]
        held = sample.face.attributes
        if sample.camera is None or not {"sequence", "frame"} <= held.keys():
            raise ValueError(f"{sample.face.name}: expected a camera, sequence and frame, found {sorted(held)}")
        key = (sample.face.identity, str(held["sequence"]), str(held["frame"]))
        found.setdefault(key, []).append((index, sample.camera))
    return [Frame(key[0], *zip(*views, strict=True)) for key, views in found.items()]


def frame_consistency(predictions: Predictions, frame: Frame) -> Consistency | None:
    """`multi_view_consistency` of a frame, distortion taken out first; None for fewer than two faces found."""
    seen = [(face, camera) for face, camera in zip(frame.faces, frame.cameras, strict=True) if predictions.found[face]]
    if len(seen) < 2:
        return None
    points = np.stack([camera.without_distortion(predictions.points_2d[face]) for face, camera in seen])
    cameras = [camera for _, camera in seen]
    return multi_view_consistency(
        points[None],
        np.stack([camera.R for camera in cameras]),
        np.stack([camera.t for camera in cameras]),
        np.stack([camera.K for camera in cameras]),
    )


def consistency_table(entries: Sequence[MeshEntry], frames: Sequence[Frame]) -> Table:
    """Mean over frames of the reprojection residual in px, by region, with the number of observations."""
    rows = tuple(_row(entry, frames) for entry in entries)
    notes = (
        "A frame's landmark is triangulated from all cameras that found the face, lens distortion taken out.",
        "Residual: from the prediction to the reprojected point, px of the camera's picture; mean over frames' means.",
        "It does not see an error of definition that all cameras share.",
        "Few cameras make small residuals: compare systems that found the same faces.",
        "Frames not solved: found by fewer than two cameras, or points behind one.",
        "Brackets: bootstrap 95 % interval over people.",
        *(coverage(entry.system, entry.predictions, entry.absent) for entry in entries),
    )
    columns = ("full", *SCHEMES[SCHEME].regions, "frames", "frames not solved", "observations", "not found")
    return Table("Multi-view consistency, px", columns, rows, notes)


def _row(entry: MeshEntry, frames: Sequence[Frame]) -> Row:
    regions = {"full": np.arange(SCHEMES[SCHEME].size), **SCHEMES[SCHEME].regions}
    found = [frame_consistency(entry.predictions, frame) for frame in frames]
    per_frame = {name: _per_frame(found, np.asarray(indices)) for name, indices in regions.items()}
    people = np.array([frame.identity for frame in frames], str)
    cells: dict[str, Measured | float] = {
        name: measured(bootstrap_mean(values, groups=people)) for name, values in per_frame.items()
    }
    solved = int(np.isfinite(per_frame["full"]).sum())
    return Row(entry.system, cells | _counts(entry, found, solved))


def _per_frame(found: Sequence[Consistency | None], indices: np.ndarray) -> Float[np.ndarray, "f"]:
    nothing = np.full((1, 1), np.nan)
    residuals = [nothing if one is None else one.residual_px[:, :, indices].reshape(1, -1) for one in found]
    return np.array([mean_of_finite(residual, axis=1)[0] for residual in residuals])


def _counts(entry: MeshEntry, found: Sequence[Consistency | None], solved: int) -> dict[str, Measured | float]:
    return {
        "frames": solved,
        "frames not solved": len(found) - solved,
        "observations": sum(one.observations for one in found if one is not None),
        "not found": int((~entry.predictions.found).sum()),
    }
