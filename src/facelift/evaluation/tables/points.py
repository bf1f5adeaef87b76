"""Tables of a benchmark with 2D points or poses: NME, pose, uncertainty, visibility, 3D. One function a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from facelift.datasets.sample import VISIBLE
from facelift.evaluation.metrics.bootstrap import bootstrap_difference, bootstrap_mean, bootstrap_statistic
from facelift.evaluation.metrics.calibration import (
    LEVELS,
    Model,
    mahalanobis,
    negative_log_likelihood,
    probability_within,
)
from facelift.evaluation.metrics.definition_offset import dc_nme, identity_halves
from facelift.evaluation.metrics.landmarks_3d import nme_3d
from facelift.evaluation.metrics.nme import (
    AFLW2000_YAW_EDGES,
    by_yaw,
    curve_score,
    face_nme,
    landmark_mask,
    point_errors,
    region_nme,
)
from facelift.evaluation.metrics.normalisers import box_diagonal, box_size, inter_ocular, inter_pupil, points_box
from facelift.evaluation.metrics.pose import (
    euler_errors,
    euler_near,
    frobenius,
    geodesic_deg,
    within_99,
    without_frame_turn,
)
from facelift.evaluation.metrics.visibility import average_precision, precision_recall, roc_auc
from facelift.evaluation.predictions import Predictions
from facelift.evaluation.tables import published
from facelift.evaluation.tables.table import Measured, Row, Table, measured
from facelift.evaluation.truth import Truth
from facelift.geometry import AFLW2000, BIWI, euler_deg
from facelift.landmarks import SCHEMES

NORMALISERS: dict[str, tuple[str, Callable[[Truth], np.ndarray]]] = {
    "box": ("sqrt(w h) of the labelled points' box", lambda truth: box_size(points_box(truth.points))),
    "face_box": ("sqrt(w h) of the face box that the set gives", lambda truth: box_size(truth.box)),
    "diagonal": ("diagonal of the labelled points' box", lambda truth: box_diagonal(points_box(truth.points))),
    "inter_ocular": ("outer eye corners", lambda truth: inter_ocular(truth.points, truth.scheme)),
    "inter_pupil": ("pupils", lambda truth: inter_pupil(truth.points, truth.scheme)),
}
"""What divides an error: its description, and its length in px for each face."""
ANGLES = ("pitch", "yaw", "roll")
"""Attributes of the samples of sets that write angles."""
VISIBILITY_SCORES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "precision": lambda probability, visible: precision_recall(probability, visible, threshold=0.5)[0],
    "recall": lambda probability, visible: precision_recall(probability, visible, threshold=0.5)[1],
    "AP": average_precision,
    "AUC": roc_auc,
}
"""Of the predicted probabilities of being visible and the labels, as fractions."""
YAW_NAMES = ("yaw 0-30", "yaw 30-60", "yaw 60+")


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

    @property
    def turned(self) -> Bool[np.ndarray, "m"]:
        """Faces found with a rotation."""
        rotation = self.predictions.rotation
        return np.zeros_like(self.predictions.found) if rotation is None else self.predictions.found & _finite(rotation)


def build_entry(system: str, predictions: Predictions, truth: Truth, protocol: Protocol) -> Entry:
    """Orders, converts and measures predictions.

    Raises ValueError for a file without a face of the benchmark, a scheme that does not determine the labels', a
    covariance that is none, and where labels hold nothing but poses for a file without rotations.
    """
    placed, there = predictions.of(truth.name.tolist())
    if not there.any():
        raise ValueError(
            f"{system}: expected faces of {truth.benchmark.name} such as {str(truth.name[0])!r}, "
            f"found {len(predictions)} others such as {str(next(iter(predictions.name), ''))!r}"
        )
    absent = int((~there).sum())
    if not truth.points.shape[1]:
        if placed.rotation is None:
            raise ValueError(f"{system}: expected rotations, for {truth.benchmark.name} has no points, found none")
        return Entry(system, placed, absent, np.zeros((len(truth), 0)))
    placed = placed.to(truth.scheme)
    _check_covariances(system, placed)
    points = np.where(placed.found[:, None, None], placed.points_2d, np.nan)
    errors = point_errors(points, truth.points, NORMALISERS[protocol.normaliser][1](truth))
    return Entry(system, placed, absent, errors)


@dataclass(frozen=True, eq=False)
class PointTables:
    """All tables of some systems on one benchmark."""

    truth: Truth
    protocol: Protocol
    entries: Sequence[Entry]

    def tables(self) -> list[Table]:
        """Those that labels and predictions have the data for."""
        points = self.has_points
        flags = self._flags if len(self._flags) > 1 else []
        return [
            *self._if(points, lambda: self.nme),
            *self._if(points, lambda: self.regions),
            *self._if(points and len(self._point_sets) > 1, lambda: self.point_sets),
            *self._if(points and bool(flags), lambda: self.attributes),
            *(self.categories(key) for key in self._category_keys if points and key not in flags),
            *self._if(points and self._yaw is not None, lambda: self.offset_corrected),
            *self._if(self._has_pose, lambda: self.pose),
            *self._if(points and self.truth.benchmark.visibility, lambda: self.visibility),
            *self._if(points, lambda: self.uncertainty),
            *self._if(points and self.truth.points_3d is not None, lambda: self.shape_3d),
        ]

    @property
    def has_points(self) -> bool:
        """Whether the benchmark labels points, and not poses alone."""
        return self.truth.points.shape[1] > 0

    @staticmethod
    def _if(wanted: bool, make: Callable[[], Table]) -> list[Table]:
        if not wanted:
            return []
        table = make()
        return [table] if any(row.source == "measured" for row in table.rows) else []

    def per_face(self, entry: Entry) -> Float[np.ndarray, "m"]:
        """NME of each face over the points that count; infinite in faces not found."""
        return face_nme(entry.errors, self.truth.counted)

    @cached_property
    def nme(self) -> Table:
        """By yaw, both means, both ways to count faces not found, AUC and failure rate."""
        threshold = 100 * self.protocol.threshold
        columns = (*YAW_NAMES, "mean of bins") if self._yaw is not None else ()
        columns = (*columns, "all", "not found = failed", "not found", f"AUC {threshold:g} %", f"FR {threshold:g} %")
        rows = [Row(entry.system, self._nme_cells(entry, columns)) for entry in self.entries]
        notes = [
            f"Error divided by: {NORMALISERS[self.protocol.normaliser][0]}.",
            f"Points: {self._counted_name} of {self.truth.scheme}; means over the faces found.",
            f"not found = failed: over all faces, one not found scores {100 * self.protocol.failure:g} %.",
            "Brackets: bootstrap 95 % interval over identities (or photos, where the set names no people).",
            *(self._coverage(entry) for entry in self.entries),
        ]
        if self._outside:
            notes.append(f"{self._outside} faces of unknown yaw are in no bin.")
        benchmark = self.truth.benchmark
        if self.truth.scheme != benchmark.scheme:
            notes.append(f"The labels are {benchmark.scheme}; those of them that are {self.truth.scheme} are scored.")
        usual = self.truth.scheme == benchmark.scheme and self.protocol.normaliser == benchmark.normalizer
        known = published.nme_rows(benchmark.name) if usual else ()
        return Table(f"NME, % ({benchmark.name})", columns, (*rows, *known), tuple(notes))

    @cached_property
    def regions(self) -> Table:
        """NME by region, over the points that count."""
        regions = SCHEMES[self.truth.scheme].regions
        rows = []
        for entry in self.entries:
            parts = region_nme(entry.errors, regions, self.truth.counted)
            rows.append(Row(entry.system, {name: self._mean(values) for name, values in parts.items()}))
        return Table("NME by region, %", ("full", *regions), tuple(rows), (f"Points: {self._counted_name}.",))

    @cached_property
    def point_sets(self) -> Table:
        """NME over all labelled, visible and inner points."""
        rows = []
        for entry in self.entries:
            cells = {name: self._mean(face_nme(entry.errors, mask)) for name, mask in self._point_sets.items()}
            rows.append(Row(entry.system, cells))
        return Table("NME by set of points, %", tuple(self._point_sets), tuple(rows))

    @cached_property
    def attributes(self) -> Table:
        """NME of the faces that have each of the attributes that are "yes" or "no", as WFLW's subsets."""
        rows = []
        for entry in self.entries:
            nme = self.per_face(entry)
            masks = {key: self.truth.attributes[key] == "yes" for key in self._flags}
            rows.append(Row(entry.system, {key: self._mean(np.where(has, nme, np.nan)) for key, has in masks.items()}))
        return Table("NME by attribute, %", tuple(self._flags), tuple(rows), ("A face may have several of them.",))

    def categories(self, key: str) -> Table:
        """NME by the values of an attribute."""
        held = self.truth.attributes[key]
        labels = _as_text(held)
        values = [value for value in dict.fromkeys(_as_text(np.sort(held)).tolist()) if value]
        rows = []
        for entry in self.entries:
            nme = self.per_face(entry)
            cells = {value: self._mean(np.where(labels == value, nme, np.nan)) for value in values}
            rows.append(Row(entry.system, cells))
        return Table(f"NME by {key}, %", tuple(values), tuple(rows))

    @cached_property
    def offset_corrected(self) -> Table:
        """DC-NME: what is left when constant differences of definition are taken off. Needs pose and 3D points."""
        rows = []
        for entry in self.entries:
            predictions = entry.predictions
            if predictions.rotation is None or predictions.points_3d is None:
                continue
            size = px_per_unit(predictions.points_2d, predictions.points_3d, predictions.rotation)
            with_all = entry.turned & _finite(predictions.points_3d) & (size > 0)
            if not self._in_both_halves(with_all):
                continue
            size = np.where(with_all, size, 1.0)
            rotation = np.where(with_all[:, None, None], predictions.rotation, np.eye(3))
            corrected = dc_nme(
                np.where(with_all[:, None, None], predictions.points_2d, np.nan),
                self.truth.points,
                rotation=rotation,
                size=size,
                scale=NORMALISERS[self.protocol.normaliser][1](self.truth),
                half=self._half,
                counted=self.truth.counted,
            )
            parts = region_nme(corrected.errors, SCHEMES[self.truth.scheme].regions, self.truth.counted)
            cells = {name: self._mean(values) for name, values in parts.items()}
            rows.append(Row(entry.system, cells))
        notes = (
            "One constant offset a landmark, head frame, fitted on the other half of the identities; not an NMLC.",
        )
        regions = SCHEMES[self.truth.scheme].regions
        return Table("DC-NME by region, %", ("full", *regions), tuple(rows), notes)

    @cached_property
    def pose(self) -> Table:
        """Errors of head pose in the set's convention, over the papers' subset and all faces."""
        truth = self._true_angles
        kept = within_99(truth)
        rows = []
        for entry in self.entries:
            rotation = entry.predictions.rotation
            if rotation is None:
                continue
            rotation = np.where(entry.turned[:, None, None], rotation, np.nan)
            rows.append(Row(entry.system, self._pose_cells(rotation, kept)))
            rows.append(Row(f"{entry.system}, all {len(truth)} faces", self._pose_cells(rotation, kept | True)))
            if self.truth.rotation is not None and self._in_both_halves(entry.turned & _finite(self.truth.rotation)):
                turned = without_frame_turn(rotation, self.truth.rotation, self._half)
                rows.append(Row(f"{entry.system}, head axes aligned", self._pose_cells(turned, kept)))
        convention = "BIWI as Hopenet reads it" if self.truth.benchmark.name == "biwi" else "AFLW2000-3D"
        notes = (
            f"Angles in the convention of {convention}; faces not found are in no mean.",
            f"{int((~kept).sum())} of {len(kept)} faces with an angle beyond 99 degrees are left out, as usual.",
            "head axes aligned: a constant turn between both frames, fitted on the other half of people, is off.",
            *(self._coverage(entry) for entry in self.entries if not self.has_points),
        )
        columns = ("yaw", "pitch", "roll", "mean", "geodesic", "||I - R R^T||")
        known = published.pose_rows(self.truth.benchmark.name)
        return Table("Pose, mean absolute error in degrees", columns, (*rows, *known), notes)

    @cached_property
    def visibility(self) -> Table:
        """Visible against hidden landmarks."""
        known = self.truth.state_known
        rows = []
        for entry in self.entries:
            probability = entry.predictions.visibility
            if probability is None:
                continue
            seen = entry.predictions.found[:, None] & known & np.isfinite(probability)
            cells = {}
            for name, score in VISIBILITY_SCORES.items():

                def statistic(chosen: np.ndarray, probability=probability, seen=seen, score=score) -> float:
                    mask = seen[chosen]
                    return 100 * score(probability[chosen][mask], (self.truth.state[chosen] == VISIBLE)[mask])

                cells[name] = self._statistic(statistic, int(seen.any(1).sum()), draws=100)
            rows.append(Row(entry.system, cells))
        notes = ("Visible is the positive class; called visible at a probability of 0.5 or more; found faces.",)
        return Table("Visibility, %", tuple(VISIBILITY_SCORES), tuple(rows), notes)

    @cached_property
    def uncertainty(self) -> Table:
        """Whether predicted covariances are true."""
        columns = ("inside 50 %", "inside 90 %", "calibration error", "NLL, nats a point")
        rows = []
        for entry in self.entries:
            distances = self.mahalanobis_of(entry)
            if distances is None:
                continue
            for model in ("laplacian", "gaussian"):
                rows.append(Row(f"{entry.system}, {model}", self._calibration_cells(entry, distances, model)))
        notes = (
            f"Points: {self._counted_name}, of found faces. laplacian: the density that the networks are trained with.",
            "calibration error: mean of |observed - expected| over the levels 5, 10, ..., 95 %, in points of percent.",
        )
        return Table("Uncertainty", columns, tuple(rows), notes)

    @cached_property
    def shape_3d(self) -> Table:
        """3D points against the set's, aligned by a similarity."""
        assert self.truth.points_3d is not None
        rows = []
        scale = box_size(points_box(self.truth.points_3d[..., :2]))
        for entry in self.entries:
            points = entry.predictions.points_3d
            if points is None or points.shape != self.truth.points_3d.shape:
                continue
            points = np.where(entry.predictions.found[:, None, None], points, np.nan)
            error = nme_3d(points, self.truth.points_3d, scale=scale, alignment="similarity")
            rows.append(Row(entry.system, {"3D NME": self._mean(error)}))
        notes = (
            "Each prediction aligned to the set's 3D points by least squares, never mirrored.",
            "Divided by sqrt(w h) of the labels' box. Faces not found are in no mean.",
        )
        return Table("3D NME after Procrustes, %", ("3D NME",), tuple(rows), notes)

    def comparison(self, first: str, second: str) -> Table:
        """Paired differences first - second, over the faces that both found."""
        a, b = (self._entry(name) for name in (first, second))
        cells = {}
        if self.has_points:
            cells["NME, %"] = _difference(100 * self.per_face(a), 100 * self.per_face(b), self.truth.identity)
        if self._has_pose:
            first_error, second_error = self._pose_errors(a), self._pose_errors(b)
            if first_error is not None and second_error is not None:
                cells["pose MAE, degrees"] = _difference(first_error, second_error, self.truth.identity)
        notes = (
            "Below 0: the first is better. Over the faces that both found; an interval without 0 is a difference.",
        )
        return Table(f"{first} - {second}, paired", tuple(cells), (Row(f"{first} - {second}", cells),), notes)

    def mahalanobis_of(self, entry: Entry) -> Float[np.ndarray, "m n"] | None:
        """Distance of every point that counts from its label, in the predicted covariance; None without one."""
        covariance = entry.predictions.covariance
        if covariance is None:
            return None
        residual = np.where(self.truth.counted[..., None], entry.predictions.points_2d - self.truth.points, np.nan)
        covariance = np.where(entry.predictions.found[:, None, None, None], covariance, np.nan)
        return mahalanobis(residual, covariance)

    def yaw_means(self, entry: Entry) -> dict[str, float]:
        """NME in percent by yaw bin; {} where the set has no yaw."""
        if self._yaw is None:
            return {}
        table = by_yaw(self.per_face(entry), self._yaw, edges=AFLW2000_YAW_EDGES)
        return {name: 100 * part.found for name, part in zip(YAW_NAMES, table.bins, strict=True)}

    def _entry(self, name: str) -> Entry:
        for entry in self.entries:
            if entry.system == name:
                return entry
        raise ValueError(f"compare: expected one of {', '.join(e.system for e in self.entries)}, found {name!r}")

    @cached_property
    def _yaw(self) -> np.ndarray | None:
        yaw = self.truth.attributes.get("yaw")
        return yaw if "yaw" in self.truth.benchmark.groups and yaw is not None and yaw.dtype == float else None

    @property
    def _has_pose(self) -> bool:
        written = set(ANGLES) <= set(self.truth.attributes)
        return self.truth.benchmark.pose and (written or self.truth.rotation is not None)

    @cached_property
    def _half(self) -> Bool[np.ndarray, "m"]:
        return identity_halves(self.truth.identity.tolist())

    def _in_both_halves(self, usable: Bool[np.ndarray, "m"]) -> bool:
        """Whether something can be fitted on either half and applied to the other."""
        return bool(usable[self._half].any() and usable[~self._half].any())

    @cached_property
    def _outside(self) -> int:
        return 0 if self._yaw is None else int(np.isnan(self._yaw).sum())

    @cached_property
    def _category_keys(self) -> list[str]:
        return [key for key in self.truth.benchmark.groups if key != "yaw" and key in self.truth.attributes]

    @cached_property
    def _flags(self) -> list[str]:
        return [key for key in self._category_keys if set(self.truth.attributes[key].tolist()) <= {"yes", "no", ""}]

    @property
    def _counted_name(self) -> str:
        return "visible" if self.truth.benchmark.visibility else "all labelled"

    @cached_property
    def _point_sets(self) -> dict[str, Bool[np.ndarray, "m n"]]:
        labelled = np.isfinite(self.truth.points).all(-1)
        sets = {"all labelled": labelled}
        if self.truth.benchmark.visibility:
            sets["visible"] = self.truth.counted
        if self.truth.scheme == "ibug68":
            sets["inner 51"] = self.truth.counted & landmark_mask("ibug68", "inner51")
        return sets

    def _coverage(self, entry: Entry) -> str:
        missing = f", {entry.absent} of them absent from its file" if entry.absent else ""
        lost = len(self.truth) - int(entry.predictions.found.sum())
        return f"{entry.system}: {len(self.truth)} faces, {lost} not found{missing}."

    def _nme_cells(self, entry: Entry, columns: tuple[str, ...]) -> dict[str, Measured | float]:
        nme = self.per_face(entry)
        cells: dict[str, Measured | float] = {}
        if self._yaw is not None:
            for name, low, high in zip(YAW_NAMES, AFLW2000_YAW_EDGES, AFLW2000_YAW_EDGES[1:], strict=False):
                inside = (np.abs(self._yaw) >= low) & (np.abs(self._yaw) < high)
                cells[name] = self._mean(np.where(inside, nme, np.nan))
            yaw = self._yaw

            def over_bins(chosen: np.ndarray) -> float:
                return 100 * by_yaw(nme[chosen], yaw[chosen], edges=AFLW2000_YAW_EDGES).over_bins.found

            found = int((np.isfinite(nme) & np.isfinite(yaw)).sum())
            cells["mean of bins"] = self._statistic(over_bins, found)
        cells["all"] = self._mean(nme)
        cells["not found = failed"] = self._mean(np.where(np.isposinf(nme), self.protocol.failure, nme))
        cells["not found"] = int(np.isposinf(nme).sum())
        threshold, scored = self.protocol.threshold, int((~np.isnan(nme)).sum())
        for column, field in zip(columns[-2:], ("auc", "failure_rate"), strict=True):

            def curve(chosen: np.ndarray, field=field) -> float:
                return 100 * float(getattr(curve_score(nme[chosen], threshold), field))

            cells[column] = self._statistic(curve, scored)
        return cells

    def _mean(self, values: np.ndarray) -> Measured:
        """Mean over finite values in percent, with its interval."""
        finite = np.where(np.isfinite(values), values, np.nan)
        return measured(bootstrap_mean(100 * finite, groups=self.truth.identity))

    def _statistic(self, statistic: Callable[[np.ndarray], float], count: int, draws: int = 400) -> Measured:
        found = bootstrap_statistic(statistic, len(self.truth), groups=self.truth.identity, draws=draws)
        return Measured(found.value, count, found.low, found.high)

    @cached_property
    def _convention(self):
        return BIWI if self.truth.benchmark.name == "biwi" else AFLW2000

    @cached_property
    def _true_angles(self) -> Float[np.ndarray, "m 3"]:
        """(pitch, yaw, roll) as the set writes them, else read from its rotations."""
        if set(ANGLES) <= set(self.truth.attributes):
            return np.stack([self.truth.attributes[key] for key in ANGLES], axis=-1).astype(float)
        return euler_deg(self.truth.rotation, self._convention)

    def _pose_errors(self, entry: Entry) -> Float[np.ndarray, "m"] | None:
        rotation = entry.predictions.rotation
        if rotation is None:
            return None
        rotation = np.where(entry.turned[:, None, None], rotation, np.nan)
        errors = euler_errors(euler_near(rotation, self._true_angles, self._convention), self._true_angles)
        return np.where(within_99(self._true_angles), errors.mean(-1), np.nan)

    def _pose_cells(self, rotation: np.ndarray, kept: np.ndarray) -> dict[str, Measured | float]:
        truth = self._true_angles
        errors = euler_errors(euler_near(rotation, truth, self._convention), truth)
        columns = {"yaw": errors[:, 1], "pitch": errors[:, 0], "roll": errors[:, 2], "mean": errors.mean(-1)}
        if self.truth.rotation is not None:
            columns["geodesic"] = geodesic_deg(rotation, self.truth.rotation)
            columns["||I - R R^T||"] = frobenius(rotation, self.truth.rotation)
        return {
            name: measured(bootstrap_mean(np.where(kept, values, np.nan), groups=self.truth.identity))
            for name, values in columns.items()
        }

    def _calibration_cells(self, entry: Entry, distances: np.ndarray, model: Model) -> dict[str, Measured | float]:
        known = np.isfinite(distances)
        share = np.where(known, probability_within(np.where(known, distances, 0), model=model), np.inf)
        inside = (share[..., None] <= np.append(LEVELS, [0.5, 0.9])).sum(1)
        count = known.sum(1)

        def observed(chosen: np.ndarray) -> np.ndarray:
            return inside[chosen].sum(0) / (count[chosen].sum() or np.nan)

        statistics: dict[str, Callable[[np.ndarray], float]] = {
            "inside 50 %": lambda chosen: 100 * float(observed(chosen)[-2]),
            "inside 90 %": lambda chosen: 100 * float(observed(chosen)[-1]),
            "calibration error": lambda chosen: 100 * float(np.abs(observed(chosen)[:-2] - LEVELS).mean()),
        }
        points = int(count.sum())
        cells: dict[str, Measured | float] = {
            name: self._statistic(statistic, points) for name, statistic in statistics.items()
        }
        covariance = entry.predictions.covariance
        assert covariance is not None
        residual = np.where(known[..., None], entry.predictions.points_2d - self.truth.points, np.nan)
        nll = negative_log_likelihood(residual, covariance, model=model)
        cells["NLL, nats a point"] = self._statistic(
            lambda chosen: float(np.nansum(nll[chosen]) / (count[chosen].sum() or np.nan)), points
        )
        return cells


def _finite(arrays: Float[np.ndarray, "m a c"]) -> Bool[np.ndarray, "m"]:
    return np.isfinite(arrays).all((1, 2))


def _as_text(values: np.ndarray) -> np.ndarray:
    """(m,) str, numbers without trailing zeros; "" where a face has no value."""
    if values.dtype.kind == "U":
        return values
    return np.array(["" if np.isnan(value) else f"{value:g}" for value in values], str)


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


def _difference(a: np.ndarray, b: np.ndarray, identity: np.ndarray) -> Measured:
    both = np.isfinite(a) & np.isfinite(b)
    nan = np.full(len(a), np.nan)
    return measured(bootstrap_difference(np.where(both, a, nan), np.where(both, b, nan), groups=identity))


def px_per_unit(
    points_2d: Float[np.ndarray, "m n 2"], points_3d: Float[np.ndarray, "m n 3"], rotation: Float[np.ndarray, "m 3 3"]
) -> Float[np.ndarray, "m"]:
    """Scale of the weak perspective from each face's 3D points, turned by its rotation, to its 2D points."""
    turned = (points_3d @ np.swapaxes(rotation, -1, -2))[..., :2]
    turned = turned - turned.mean(1, keepdims=True)
    points = points_2d - points_2d.mean(1, keepdims=True)
    return (points * turned).sum((1, 2)) / (turned**2).sum((1, 2))
