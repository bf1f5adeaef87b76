"""How well a predicted probability tells visible landmarks from hidden ones: precision, recall, AP, ROC AUC.

Landmarks as one flat list, those of unknown state left out by the caller; visible is the positive class. A probability
that is NaN is a ValueError.
"""

import numpy as np
from jaxtyping import Bool, Float


def precision_recall(
    probability: Float[np.ndarray, "n"], visible: Bool[np.ndarray, "n"], *, threshold: float
) -> tuple[float, float]:
    """TP / (TP + FP) and TP / (TP + FN), p >= threshold counting as called visible; NaN for 0 / 0."""
    _check(probability)
    called = probability >= threshold
    hits = int((called & visible).sum())
    return _ratio(hits, int(called.sum())), _ratio(hits, int(visible.sum()))


def average_precision(probability: Float[np.ndarray, "n"], visible: Bool[np.ndarray, "n"]) -> float:
    """sum_k (R_k - R_k-1) P_k over the distinct probabilities from the top; equal ones enter together.

    No interpolation; for random scores it is the share of visible landmarks. NaN without a visible landmark.
    """
    _check(probability)
    if not visible.any():
        return float("nan")
    order = np.argsort(-probability, kind="stable")
    ranked = probability[order]
    last = np.r_[ranked[1:] != ranked[:-1], True]
    hits = np.cumsum(visible[order])[last]
    called = np.flatnonzero(last) + 1
    return float((np.diff(hits, prepend=0) * hits / called).sum() / visible.sum())


def roc_auc(probability: Float[np.ndarray, "n"], visible: Bool[np.ndarray, "n"]) -> float:
    """P(p_visible > p_hidden) + 1/2 P(p_visible = p_hidden) over all pairs: Mann & Whitney's U from mid-ranks.

    NaN where there are only visible or only hidden landmarks.
    """
    _check(probability)
    positives, negatives = int(visible.sum()), int((~visible).sum())
    if not positives or not negatives:
        return float("nan")
    _, group, counts = np.unique(probability, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(middle[group][visible].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _check(probability: np.ndarray) -> None:
    if np.isnan(probability).any():
        raise ValueError(f"visibility: expected probabilities, found {int(np.isnan(probability).sum())} NaN")
