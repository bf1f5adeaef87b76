"""All tables of a benchmark with 2D points or poses."""

from collections.abc import Iterator, Sequence

from facelift.evaluation.metrics.nme import region_nme
from facelift.evaluation.tables.comparison import chosen, comparison_table
from facelift.evaluation.tables.entries import Entry, Protocol
from facelift.evaluation.tables.nme import attribute_tables, nme_table, point_set_tables, region_table
from facelift.evaluation.tables.offset import offset_table
from facelift.evaluation.tables.pose import has_pose, pose_errors, pose_table
from facelift.evaluation.tables.shape import shape_table
from facelift.evaluation.tables.table import Table
from facelift.evaluation.tables.uncertainty import quantile_table, uncertainty_table, visibility_table
from facelift.evaluation.truth import Truth
from facelift.landmarks import SCHEMES


def point_tables(truth: Truth, protocol: Protocol, entries: Sequence[Entry]) -> list[Table]:
    """Those that labels and predictions have the data for."""
    made = _of_labels(truth, protocol, entries)
    return [table for table in made if any(row.source == "measured" for row in table.rows)]


def point_comparison(truth: Truth, entries: Sequence[Entry], names: tuple[str, str]) -> Table:
    """Paired differences of NME, whole and by region, and of pose, over the faces that both found."""
    a, b = chosen(entries, names)
    errors = {}
    if truth.has_points:
        first, second = (region_nme(e.errors, SCHEMES[truth.scheme].regions, truth.counted) for e in (a, b))
        errors = {f"NME {region}, %": (100 * first[region], 100 * second[region]) for region in first}
    if has_pose(truth):
        poses = pose_errors(truth, a), pose_errors(truth, b)
        if poses[0] is not None and poses[1] is not None:
            errors["pose MAE, degrees"] = poses[0], poses[1]
    return comparison_table(names, errors, truth.identity)


def _of_labels(truth: Truth, protocol: Protocol, entries: Sequence[Entry]) -> Iterator[Table]:
    if truth.has_points:
        yield nme_table(truth, protocol, entries)
        yield region_table(truth, protocol, entries)
        yield from point_set_tables(truth, protocol, entries)
        yield from attribute_tables(truth, protocol, entries)
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
