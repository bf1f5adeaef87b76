"""The quality gate of a GAN's faces: do its views agree, do they show one person, does the detector see a face?

What it measures is in the shards, so that gate.json and gate.md tell of every face that a shard holds and of no other.
"""

import json
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int

from facelift.landmarks import WFLW98
from facelift.lifting.observations import Observations
from facelift.lifting.quality import QualityConfig, accepted
from facelift.lifting.shards import Shard, load_shards
from facelift.lifting.solver import Lifted
from facelift.scale.store import Place, Store

MAX_SIGMA = 0.1
"""A detector that gives covariances succeeds in a view where its points' mean standard deviation is below this share of
the longer side of their box, as `predictor.MAX_SIGMA` has it of faces in photos."""
REGIONS = {name: indices for name, indices in WFLW98.regions.items() if name != "pupils"}


@dataclass(frozen=True)
class Judgement:
    """What the gate measured of n faces."""

    seed: Int[np.ndarray, "n"]
    residual_px: Float[np.ndarray, "n"]
    """Cross-view: median over the landmarks of the distance between detections and the lifted point's projections, px
    at 256 px; NaN where nothing was lifted."""
    region_px: Float[np.ndarray, "n regions"]
    """The same per region, in the order of REGIONS."""
    detected: Float[np.ndarray, "n"]
    """Share of views in which the detector succeeds."""
    drift: Float[np.ndarray, "n"]
    """Identity drift, %; NaN where it could not be measured."""
    accepted: Bool[np.ndarray, "n"]


def succeeded(observed: Observations) -> Bool[np.ndarray, "b views"]:
    """Whether the detector saw a face in a view, and was sure of it where it says how sure it is."""
    if observed.covariances is None:
        return observed.found
    sigma = np.sqrt(np.trace(observed.covariances, axis1=-2, axis2=-1) / 2).mean(-1)
    side = (observed.points.max(2) - observed.points.min(2)).max(-1)
    return observed.found & (sigma < MAX_SIGMA * side)


def judge(lifted: Lifted, observed: Observations, config: QualityConfig) -> Bool[np.ndarray, "n"]:
    """Whether each face is within all limits of `config`; one whose drift is not known is not."""
    drift = np.full(len(observed.found), np.nan) if observed.drift is None else observed.drift
    return accepted(lifted, succeeded(observed), config) & (drift <= config.max_drift)


def judgement(shard: Shard) -> Judgement:
    """What the gate measured of a shard's faces."""
    solved = np.isfinite(shard.points).all(-1)
    residual = np.where(solved, shard.residual_px, np.nan).astype(float)
    region = np.stack([_median(residual[:, indices]) for indices in REGIONS.values()], -1)
    detected, drift = shard.detected.astype(float), shard.drift.astype(float)
    return Judgement(shard.seed, _median(residual), region, detected, drift, shard.accepted)


def _median(values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n"]:
    """Of what is finite in each row; NaN where nothing is."""
    some = np.isfinite(values).any(-1)
    out = np.full(len(values), np.nan)
    out[some] = np.nanmedian(values[some], -1)
    return out


def write_gate(place: Place, config: QualityConfig) -> None:
    """Writes gate.json and gate.md over all shards of a folder. Raises FileNotFoundError where there is none."""
    found, store = judgement(load_shards(place)), Store(place)
    names = [field.name for field in fields(Judgement)]
    rows = [{name: _plain(getattr(found, name)[row]) for name in names} for row in range(len(found.seed))]
    store.write("gate.json", json.dumps({"regions": list(REGIONS), "faces": rows}, indent=1).encode())
    store.write("gate.md", as_markdown(found, config).encode())


def as_markdown(found: Judgement, config: QualityConfig) -> str:
    """Counts, medians over the faces, and residuals per region."""
    too_far = ~(found.residual_px <= config.max_residual_px)
    rows = [
        ("cross-view residual, px at 256 px", found.residual_px, f"{config.max_residual_px:g}", too_far),
        ("identity drift, %", found.drift, f"{config.max_drift:g}", ~(found.drift <= config.max_drift)),
        (
            "views detected, %",
            100 * found.detected,
            f"{100 * config.min_found:g}",
            found.detected < config.min_found,
        ),
    ]
    lines = [
        f"# {int(found.accepted.sum())} of {len(found.seed)} faces accepted",
        "",
        "| | median | 10 % | 90 % | limit | beyond it |",
        "|---|---|---|---|---|---|",
    ]
    for name, values, limit, beyond in rows:
        middle, low, high = _quantiles(values)
        lines.append(f"| {name} | {middle:.2f} | {low:.2f} | {high:.2f} | {limit} | {int(beyond.sum())} |")
    lines += ["", "Cross-view residual, px at 256 px, median over the faces", ""]
    lines += ["| | all | " + " | ".join(REGIONS) + " |", "|---|---|" + "---|" * len(REGIONS)]
    for name, rows_of in (("all faces", np.ones(len(found.seed), bool)), ("accepted", found.accepted)):
        medians = [_quantiles(found.residual_px[rows_of])[0]]
        medians += [_quantiles(found.region_px[rows_of, column])[0] for column in range(len(REGIONS))]
        lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in medians) + " |")
    return "\n".join(lines) + "\n"


def _quantiles(values: np.ndarray) -> tuple[float, float, float]:
    """(median, 10 %, 90 %) of what is finite."""
    values = values[np.isfinite(values)]
    if not len(values):
        return (float("nan"),) * 3
    return float(np.median(values)), float(np.quantile(values, 0.1)), float(np.quantile(values, 0.9))


def _plain(value) -> float | bool | list | None:
    """For JSON, which has no NaN."""
    if np.ndim(value):
        return [_plain(part) for part in value]
    return None if isinstance(value, np.floating) and not np.isfinite(value) else value.item()
