"""What a report of a benchmark with 2D points draws: its plots, and faces with truth and prediction."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from facelift.datasets.sample import FaceSample
from facelift.drawing import draw_truth
from facelift.evaluation.metrics.calibration import LEVELS, reliability
from facelift.evaluation.metrics.nme import region_nme
from facelift.evaluation.report.figures import cumulative_curves, grouped_bars, reliability_plot
from facelift.evaluation.report.page import Picture
from facelift.evaluation.tables.entries import Entry, Protocol
from facelift.evaluation.tables.nme import yaw_means
from facelift.evaluation.tables.pose import pose_errors
from facelift.evaluation.tables.uncertainty import mahalanobis_of
from facelift.evaluation.truth import Truth
from facelift.landmarks import SCHEMES

SHOWN = 24
"""Faces of a gallery."""


def figures_of_points(truth: Truth, protocol: Protocol, entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """(caption, SVG) of the cumulative curves, the error by yaw and by region, and the reliability; of poses alone, the
    cumulative curves."""
    if not truth.has_points:
        found = {entry.system: pose_errors(truth, entry) for entry in entries}
        curves = {system: errors[~np.isnan(errors)] for system, errors in found.items() if errors is not None}
        return [
            ("Cumulative error of pose; faces not found are never reached", cumulative_curves(curves, 30, "degrees"))
        ]
    per_face = {entry.system: 100 * entry.per_face(truth) for entry in entries}
    curves = {system: errors[~np.isnan(errors)] for system, errors in per_face.items()}
    return [
        (
            "Cumulative error; faces not found are never reached",
            cumulative_curves(curves, 100 * protocol.threshold, "%"),
        ),
        *_by_yaw(truth, entries),
        ("Error by region, faces found", _by_region(truth, entries)),
        *_reliability(truth, entries),
    ]


def galleries(truth: Truth, entries: Sequence[Entry]) -> list[tuple[str, list[Picture]]]:
    """(heading, faces): the worst of every system, and the first system's from one profile to the other."""
    if not truth.has_points:
        return []
    found = []
    for entry in entries:
        nme = entry.per_face(truth)
        worst = worst_faces(nme)
        if len(worst):
            found.append((f"Worst {len(worst)} faces of {entry.system}", _pictures(truth, entry, worst, nme)))
    return found + _across_yaw(truth, entries[0])


def worst_faces(errors: Float[np.ndarray, "m"]) -> Int[np.ndarray, "k"]:
    """The `SHOWN` faces of the largest finite errors, the worst first."""
    known = np.flatnonzero(np.isfinite(errors))
    return known[np.argsort(-errors[known])][:SHOWN]


def drawn(
    face: FaceSample,
    truth: Float[np.ndarray, "n 2"],
    predicted: Float[np.ndarray, "n 2"],
    *,
    scheme: str,
    error: float,
) -> Picture:
    """A face with truth and prediction, px; black, and told so, where its picture cannot be read."""
    caption = f"{face.name}: {100 * error:.2f} %"
    try:
        image = face.image
    except (FileNotFoundError, ValueError):
        image, caption = np.zeros((1, 1, 3), np.uint8), f"{caption}, picture unreadable"
    return Picture(draw_truth(image, truth, predicted, SCHEMES[scheme]), caption)


def _by_yaw(truth: Truth, entries: Sequence[Entry]) -> list[tuple[str, str]]:
    if truth.yaw is None:
        return []
    return [("Error by yaw, faces found", _bars({entry.system: yaw_means(truth, entry) for entry in entries}))]


def _by_region(truth: Truth, entries: Sequence[Entry]) -> str:
    regions = SCHEMES[truth.scheme].regions
    return region_bars({entry.system: region_nme(entry.errors, regions, truth.counted) for entry in entries})


def region_bars(systems: Mapping[str, Mapping[str, Float[np.ndarray, "m"]]]) -> str:
    """Of system -> region -> error of each face, a fraction; the region "full" is left out."""
    return _bars(
        {
            system: {name: _percent(values) for name, values in parts.items() if name != "full"}
            for system, parts in systems.items()
        }
    )


def _bars(systems: dict[str, dict[str, float]]) -> str:
    """Of system -> group -> error in percent."""
    names = next(iter(systems.values()))
    return grouped_bars(
        {name: {system: values[name] for system, values in systems.items()} for name in names}, "NME, %"
    )


def _reliability(truth: Truth, entries: Sequence[Entry]) -> list[tuple[str, str]]:
    distances = {entry.system: mahalanobis_of(truth, entry) for entry in entries}
    observed = {
        system: reliability(values, model="laplacian").observed
        for system, values in distances.items()
        if values is not None and np.isfinite(values).any()
    }
    return [("Reliability of the uncertainty (Laplacian)", reliability_plot(LEVELS, observed))] if observed else []


def _percent(values: Float[np.ndarray, "m"]) -> float:
    finite = values[np.isfinite(values)]
    return 100 * float(finite.mean()) if len(finite) else float("nan")


def _across_yaw(truth: Truth, entry: Entry) -> list[tuple[str, list[Picture]]]:
    nme, yaw = entry.per_face(truth), truth.attributes.get("yaw")
    if yaw is None or yaw.dtype != float:
        return []
    known = np.flatnonzero(np.isfinite(nme) & np.isfinite(yaw))
    if not len(known):
        return []
    ordered = known[np.argsort(yaw[known])]
    across = ordered[np.linspace(0, len(ordered) - 1, min(SHOWN, len(ordered))).astype(int)]
    title = f"{len(across)} faces of {entry.system} from one profile to the other, evenly by rank of yaw"
    return [(title, _pictures(truth, entry, across, nme))]


def _pictures(truth: Truth, entry: Entry, chosen: Int[np.ndarray, "k"], nme: Float[np.ndarray, "m"]) -> list[Picture]:
    return [
        drawn(
            truth.faces[int(index)],
            truth.points[index],
            entry.predictions.points_2d[index],
            scheme=truth.scheme,
            error=nme[index],
        )
        for index in chosen
    ]
