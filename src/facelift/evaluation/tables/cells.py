"""Cells and rows of tables: a statistic over faces with its bootstrap interval over identities."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float

from facelift.evaluation.metrics.bootstrap import DRAWS, bootstrap_difference, bootstrap_mean, bootstrap_statistic
from facelift.evaluation.tables.table import Measured, Row, measured

FAILED = "not found = failed"
"""What a row or column is called in which faces not found score the stated failure."""


def mean(values: Float[np.ndarray, "m"], identity: np.ndarray) -> Measured:
    """Mean over the faces whose value is finite."""
    return measured(bootstrap_mean(np.where(np.isfinite(values), values, np.nan), groups=identity))


def difference(a: Float[np.ndarray, "m"], b: Float[np.ndarray, "m"], identity: np.ndarray) -> Measured:
    """Mean of a - b over the faces where both are finite."""
    nan = np.full(len(a), np.nan)
    both = np.isfinite(a) & np.isfinite(b)
    return measured(bootstrap_difference(np.where(both, a, nan), np.where(both, b, nan), groups=identity))


def statistic(
    of: Callable[[np.ndarray], float],
    identity: np.ndarray,
    *,
    count: int,
    scored: Bool[np.ndarray, "m"] | None = None,
    draws: int = DRAWS,
) -> Measured:
    """Any function of the indices of the faces drawn, of those `scored`; `count` is what it is over."""
    index = np.arange(len(identity)) if scored is None else np.flatnonzero(scored)
    if not len(index):
        return Measured(np.nan, count, np.nan, np.nan)
    found = bootstrap_statistic(lambda drawn: of(index[drawn]), len(index), groups=identity[index], draws=draws)
    return Measured(found.value, count, found.low, found.high)


def both_ways(
    system: str,
    errors: Mapping[str, Float[np.ndarray, "m"]],
    identity: np.ndarray,
    *,
    failure: float | Mapping[str, float],
) -> list[Row]:
    """A row of means over the faces found; where faces are not found (infinite), one more in which these score
    `failure`, which may differ by column. NaN counts in neither."""
    rows = [Row(system, {name: mean(values, identity) for name, values in errors.items()})]
    if any(np.isposinf(values).any() for values in errors.values()):
        worst = failure if isinstance(failure, Mapping) else dict.fromkeys(errors, failure)
        failed = {name: np.where(np.isposinf(values), worst[name], values) for name, values in errors.items()}
        rows.append(Row(f"{system}, {FAILED}", {name: mean(values, identity) for name, values in failed.items()}))
    return rows
