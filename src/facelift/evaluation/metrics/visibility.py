"""How well a predicted probability tells visible landmarks from hidden ones: precision, recall, AP, ROC AUC.

Landmarks as one flat list, those of unknown state left out by the caller; visible is the positive class. A probability
that is NaN is a ValueError.
"""

import numpy as np
from jaxtyping import Bool, Float, Int


def precision_recall(
    probability: Float[np.ndarray, "n"],
    visible: Bool[np.ndarray, "n"],
    *,
    threshold: float,
    times: Int[np.ndarray, "n"] | None = None,
) -> tuple[float, float]:
    """TP / (TP + FP) and TP / (TP + FN), p >= threshold counting as called visible; NaN for 0 / 0.

    `times` as in `average_precision`.
    """
    _check(probability)
    called, counted = probability >= threshold, np.ones(len(visible), int) if times is None else times
    hits = int(counted[called & visible].sum())
    return _ratio(hits, int(counted[called].sum())), _ratio(hits, int(counted[visible].sum()))


def average_precision(
    probability: Float[np.ndarray, "n"], visible: Bool[np.ndarray, "n"], *, times: Int[np.ndarray, "n"] | None = None
) -> float:
    """sum_k (R_k - R_k-1) P_k over the distinct probabilities from the top; equal ones enter together.

    `times`: how often each landmark counts, as in a bootstrap's draw; once by default. No interpolation; for random
    scores it is the share of visible landmarks. NaN without a visible landmark.
    """
    hits, called = _from_the_top(probability, visible, times)
    if not len(hits) or not hits[-1]:
        return float("nan")
    return float((np.diff(hits, prepend=0) * hits / np.maximum(called, 1)).sum() / hits[-1])


def roc_auc(
    probability: Float[np.ndarray, "n"], visible: Bool[np.ndarray, "n"], *, times: Int[np.ndarray, "n"] | None = None
) -> float:
    """P(p_visible > p_hidden) + 1/2 P(p_visible = p_hidden) over all pairs: Mann & Whitney's U.

    `times` as in `average_precision`. NaN where there are only visible or only hidden landmarks.
    """
    hits, called = _from_the_top(probability, visible, times)
    misses = called - hits
    if not len(hits) or not hits[-1] or not misses[-1]:
        return float("nan")
    before = np.concatenate([[0], hits[:-1]])
    return float((np.diff(misses, prepend=0) * (hits + before) / 2).sum() / (float(hits[-1]) * float(misses[-1])))


def _from_the_top(
    probability: np.ndarray, visible: np.ndarray, times: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """TP and TP + FP at each distinct probability, the largest first. Fast for probabilities in falling order."""
    _check(probability)
    order = np.argsort(-probability, kind="stable")
    ranked, counted = probability[order], np.ones(len(order), int) if times is None else times[order]
    last = np.r_[ranked[1:] != ranked[:-1], True] if len(ranked) else np.zeros(0, bool)
    return np.cumsum(counted * visible[order])[last], np.cumsum(counted)[last]


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _check(probability: np.ndarray) -> None:
    if np.isnan(probability).any():
        raise ValueError(f"visibility: expected probabilities, found {int(np.isnan(probability).sum())} NaN")
