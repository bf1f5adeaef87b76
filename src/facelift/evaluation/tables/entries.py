"""Systems on one benchmark: predictions brought into its order and scheme, and measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from facelift.boxes import tight_box
from facelift.evaluation.metrics.nme import face_nme, point_errors
from facelift.evaluation.metrics.normalisers import box_diagonal, box_size, inter_ocular, inter_pupil
from facelift.evaluation.predictions import FAILED, UNREADABLE, Predictions
from facelift.evaluation.truth import Truth

NORMALISERS: dict[str, tuple[str, Callable[[Truth], np.ndarray]]] = {
    "box": ("sqrt(w h) of the labelled points' box", lambda truth: box_size(tight_box(truth.points))),
    "face_box": ("sqrt(w h) of the face box that the set gives", lambda truth: box_size(truth.box)),
    "diagonal": ("diagonal of the labelled points' box", lambda truth: box_diagonal(tight_box(truth.points))),
    "inter_ocular": ("outer eye corners", lambda truth: inter_ocular(truth.points, truth.scheme)),
    "inter_pupil": ("pupils", lambda truth: inter_pupil(truth.points, truth.scheme)),
}
"""What divides an error: its description, and its length in px for each face."""


@dataclass(frozen=True)
class Protocol:
    """The choices that a table states."""

    normaliser: str
    """A name of `NORMALISERS`; "none" for labels without points."""
    threshold: float
    """Of AUC and failure rate, a fraction."""
    failure: float = 1.0
    """Error of a face not found where it counts, a fraction."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One system on one benchmark: its predictions in the truth's scheme and order, and their errors."""

    system: str
    predictions: Predictions
    absent: int
    """Faces that the file does not name at all; they count as not found."""
    errors: Float[np.ndarray, "m n"]
    """Of `point_errors`, by the protocol's normaliser; n is 0 for labels without points."""

    def per_face(self, truth: Truth) -> Float[np.ndarray, "m"]:
        """NME of each face over the points that count; infinite in faces not found."""
        return face_nme(self.errors, truth.counted)

    @property
    def rotation(self) -> Float[np.ndarray, "m 3 3"] | None:
        """NaN in faces not found; None for a system that says none."""
        given = self.predictions.rotation
        return None if given is None else np.where(self.predictions.found[:, None, None], given, np.nan)

    @property
    def coverage(self) -> str:
        """The sentence of a table's notes on faces not found."""
        return coverage(self.system, self.predictions, self.absent)


def build_entry(system: str, predictions: Predictions, truth: Truth, protocol: Protocol) -> Entry:
    """Orders, converts and measures predictions.

    Raises ValueError for a file without a face of the benchmark, a scheme that does not determine the labels', a
    covariance that is none, and where labels hold nothing but poses for a file without rotations.
    """
    placed, absent = place(system, predictions, truth.name.tolist(), truth.benchmark.name)
    if not truth.has_points:
        if placed.rotation is None:
            raise ValueError(f"{system}: expected rotations, for {truth.benchmark.name} has no points, found none")
        return Entry(system, placed, absent, np.zeros((len(truth), 0)))
    placed = (placed.as_marked() if truth.benchmark.marked else placed).to(truth.scheme)
    _check_covariances(system, placed)
    points = np.where(placed.found[:, None, None], placed.points_2d, np.nan)
    errors = point_errors(points, truth.points, scale_px(truth, protocol))
    return Entry(system, placed, absent, errors)


def scale_px(truth: Truth, protocol: Protocol) -> Float[np.ndarray, "m"]:
    """What divides the errors of each face. Raises ValueError that names a face without, as one of a flat box."""
    measure = NORMALISERS[protocol.normaliser][1]
    try:
        return measure(truth)
    except ValueError:
        for index, name in enumerate(truth.name):
            try:
                measure(truth.face(index))
            except ValueError as error:
                raise ValueError(f"{truth.benchmark.name}, {name}: {error}") from None
        raise


def place(system: str, predictions: Predictions, names: Sequence[str], benchmark: str) -> tuple[Predictions, int]:
    """The predictions of these faces in this order, and how many of them the file does not name.

    Raises ValueError for a file without any.
    """
    placed, there = predictions.of(names)
    if not there.any():
        raise ValueError(
            f"{system}: expected faces of {benchmark} such as {str(names[0])!r}, "
            f"found {len(predictions)} others such as {str(next(iter(predictions.name), ''))!r}"
        )
    return placed, int((~there).sum())


def coverage(system: str, placed: Predictions, absent: int) -> str:
    """The sentence of a table's notes on faces not found."""
    missing = f", {absent} of them absent from its file" if absent else ""
    reasons = {UNREADABLE: "with a picture that could not be read", FAILED: "on which the system failed with an error"}
    counts = {reason: placed.about.get(key, "0") for key, reason in reasons.items()}
    lost = "".join(f", {count} {reason}" for reason, count in counts.items() if count != "0")
    return f"{system}: {len(placed)} faces, {int((~placed.found).sum())} not found{missing}{lost}."


def finite(arrays: Float[np.ndarray, "m a c"]) -> Bool[np.ndarray, "m"]:
    """Faces whose array holds nothing but numbers."""
    return np.isfinite(arrays).all((1, 2))


def _check_covariances(system: str, predictions: Predictions) -> None:
    if predictions.covariance is None:
        return
    (a, b), (c, d) = np.moveaxis(predictions.covariance, (-2, -1), (0, 1))
    broken = predictions.found & ~((a > 0) & (a * d - b * c > 0)).all(1)
    if broken.any():
        name = str(predictions.name[np.flatnonzero(broken)[0]])
        raise ValueError(
            f"{system}: expected positive definite covariances, found others in {broken.sum()} faces such as {name!r}"
        )
