"""Normalised mean error (NME) of landmarks, its tables by region and yaw, and its cumulative curve. Fractions.

Throughout: an error is NaN where the truth has no label, and infinite in a face that the system did not find.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from facelift.landmarks import SCHEMES

YAW_EDGES = (0.0, 30.0, 60.0, 90.0)
AFLW2000_YAW_EDGES = (0.0, 30.0, 60.0, 180.0)
"""The third bin of AFLW2000-3D's tables holds all of its faces beyond 60 degrees: 1312 + 383 + 305 = 2000."""


@dataclass(frozen=True)
class MeanError:
    """A mean over faces, both ways of counting the faces not found, and how many faces are behind it."""

    found: float
    """Mean over the faces found; NaN if there is none."""
    failed: float
    """Mean over all faces, one not found scoring the stated failure; NaN if there is no face."""
    faces: int
    """Faces with a label that counts, found or not: the N of `failed`."""
    not_found: int
    """Those of them that the system did not find."""
    unlabelled: int
    """Further faces, in neither mean: nothing in them counts."""


@dataclass(frozen=True)
class YawTable:
    """Mean errors by |yaw|, and both means that papers call "mean"."""

    bins: tuple[MeanError, ...]
    over_bins: MeanError
    """Mean of the bins' means (3DDFA and all that follow it); NaN if a bin is empty."""
    over_faces: MeanError
    """Mean over the faces of all bins."""
    outside: int
    """Faces beyond the last bin, or of unknown yaw: in none of the means."""


@dataclass(frozen=True)
class CurveScore:
    """What the cumulative error curve says up to one threshold."""

    auc: float
    """Area under the curve up to the threshold, divided by the threshold: 0..1; NaN without faces."""
    failure_rate: float
    """Share of faces above the threshold; NaN without faces."""
    faces: int


def point_errors(
    predicted: Float[np.ndarray, "m n d"], truth: Float[np.ndarray, "m n d"], scale: Float[np.ndarray, "m"]
) -> Float[np.ndarray, "m n"]:
    """|x_ij - y_ij| / z_i of prediction x, truth y and normaliser z.

    NaN where the truth is; infinite in faces whose prediction is NaN throughout (not found). Raises ValueError that
    names a face where only some labelled points are predicted, or whose normaliser is not positive.
    """
    predicted, truth, scale = (np.asarray(array, float) for array in (predicted, truth, scale))
    bad = np.flatnonzero(~(np.isfinite(scale) & (scale > 0)))
    if len(bad):
        raise ValueError(f"face {bad[0]}: expected a positive normaliser, found {scale[bad[0]]}")
    labelled = np.isfinite(truth).all(-1)
    given = np.isfinite(predicted).all(-1)
    found = given.any(-1)
    partial = np.argwhere(labelled & ~given & found[:, None])
    if len(partial):
        face, point = partial[0]
        raise ValueError(f"face {face}: expected a finite prediction, found {predicted[face, point]} at point {point}")
    errors = np.linalg.norm(np.where(found[:, None, None], predicted - truth, np.inf), axis=-1) / scale[:, None]
    return np.where(labelled, errors, np.nan)


def landmark_mask(scheme: str, which: str) -> Bool[np.ndarray, "n"]:
    """Landmarks named `which`: "all", a region of the scheme, or "inner51" (ibug68 without the jaw, 17-67).

    Raises ValueError for a name that the scheme has not.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"landmark scheme: expected one of {sorted(SCHEMES)}, found {scheme!r}")
    groups = {"all": np.arange(SCHEMES[scheme].size), **SCHEMES[scheme].regions}
    if scheme == "ibug68":
        groups["inner51"] = np.arange(17, 68)
    if which not in groups:
        raise ValueError(f"landmarks of {scheme}: expected one of {sorted(groups)}, found {which!r}")
    return np.isin(np.arange(SCHEMES[scheme].size), groups[which])


def face_nme(
    errors: Float[np.ndarray, "m n"], mask: Bool[np.ndarray, "m n"] | Bool[np.ndarray, "n"] | None = None
) -> Float[np.ndarray, "m"]:
    """NME_i = mean over j of e_ij, over the labelled points where `mask` is true. NaN in a face without any."""
    counted = ~np.isnan(errors) & (True if mask is None else mask)
    count = counted.sum(-1)
    total = np.where(counted, errors, 0.0).sum(-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def region_nme(
    errors: Float[np.ndarray, "m n"],
    regions: Mapping[str, Int[np.ndarray, "k"]],
    mask: Bool[np.ndarray, "m n"] | Bool[np.ndarray, "n"] | None = None,
) -> dict[str, Float[np.ndarray, "m"]]:
    """`face_nme` over all landmarks, named "full", and over each region (`Scheme.regions`)."""
    landmarks = np.arange(errors.shape[1])
    named = {"full": landmarks, **regions}
    mask = np.ones(len(landmarks), bool) if mask is None else mask
    return {name: face_nme(errors, mask & np.isin(landmarks, part)) for name, part in named.items()}


def mean_error(per_face: Float[np.ndarray, "m"], *, failure: float = 1.0) -> MeanError:
    """Mean over faces, of those found and of all with a not-found face scoring `failure` (1: every point is off by the
    normaliser)."""
    values = per_face[~np.isnan(per_face)]
    found = np.isfinite(values)
    return MeanError(
        found=_mean(values[found]),
        failed=_mean(np.where(found, values, failure)),
        faces=len(values),
        not_found=int((~found).sum()),
        unlabelled=len(per_face) - len(values),
    )


def by_yaw(
    per_face: Float[np.ndarray, "m"],
    yaw_deg: Float[np.ndarray, "m"],
    *,
    edges: tuple[float, ...] = YAW_EDGES,
    failure: float = 1.0,
) -> YawTable:
    """Mean errors in the bins [edge, next edge) of |yaw|; the last bin is closed."""
    yaw = np.abs(yaw_deg)
    index = np.searchsorted(edges, yaw, side="right") - 1
    index[yaw == edges[-1]] = len(edges) - 2
    inside = (index >= 0) & (index < len(edges) - 1)
    bins = tuple(mean_error(per_face[index == k], failure=failure) for k in range(len(edges) - 1))
    total = mean_error(per_face[inside], failure=failure)
    over_bins = MeanError(
        found=float(np.mean([part.found for part in bins])),
        failed=float(np.mean([part.failed for part in bins])),
        faces=total.faces,
        not_found=total.not_found,
        unlabelled=total.unlabelled,
    )
    return YawTable(bins, over_bins, total, int((~inside).sum()))


def cumulative_curve(
    per_face: Float[np.ndarray, "m"], at: Float[np.ndarray, "k"], *, found_only: bool = False
) -> Float[np.ndarray, "k"]:
    """F(e) = share of faces whose NME is at most e, for each e of `at` (300-W's curve); NaN without faces.

    Faces not found are in the denominator unless `found_only`.
    """
    values = np.sort(_scored(per_face, found_only))
    return np.searchsorted(values, at, side="right") / (len(values) or np.nan)


def curve_score(per_face: Float[np.ndarray, "m"], threshold: float, *, found_only: bool = False) -> CurveScore:
    """AUC = 1/t * integral of F from 0 to t = mean over faces of max(0, 1 - NME_i / t), and FR = 1 - F(t).

    Exact: F is a step function. (Others integrate samples of it by Simpson's rule, which differs in the fourth digit.)
    A face not found adds nothing to the area and is a failure, unless `found_only`.
    """
    if not threshold > 0:
        raise ValueError(f"threshold: expected a positive fraction, found {threshold}")
    values = _scored(per_face, found_only)
    return CurveScore(_mean(np.maximum(0.0, 1 - values / threshold)), _mean(values > threshold), len(values))


def _scored(per_face: np.ndarray, found_only: bool) -> np.ndarray:
    return per_face[np.isfinite(per_face) if found_only else ~np.isnan(per_face)]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
