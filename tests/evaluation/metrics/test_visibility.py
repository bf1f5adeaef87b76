"""Visibility scores against sums over all pairs and all thresholds, with ties."""

import numpy as np
import pytest

from facelift.evaluation.metrics.visibility import average_precision, precision_recall, roc_auc


@pytest.fixture
def answers(rng):
    """Probabilities in steps of 0.1, so that many are equal, that lean to the right side."""
    visible = rng.random(300) < 0.7
    return np.round(np.clip(rng.normal(0.45 + 0.2 * visible, 0.2), 0, 1), 1), visible


def test_precision_and_recall_count(answers):
    precision, recall = precision_recall(
        np.array([0.9, 0.5, 0.4, 0.8]), np.array([True, True, True, False]), threshold=0.5
    )
    assert (precision, recall) == (2 / 3, 2 / 3)
    probability, visible = answers
    called = [p >= 0.7 for p in probability]
    hits = sum(c and v for c, v in zip(called, visible, strict=True))
    assert precision_recall(*answers, threshold=0.7) == (hits / sum(called), hits / visible.sum())


def test_average_precision_is_the_sum_over_thresholds(answers):
    probability, visible = answers
    area, before = 0.0, 0.0
    for threshold in sorted(set(probability.tolist()), reverse=True):
        precision, recall = precision_recall(probability, visible, threshold=threshold)
        area, before = area + (recall - before) * precision, recall
    assert average_precision(probability, visible) == pytest.approx(area, abs=1e-12)
    assert visible.mean() < area < 1
    assert average_precision(np.full(300, 0.5), visible) == pytest.approx(visible.mean(), abs=1e-12)


def test_roc_auc_is_the_share_of_ordered_pairs(answers):
    probability, visible = answers
    pairs = np.subtract.outer(probability[visible], probability[~visible])
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert roc_auc(probability, visible) == pytest.approx(expected, abs=1e-12) and 0.6 < expected < 0.95
    assert roc_auc(1 - probability, visible) == pytest.approx(1 - expected, abs=1e-12)


def test_counting_a_landmark_often_is_repeating_it(answers, rng):
    probability, visible = answers
    times = rng.integers(0, 4, 300)
    again = np.repeat(probability, times), np.repeat(visible, times)
    for score in (roc_auc, average_precision):
        assert score(*answers, times=times) == pytest.approx(score(*again), abs=1e-12)
        assert score(*again) != pytest.approx(score(*answers), abs=1e-3)
        assert np.isnan(score(*answers, times=np.where(visible, 0, times)))
    counted = precision_recall(*answers, threshold=0.5, times=times)
    assert counted == pytest.approx(precision_recall(*again, threshold=0.5), abs=1e-12)


def test_what_cannot_be_scored_is_nan_and_nan_is_refused():
    two = np.array([0.2, 0.8])
    assert np.isnan(roc_auc(two, np.array([True, True]))) and np.isnan(average_precision(two, np.array([False, False])))
    precision, recall = precision_recall(two, np.array([False, False]), threshold=0.9)
    assert np.isnan(precision) and np.isnan(recall)
    for score in (roc_auc, average_precision):
        with pytest.raises(ValueError, match="expected probabilities, found 1 NaN"):
            score(np.array([0.5, np.nan]), np.array([True, False]))
