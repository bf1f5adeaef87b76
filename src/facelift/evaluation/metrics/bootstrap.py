"""Percentile bootstrap intervals (Efron & Tibshirani 1993, section 13.3) over images, or over identities as clusters.

A draw takes as many groups as there are, with replacement; a group's images come along together. The images of one
person err together, so that intervals over images are too narrow wherever a person has several.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

DRAWS = 1000
"""Of every interval, unless a table says otherwise."""
_BLOCK = 256


@dataclass(frozen=True)
class Interval:
    """A statistic with its bootstrap interval; all NaN where nothing is scored.

    Of fewer than two groups low and high are NaN: every draw is the sample itself and says nothing of its spread.
    """

    value: float
    """Of the sample itself."""
    low: float
    high: float
    count: int
    """N: images scored."""
    groups: int
    """Identities or images that were drawn as one."""
    missing: int
    """Images without a score (NaN), in neither value nor interval."""

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}], N = {self.count}"


def bootstrap_mean(
    values: Float[np.ndarray, "n"],
    *,
    groups: Sequence[str] | np.ndarray | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Mean of the values that are not NaN, with its interval; `groups` names each value's identity.

    A draw's mean is sum of values / number of values over the groups drawn, so that large groups weigh more, as in the
    mean itself. The same seed gives the same interval. Raises ValueError for groups of another length.
    """
    labels = _labels(len(values), groups)
    known = ~np.isnan(values)
    if not known.any():
        return Interval(np.nan, np.nan, np.nan, 0, 0, len(values))
    group = np.unique(labels[known], return_inverse=True)[1]
    sums, counts = np.bincount(group, values[known]), np.bincount(group)
    rng, means = np.random.default_rng(seed), np.empty(draws)
    for first in range(0, draws, _BLOCK):
        block = means[first : first + _BLOCK]
        times = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=len(block))
        block[:] = (times @ sums) / (times @ counts)
    return _interval(float(values[known].mean()), means, level, known, len(sums))


def bootstrap_difference(
    a: Float[np.ndarray, "n"],
    b: Float[np.ndarray, "n"],
    *,
    groups: Sequence[str] | np.ndarray | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Mean of A - B over the images that both score, paired: both systems see the same images in every draw.

    Below 0: A's values are smaller. Images that either misses are counted as missing. Raises as `bootstrap_mean`.
    """
    if len(a) != len(b):
        raise ValueError(f"bootstrap_difference: expected scores of the same images, found {len(a)} and {len(b)}")
    return bootstrap_mean(np.asarray(a, float) - b, groups=groups, level=level, draws=draws, seed=seed)


def bootstrap_statistic(
    statistic: Callable[[Int[np.ndarray, "k"]], float],
    size: int,
    *,
    groups: Sequence[str] | np.ndarray | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Any statistic (a median, an AUC, a mean of bin means) of images 0..size-1 with its interval.

    `statistic` is given the indices of the images drawn, repeats included; where it is NaN, as for a bin that a
    draw leaves empty, the draw is left out of the interval.
    """
    labels = _labels(size, groups)
    members = np.argsort(labels, kind="stable")
    names, starts = np.unique(labels[members], return_index=True)
    images = np.split(members, starts[1:])
    rng, values = np.random.default_rng(seed), np.empty(draws)
    for draw in range(draws):
        drawn = rng.integers(len(names), size=len(names))
        values[draw] = statistic(np.concatenate([images[group] for group in drawn]))
    return _interval(float(statistic(np.arange(size))), values, level, np.ones(size, bool), len(names))


def _labels(size: int, groups: Sequence[str] | np.ndarray | None) -> np.ndarray:
    if groups is None:
        return np.arange(size)
    if len(groups) != size:
        raise ValueError(f"bootstrap: expected a group for each of {size} values, found {len(groups)}")
    return np.asarray(groups)


def _interval(value: float, draws: np.ndarray, level: float, known: np.ndarray, groups: int) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"bootstrap: expected a level in (0, 1), found {level}")
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    draws = draws[~np.isnan(draws)]
    low, high = np.quantile(draws, tails) if len(draws) and groups > 1 else (np.nan, np.nan)
    return Interval(value, float(low), float(high), int(known.sum()), groups, int((~known).sum()))
