"""Tables of NME: by yaw, region, set of points and attribute."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from facelift.evaluation.metrics.nme import AFLW2000_YAW_EDGES, by_yaw, curve_score, face_nme, landmark_mask, region_nme
from facelift.evaluation.tables import cells, published
from facelift.evaluation.tables.entries import NORMALISERS, Entry, Protocol
from facelift.evaluation.tables.table import Measured, Row, Table
from facelift.evaluation.truth import Truth
from facelift.landmarks import SCHEMES

YAW_NAMES = ("yaw 0-30", "yaw 30-60", "yaw 60+")


def nme_table(truth: Truth, protocol: Protocol, entries: Sequence[Entry]) -> Table:
    """By yaw, both means, both ways to count faces not found, AUC and failure rate."""
    benchmark, threshold = truth.benchmark, 100 * protocol.threshold
    rows = tuple(row for entry in entries for row in _nme_rows(entry, truth, protocol))
    notes = [
        f"Error divided by: {NORMALISERS[protocol.normaliser][0]}.",
        f"Points: {counted_name(truth)} of {truth.scheme}; means over the faces found.",
        f"not found = failed: over all faces, one not found scores {100 * protocol.failure:g} %.",
        "Brackets: bootstrap 95 % interval over identities (or photos, where the set names no people).",
        *(entry.coverage for entry in entries),
    ]
    if truth.yaw is not None and np.isnan(truth.yaw).any():
        notes.append(f"{int(np.isnan(truth.yaw).sum())} faces of unknown yaw are in no bin.")
    if truth.scheme != benchmark.scheme:
        notes.append(f"The labels are {benchmark.scheme}; those of them that are {truth.scheme} are scored.")
    usual = truth.scheme == benchmark.scheme and protocol.normaliser == benchmark.normaliser
    known = published.nme_rows(benchmark.name) if usual else ()
    columns = (*YAW_NAMES, "mean of bins") if truth.yaw is not None else ()
    columns = (*columns, "all", cells.FAILED, "not found", f"AUC {threshold:g} %", f"FR {threshold:g} %")
    return Table(f"NME, % ({benchmark.name})", columns, rows + known, tuple(notes))


def region_table(truth: Truth, protocol: Protocol, entries: Sequence[Entry]) -> Table:
    """NME by region, over the points that count."""
    regions = SCHEMES[truth.scheme].regions
    rows = _rows(truth, protocol, {e.system: region_nme(e.errors, regions, truth.counted) for e in entries})
    return Table("NME by region, %", ("full", *regions), rows, (f"Points: {counted_name(truth)}.",))


def point_set_tables(truth: Truth, protocol: Protocol, entries: Sequence[Entry]) -> list[Table]:
    """NME over all labelled, visible and inner points; no table where the set has but one of the three."""
    masks = _point_sets(truth)
    if len(masks) < 2:
        return []
    errors = {e.system: {name: face_nme(e.errors, mask) for name, mask in masks.items()} for e in entries}
    return [Table("NME by set of points, %", tuple(masks), _rows(truth, protocol, errors))]


def attribute_tables(truth: Truth, protocol: Protocol, entries: Sequence[Entry]) -> list[Table]:
    """NME by the benchmark's groups: a table for each, and one for all that are "yes" or "no", as WFLW's subsets."""
    keys = [key for key in truth.benchmark.groups if key != "yaw" and key in truth.attributes]
    flags = [key for key in keys if set(truth.attributes[key].tolist()) <= {"yes", "no", ""}]
    if len(flags) < 2:
        flags = []
    return [
        *([_flag_table(truth, protocol, entries, flags)] if flags else []),
        *(_category_table(truth, protocol, entries, key) for key in keys if key not in flags),
    ]


def yaw_means(truth: Truth, entry: Entry) -> dict[str, float]:
    """NME in percent by yaw bin; {} where the set has no yaw."""
    if truth.yaw is None:
        return {}
    table = by_yaw(entry.per_face(truth), truth.yaw, edges=AFLW2000_YAW_EDGES)
    return {name: 100 * part.found for name, part in zip(YAW_NAMES, table.bins, strict=True)}


def counted_name(truth: Truth) -> str:
    """Which points `truth.counted` are."""
    return "visible" if truth.benchmark.visibility else "all labelled"


def _flag_table(truth: Truth, protocol: Protocol, entries: Sequence[Entry], flags: list[str]) -> Table:
    masks = {key: truth.attributes[key] == "yes" for key in flags}
    rows = _rows(truth, protocol, {e.system: _by_mask(e.per_face(truth), masks) for e in entries})
    return Table("NME by attribute, %", tuple(flags), rows, ("A face may have several of them.",))


def _category_table(truth: Truth, protocol: Protocol, entries: Sequence[Entry], key: str) -> Table:
    held = truth.attributes[key]
    labels = _as_text(held)
    masks = {value: labels == value for value in dict.fromkeys(_as_text(np.sort(held)).tolist()) if value}
    rows = _rows(truth, protocol, {e.system: _by_mask(e.per_face(truth), masks) for e in entries})
    return Table(f"NME by {key}, %", tuple(masks), rows)


def _by_mask(nme: np.ndarray, masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.where(mask, nme, np.nan) for name, mask in masks.items()}


def _rows(truth: Truth, protocol: Protocol, systems: dict[str, dict[str, np.ndarray]]) -> tuple[Row, ...]:
    """Of system -> column -> NME of each face, a fraction."""
    return tuple(
        row
        for system, errors in systems.items()
        for row in cells.both_ways(
            system,
            {name: 100 * values for name, values in errors.items()},
            truth.identity,
            failure=100 * protocol.failure,
        )
    )


def _nme_rows(entry: Entry, truth: Truth, protocol: Protocol) -> list[Row]:
    """The second, for a system that missed faces, holds the means in which these count."""
    nme = entry.per_face(truth)
    rows, lost = [Row(entry.system, _nme_cells(nme, truth, protocol))], np.isposinf(nme)
    if lost.any():
        failed = np.where(lost, protocol.failure, nme)
        means = {**_yaw_cells(failed, truth), "all": cells.mean(100 * failed, truth.identity)}
        rows.append(Row(f"{entry.system}, {cells.FAILED}", means))
    return rows


def _nme_cells(nme: np.ndarray, truth: Truth, protocol: Protocol) -> dict[str, Measured | float]:
    threshold = protocol.threshold
    return {
        **_yaw_cells(nme, truth),
        "all": cells.mean(100 * nme, truth.identity),
        cells.FAILED: cells.mean(100 * np.where(np.isposinf(nme), protocol.failure, nme), truth.identity),
        "not found": int(np.isposinf(nme).sum()),
        f"AUC {100 * threshold:g} %": _over_faces(nme, truth, lambda drawn: curve_score(drawn, threshold).auc),
        f"FR {100 * threshold:g} %": _over_faces(nme, truth, lambda drawn: curve_score(drawn, threshold).failure_rate),
    }


def _over_faces(nme: np.ndarray, truth: Truth, score: Callable[[np.ndarray], float]) -> Measured:
    scored = ~np.isnan(nme)
    return cells.statistic(
        lambda drawn: 100 * score(nme[drawn]), truth.identity, count=int(scored.sum()), scored=scored
    )


def _yaw_cells(nme: np.ndarray, truth: Truth) -> dict[str, Measured]:
    yaw = truth.yaw
    if yaw is None:
        return {}

    def over_bins(drawn: np.ndarray) -> float:
        return 100 * by_yaw(nme[drawn], yaw[drawn], edges=AFLW2000_YAW_EDGES).over_bins.found

    edges = zip(YAW_NAMES, AFLW2000_YAW_EDGES, AFLW2000_YAW_EDGES[1:], strict=False)
    masks = {name: (np.abs(yaw) >= low) & (np.abs(yaw) < high) for name, low, high in edges}
    found = np.isfinite(nme) & np.isfinite(yaw)
    mean_of_bins = cells.statistic(over_bins, truth.identity, count=int(found.sum()), scored=found)
    bins = {name: cells.mean(100 * errors, truth.identity) for name, errors in _by_mask(nme, masks).items()}
    return bins | {"mean of bins": mean_of_bins}


def _point_sets(truth: Truth) -> dict[str, Bool[np.ndarray, "m n"]]:
    sets = {"all labelled": np.isfinite(truth.points).all(-1)}
    if truth.benchmark.visibility:
        sets["visible"] = truth.counted
    if truth.scheme == "ibug68":
        sets["inner 51"] = truth.counted & landmark_mask("ibug68", "inner51")
    return sets


def _as_text(values: np.ndarray) -> np.ndarray:
    """(m,) str, numbers without trailing zeros; "" where a face has no value."""
    if values.dtype.kind == "U":
        return values
    return np.array(["" if np.isnan(value) else f"{value:g}" for value in values], str)
