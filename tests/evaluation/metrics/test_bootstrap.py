"""Bootstrap intervals: against a plain resampling loop, and none where there is nothing to draw from."""

import inspect

import numpy as np
import pytest

from facelift.evaluation.metrics.bootstrap import (
    DRAWS,
    bootstrap_difference,
    bootstrap_mean,
    bootstrap_statistic,
)

PEOPLE = np.array(list("aabbbcdeeeefghhij"))


def test_intervals_are_those_of_a_plain_loop_over_people(rng):
    values = rng.normal(5, 2, len(PEOPLE)) + 3 * (PEOPLE == "e")
    names, means = np.unique(PEOPLE), []
    for _ in range(8000):
        drawn = [values[name == PEOPLE] for name in rng.choice(names, len(names))]
        means.append(np.concatenate(drawn).mean())
    expected = np.quantile(means, [0.025, 0.975])
    for found in (
        bootstrap_mean(values, groups=PEOPLE, draws=8000),
        bootstrap_statistic(lambda drawn: float(values[drawn].mean()), len(values), groups=PEOPLE, draws=8000),
    ):
        assert found.value == pytest.approx(values.mean(), abs=1e-12)
        np.testing.assert_allclose([found.low, found.high], expected, atol=0.1)
        assert (found.count, found.groups, found.missing) == (17, 10, 0)


def test_one_person_alone_has_no_interval(rng):
    values, people = rng.normal(size=5), np.array(list("aaaab"))
    values[4] = np.nan  # the second person is not scored
    for found in (
        bootstrap_mean(values, groups=people),
        bootstrap_difference(values, np.zeros(5), groups=people),
        bootstrap_statistic(lambda drawn: float(values[drawn].sum()), 4, groups=people[:4]),
    ):
        assert np.isfinite(found.value) and np.isnan([found.low, found.high]).all() and found.groups == 1


def test_one_number_of_draws_everywhere():
    for function in (bootstrap_mean, bootstrap_difference, bootstrap_statistic):
        assert inspect.signature(function).parameters["draws"].default == DRAWS == 1000
