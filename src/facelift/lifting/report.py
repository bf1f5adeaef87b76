"""How far lifted landmarks are from exact ones, for generators that know them: under every mask, rig and loss."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from facelift.atomic import written_whole
from facelift.geometry import UNIT_CM
from facelift.landmarks import WFLW98
from facelift.lifting.masks import Competence, MaskConfig, RegionLimits
from facelift.lifting.observations import Observations, solve
from facelift.lifting.quality import QualityConfig, accepted
from facelift.lifting.rig import RIG_SIZES, Rig
from facelift.lifting.solver import Lifted, SolverConfig

log = logging.getLogger(__name__)

MM = UNIT_CM * 10
"""Millimetres of a canonical unit."""
OUTER_EYE_CORNERS = (60, 72)
REGIONS = {name: indices for name, indices in WFLW98.regions.items() if name != "pupils"}
_ANYWHERE = RegionLimits(180, 180, 180, 180, 180)
NO_LIMITS = Competence(near=_ANYWHERE, far=_ANYWHERE, elevation_deg=90)


@dataclass(frozen=True)
class Setting:
    """One way to lift the same detections."""

    name: str
    views: int
    mask: MaskConfig
    competence: Competence
    solver: SolverConfig


@dataclass(frozen=True)
class Score:
    """Errors of one setting. Per region, and "all" of the 96 landmarks."""

    setting: str
    mm: dict[str, float]
    """Mean distance to the exact landmark."""
    percent: dict[str, float]
    """The same in per cent of the face's distance between the outer eye corners."""
    held_out_mm: dict[str, float]
    """The same in mm on every other face, after taking off each landmark's mean offset over the rest of the faces: what
    is left when detector and mesh may place a landmark by different definitions."""
    stated_mm: float
    """Root of the mean trace of the solver's covariances: the error if the detector's were without bias."""
    residual_px: float
    """Median."""
    solved: float
    """Share of landmarks with a solution."""
    accepted: float
    """Share of faces that pass `quality.accepted`."""


def settings(mask: MaskConfig, competence: Competence, solver: SolverConfig, *, views: int = 41) -> list[Setting]:
    """All that the report compares: the given way first; parts of the mask; least squares; the smaller rigs."""
    off = replace(mask, enabled=False)
    plain = replace(solver, cauchy=np.inf)
    both = [
        Setting(f"{views} views, masked", views, mask, competence, solver),
        Setting(f"{views} views, unmasked", views, off, competence, solver),
        Setting(f"{views} views, masked, least squares", views, mask, competence, plain),
        Setting(f"{views} views, unmasked, least squares", views, off, competence, plain),
        Setting(f"{views} views, mask of normals alone", views, mask, NO_LIMITS, solver),
        Setting(
            f"{views} views, mask of competence alone", views, replace(mask, normal_threshold=-2), competence, solver
        ),
    ]
    for size in sorted((size for size in RIG_SIZES if size < views), reverse=True):
        both.append(Setting(f"{size} views, masked", size, mask, competence, solver))
        both.append(Setting(f"{size} views, unmasked", size, off, competence, solver))
    return both


def score(
    lifted: Float[np.ndarray, "b 98 3"], truth: Float[np.ndarray, "b 98 3"]
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """(mm, per cent of the outer-eye distance, held-out mm without offsets), each per region and "all".

    Landmarks without a solution do not count; a region where nothing counts is NaN.
    """
    error = lifted - truth
    distance = np.linalg.norm(error, axis=-1)
    first, last = OUTER_EYE_CORNERS
    eyes = np.linalg.norm(truth[:, first] - truth[:, last], axis=-1)[:, None]
    fitted, held_out = error[::2], error[1::2]
    offset = _mean(fitted, axis=0)
    rest = np.linalg.norm(held_out - offset, axis=-1)
    return _by_region(distance * MM), _by_region(100 * distance / eyes), _by_region(rest * MM)


def score_settings(
    observed: Observations, rig: Rig, compared: Sequence[Setting], quality: QualityConfig
) -> list[Score]:
    """The same detections lifted and scored in every setting. Raises ValueError where no exact landmarks are known."""
    if not np.isfinite(observed.truth).any():
        raise ValueError("report: expected a generator that knows exact landmarks, found one that does not")
    scores = []
    for setting in compared:
        views = np.arange(setting.views)
        part = observed.take(views)
        lifted = solve(part, rig.take(views), setting.mask, setting.competence, setting.solver)
        good = accepted(lifted, part.found, quality)
        scores.append(_score(setting.name, lifted, observed.truth, float(good.mean())))
    return scores


def _score(name: str, lifted: Lifted, truth: np.ndarray, share: float) -> Score:
    scored = np.concatenate(list(REGIONS.values()))
    trace = np.trace(lifted.covariance[:, scored], axis1=-2, axis2=-1)
    residual = lifted.residual_px[:, scored]
    return Score(
        name,
        *score(lifted.points, truth),
        stated_mm=float(np.sqrt(_mean(trace)) * MM),
        residual_px=float(np.median(residual[np.isfinite(residual)])) if np.isfinite(residual).any() else float("nan"),
        solved=float(lifted.solved[:, scored].mean()),
        accepted=share,
    )


def _by_region(values: Float[np.ndarray, "b 98"]) -> dict[str, float]:
    everything = np.concatenate(list(REGIONS.values()))
    return {name: float(_mean(values[:, indices])) for name, indices in {"all": everything, **REGIONS}.items()}


def _mean(values: np.ndarray, axis: int | None = None) -> Any:
    """Mean over what is finite; NaN where nothing is."""
    finite = np.isfinite(values)
    count = finite.sum(axis)
    total = np.where(finite, values, 0.0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def as_markdown(scores: Sequence[Score], about: dict[str, Any]) -> str:
    """Three tables: mm, per cent of the outer-eye distance, mm without constant offsets."""
    head = "\n".join(f"- {key}: {value}" for key, value in about.items())
    tables = (
        ("Mean error, mm", "mm", 2),
        ("Mean error, % of the distance between the outer eye corners", "percent", 2),
        (
            "Mean error, mm, on every other face, after taking off each landmark's mean offset over the other faces "
            "(detector and mesh place a landmark by different definitions)",
            "held_out_mm",
            2,
        ),
    )
    parts = [f"# Lifted landmarks against exact ones\n\n{head}"]
    for title, field, digits in tables:
        columns = ["all", *REGIONS]
        rows = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
        for entry in scores:
            values = getattr(entry, field)
            rows.append(f"| {entry.setting} | " + " | ".join(f"{values[c]:.{digits}f}" for c in columns) + " |")
        parts.append(f"## {title}\n\n" + "\n".join(rows))
    rows = [
        "| | stated error mm | median residual px | landmarks solved % | faces accepted % |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {s.setting} | {s.stated_mm:.2f} | {s.residual_px:.2f} | {100 * s.solved:.1f} | {100 * s.accepted:.0f} |"
        for s in scores
    ]
    parts.append(
        "## What the solver says of itself\n\nStated error: root of the mean trace of its covariances; what is above "
        "it in the first table is the detector's bias, which no number of views averages out.\n\n" + "\n".join(rows)
    )
    return "\n\n".join(parts) + "\n"


def write_report(folder: Path, scores: Sequence[Score], about: dict[str, Any]) -> Path:
    """Writes report.json and report.md; returns the latter."""
    entries = [_jsonable(vars(entry)) for entry in scores]
    with written_whole(folder / "report.json") as partial:
        partial.write_text(json.dumps({**about, "scores": entries}, indent=2))
    with written_whole(folder / "report.md") as partial:
        partial.write_text(as_markdown(scores, about))
    return folder / "report.md"


def _jsonable(value: Any) -> Any:
    """NaN, which JSON has not, as null."""
    if isinstance(value, dict):
        return {key: _jsonable(part) for key, part in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
