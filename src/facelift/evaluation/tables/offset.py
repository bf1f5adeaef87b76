"""The table of DC-NME: what is left when constant differences of definition are taken off."""

from collections.abc import Sequence

import numpy as np

from facelift.evaluation.metrics.definition_offset import dc_nme, identity_halves, px_per_unit
from facelift.evaluation.metrics.nme import region_nme
from facelift.evaluation.tables import cells
from facelift.evaluation.tables.entries import Entry, Protocol, finite, scale_px
from facelift.evaluation.tables.table import Row, Table
from facelift.evaluation.truth import Truth
from facelift.landmarks import SCHEMES


def offset_table(truth: Truth, protocol: Protocol, entries: Sequence[Entry]) -> Table:
    """DC-NME by region of the systems that give rotations and 3D points, for faces of both halves."""
    regions = SCHEMES[truth.scheme].regions
    rows: list[Row] = []
    for entry in entries:
        errors = _corrected(truth, protocol, entry)
        if errors is not None:
            parts = region_nme(errors, regions, truth.counted)
            percent = {name: 100 * values for name, values in parts.items()}
            rows += cells.both_ways(entry.system, percent, truth.identity, failure=100 * protocol.failure)
    notes = ("One constant offset a landmark, head frame, fitted on the other half of the identities; not an NMLC.",)
    return Table("DC-NME by region, %", ("full", *regions), tuple(rows), notes)


def _corrected(truth: Truth, protocol: Protocol, entry: Entry) -> np.ndarray | None:
    """(m, n) errors of `dc_nme`, NaN where points in 2D and 3D do not look alike.

    None for a system without 3D, or one that finds no face of one of the halves.
    """
    predictions, half = entry.predictions, identity_halves(truth.identity.tolist())
    if entry.rotation is None or predictions.points_3d is None:
        return None
    size = px_per_unit(predictions.points_2d, predictions.points_3d, entry.rotation)
    usable = finite(entry.rotation) & finite(predictions.points_3d) & (size > 0)
    if not (usable[half].any() and usable[~half].any()):
        return None
    corrected = dc_nme(
        np.where(usable[:, None, None], predictions.points_2d, np.nan),
        truth.points,
        rotation=np.where(usable[:, None, None], entry.rotation, np.eye(3)),
        size=np.where(usable, size, 1.0),
        scale=scale_px(truth, protocol),
        half=half,
        counted=truth.counted,
    )
    no_view = predictions.found & ~usable
    return np.where(no_view[:, None], np.nan, corrected.errors)
