"""All tables of a benchmark with 2D points or poses."""

from collections.abc import Iterator, Sequence

from facelift.evaluation.tables import cells
from facelift.evaluation.tables.comparison import chosen, comparison_table
from facelift.evaluation.tables.entries import Entry, Protocol
from facelift.evaluation.tables.nme import attribute_tables, nme_table, point_set_tables, region_table
from facelift.evaluation.tables.offset import offset_table
from facelift.evaluation.tables.pose import has_pose, pose_errors, pose_table
from facelift.evaluation.tables.shape import shape_table
from facelift.evaluation.tables.table import Table
from facelift.evaluation.tables.uncertainty import quantile_table, uncertainty_table, visibility_table
from facelift.evaluation.truth import Truth


def point_tables(truth: Truth, protocol: Protocol, entries: Sequence[Entry]) -> list[Table]:
    """Those that labels and predictions have the data for."""
    made = _of_labels(truth, protocol, entries)
    return [table for table in made if any(row.source == "measured" for row in table.rows)]


def point_comparison(truth: Truth, entries: Sequence[Entry], names: tuple[str, str]) -> Table:
    """Paired differences of NME and pose, over the faces that both found."""
    a, b = chosen(entries, names)
    found = {}
    if truth.has_points:
        found["NME, %"] = cells.difference(100 * a.per_face(truth), 100 * b.per_face(truth), truth.identity)
    if has_pose(truth):
        first, second = pose_errors(truth, a), pose_errors(truth, b)
        if first is not None and second is not None:
            found["pose MAE, degrees"] = cells.difference(first, second, truth.identity)
    return comparison_table(names, found)


def _of_labels(truth: Truth, protocol: Protocol, entries: Sequence[Entry]) -> Iterator[Table]:
    if truth.has_points:
        yield nme_table(truth, protocol, entries)
        yield region_table(truth, protocol, entries)
        yield from point_set_tables(truth, protocol, entries)
        yield from attribute_tables(truth, protocol, entries)
    if truth.has_points and truth.yaw is not None:
        yield offset_table(truth, protocol, entries)
    if has_pose(truth):
        yield pose_table(truth, entries)
    if truth.has_points and truth.benchmark.visibility:
        yield visibility_table(truth, entries)
    if truth.has_points:
        yield uncertainty_table(truth, entries)
        yield quantile_table(truth, entries)
    if truth.has_points and truth.points_3d is not None:
        yield shape_table(truth, protocol, entries)
