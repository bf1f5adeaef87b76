"""The table of 3D points."""

from collections.abc import Sequence

import numpy as np

from facelift.boxes import tight_box
from facelift.evaluation.metrics.landmarks_3d import nme_3d
from facelift.evaluation.metrics.normalisers import box_size
from facelift.evaluation.tables import cells
from facelift.evaluation.tables.entries import Entry, Protocol
from facelift.evaluation.tables.table import Row, Table
from facelift.evaluation.truth import Truth


def shape_table(truth: Truth, protocol: Protocol, entries: Sequence[Entry]) -> Table:
    """3D points against the set's, aligned by a similarity."""
    assert truth.points_3d is not None
    scale = box_size(tight_box(truth.points_3d))
    rows: list[Row] = []
    for entry in entries:
        points = entry.predictions.points_3d
        if points is None or points.shape != truth.points_3d.shape:
            continue
        points = np.where(entry.predictions.found[:, None, None], points, np.nan)
        error = nme_3d(points, truth.points_3d, scale=scale, alignment="similarity")
        errors = {"3D NME": 100 * np.where(entry.predictions.found, error, np.inf)}
        rows += cells.both_ways(entry.system, errors, truth.identity, failure=100 * protocol.failure)
    notes = (
        "Each prediction aligned to the set's 3D points by least squares, never mirrored.",
        "Divided by sqrt(w h) of the labels' box; means over the faces found.",
        f"{cells.FAILED}: over all faces, one not found scores {100 * protocol.failure:g} %.",
    )
    return Table("3D NME after Procrustes, %", ("3D NME",), tuple(rows), notes)
