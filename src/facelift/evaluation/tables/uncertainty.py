"""Tables of what a system says about itself: uncertainty of points, and their visibility."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from facelift.datasets.sample import VISIBLE
from facelift.evaluation.metrics.calibration import (
    LEVELS,
    Model,
    coverage_radius,
    mahalanobis,
    mahalanobis_quantiles,
    negative_log_likelihood,
    probability_within,
)
from facelift.evaluation.metrics.visibility import average_precision, precision_recall, roc_auc
from facelift.evaluation.tables import cells
from facelift.evaluation.tables.entries import Entry
from facelift.evaluation.tables.nme import counted_name
from facelift.evaluation.tables.table import Measured, Row, Table
from facelift.evaluation.truth import Truth

MODELS: tuple[Model, ...] = ("laplacian", "gaussian")
QUANTILES = np.array([0.5, 0.75, 0.9, 0.95])
_QUANTILE_NAMES = tuple(f"{100 * level:g} %" for level in QUANTILES)
VISIBILITY_SCORES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "precision": lambda probability, visible, times: precision_recall(probability, visible, threshold=0.5, times=times)[
        0
    ],
    "recall": lambda probability, visible, times: precision_recall(probability, visible, threshold=0.5, times=times)[1],
    "AP": lambda probability, visible, times: average_precision(probability, visible, times=times),
    "AUC": lambda probability, visible, times: roc_auc(probability, visible, times=times),
}
"""Of the predicted probabilities of being visible, the labels, and how often each counts; as fractions."""


def uncertainty_table(truth: Truth, entries: Sequence[Entry]) -> Table:
    """Whether predicted covariances are true."""
    rows = [
        row
        for entry in entries
        if (distances := mahalanobis_of(truth, entry)) is not None
        for model in MODELS
        for row in _calibration_rows(truth, entry, distances, model)
    ]
    notes = (
        f"Points: {counted_name(truth)}, of found faces. laplacian: the density that the networks are trained with.",
        f"{cells.FAILED}: the points of faces not found lie in no ellipse.",
        "calibration error: mean of |observed - expected| over the levels 5, 10, ..., 95 %, in points of percent.",
    )
    columns = ("inside 50 %", "inside 90 %", "calibration error", "NLL, nats a point")
    return Table("Uncertainty", columns, tuple(rows), notes)


def quantile_table(truth: Truth, entries: Sequence[Entry]) -> Table:
    """Quantiles of squared Mahalanobis distances, to be held against those that the notes expect."""
    rows = [
        Row(entry.system, _quantile_cells(truth, distances))
        for entry in entries
        if (distances := mahalanobis_of(truth, entry)) is not None
    ]
    expected = {model: coverage_radius(QUANTILES, model=model) ** 2 for model in MODELS}
    notes = (
        f"Points: {counted_name(truth)}, of found faces. Above the expected: the covariances are too small.",
        f"Expected of a Gaussian (chi-square with 2 degrees of freedom): {_listed(expected['gaussian'])}.",
        f"Expected of the networks' Laplacian: {_listed(expected['laplacian'])}.",
    )
    return Table("Squared Mahalanobis distance, quantiles", _QUANTILE_NAMES, tuple(rows), notes)


def visibility_table(truth: Truth, entries: Sequence[Entry]) -> Table:
    """Visible against hidden landmarks."""
    rows = [
        row
        for entry in entries
        if entry.predictions.visibility is not None
        for row in _visibility_rows(truth, entry, entry.predictions.visibility)
    ]
    notes = (
        "Visible is the positive class; called visible at a probability of 0.5 or more; found faces.",
        f"{cells.FAILED}: the points of faces not found have probability 0.",
    )
    return Table("Visibility, %", tuple(VISIBILITY_SCORES), tuple(rows), notes)


def mahalanobis_of(truth: Truth, entry: Entry) -> Float[np.ndarray, "m n"] | None:
    """Distance of every point that counts from its label, in the predicted covariance; None without one."""
    covariance = entry.predictions.covariance
    if covariance is None:
        return None
    covariance = np.where(entry.predictions.found[:, None, None, None], covariance, np.nan)
    return mahalanobis(_residual(truth, entry, truth.counted), covariance)


def _quantile_cells(truth: Truth, distances: np.ndarray) -> dict[str, Measured]:
    def of(level: float) -> Measured:
        return cells.statistic(
            lambda drawn: float(
                mahalanobis_quantiles(distances[drawn], model="gaussian", levels=np.array([level])).observed[0]
            ),
            truth.identity,
            count=int(np.isfinite(distances).sum()),
            scored=np.isfinite(distances).any(1),
        )

    return {name: of(level) for name, level in zip(_QUANTILE_NAMES, QUANTILES, strict=True)}


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _residual(truth: Truth, entry: Entry, counted: np.ndarray) -> Float[np.ndarray, "m n 2"]:
    return np.where(counted[..., None], entry.predictions.points_2d - truth.points, np.nan)


def _calibration_rows(truth: Truth, entry: Entry, distances: np.ndarray, model: Model) -> list[Row]:
    known, lost = np.isfinite(distances), ~entry.predictions.found
    assert entry.predictions.covariance is not None
    nll = negative_log_likelihood(_residual(truth, entry, known), entry.predictions.covariance, model=model)
    count = known.sum(1)
    likelihood = cells.statistic(
        lambda drawn: float(np.nansum(nll[drawn]) / (count[drawn].sum() or np.nan)),
        truth.identity,
        count=int(count.sum()),
        scored=count > 0,
    )
    system = f"{entry.system}, {model}"
    rows = [Row(system, {**_coverage_cells(truth, distances, known, model), "NLL, nats a point": likelihood})]
    if lost.any():
        every = known | (truth.counted & lost[:, None])
        rows.append(Row(f"{system}, {cells.FAILED}", _coverage_cells(truth, distances, every, model)))
    return rows


def _coverage_cells(truth: Truth, distances: np.ndarray, scored: np.ndarray, model: Model) -> dict[str, Measured]:
    """Over the `scored` points; those without a distance are in no ellipse."""
    known = np.isfinite(distances)
    share = np.where(known, probability_within(np.where(known, distances, 0), model=model), np.inf)
    inside = (share[..., None] <= np.append(LEVELS, [0.5, 0.9])).sum(1)
    count = scored.sum(1)

    def observed(drawn: np.ndarray) -> np.ndarray:
        return inside[drawn].sum(0) / (count[drawn].sum() or np.nan)

    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "inside 50 %": lambda drawn: 100 * float(observed(drawn)[-2]),
        "inside 90 %": lambda drawn: 100 * float(observed(drawn)[-1]),
        "calibration error": lambda drawn: 100 * float(np.abs(observed(drawn)[:-2] - LEVELS).mean()),
    }
    return {
        name: cells.statistic(of, truth.identity, count=int(count.sum()), scored=count > 0)
        for name, of in statistics.items()
    }


def _visibility_rows(truth: Truth, entry: Entry, probability: np.ndarray) -> list[Row]:
    lost = ~entry.predictions.found[:, None] & truth.state_known
    scored = ~lost & truth.state_known & np.isfinite(probability)
    rows = [Row(entry.system, _visibility_cells(truth, probability, scored))]
    if lost.any():
        failed = _visibility_cells(truth, np.where(lost, 0.0, probability), scored | lost)
        rows.append(Row(f"{entry.system}, {cells.FAILED}", failed))
    return rows


def _visibility_cells(truth: Truth, probability: np.ndarray, scored: np.ndarray) -> dict[str, Measured]:
    """Of all points in falling order of probability, each as often as a draw holds its face: sorted but once."""
    order = np.argsort(-probability[scored], kind="stable")
    ranked, visible = probability[scored][order], (truth.state == VISIBLE)[scored][order]
    face = np.nonzero(scored)[0][order]

    def of(score: Callable[[np.ndarray, np.ndarray, np.ndarray], float]) -> Measured:
        def statistic(drawn: np.ndarray) -> float:
            return 100 * score(ranked, visible, np.bincount(drawn, minlength=len(truth))[face])

        faces = np.asarray(scored.any(1))
        return cells.statistic(statistic, truth.identity, count=int(faces.sum()), scored=faces)

    return {name: of(score) for name, score in VISIBILITY_SCORES.items()}
