"""Cells of tables: a statistic over faces with its bootstrap interval over identities."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from facelift.evaluation.metrics.bootstrap import bootstrap_difference, bootstrap_mean, bootstrap_statistic
from facelift.evaluation.tables.table import Measured, measured


def mean(values: Float[np.ndarray, "m"], identity: np.ndarray) -> Measured:
    """Mean over the faces whose value is finite."""
    return measured(bootstrap_mean(np.where(np.isfinite(values), values, np.nan), groups=identity))


def difference(a: Float[np.ndarray, "m"], b: Float[np.ndarray, "m"], identity: np.ndarray) -> Measured:
    """Mean of a - b over the faces where both are finite."""
    nan = np.full(len(a), np.nan)
    both = np.isfinite(a) & np.isfinite(b)
    return measured(bootstrap_difference(np.where(both, a, nan), np.where(both, b, nan), groups=identity))


def statistic(of: Callable[[np.ndarray], float], identity: np.ndarray, *, count: int, draws: int = 400) -> Measured:
    """Any function of the indices of the faces drawn; `count` is what it is over."""
    found = bootstrap_statistic(of, len(identity), groups=identity, draws=draws)
    return Measured(found.value, count, found.low, found.high)
