"""Which faces of a batch of pseudo-labels are fit for training."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from facelift.landmarks import WFLW98
from facelift.lifting.solver import Lifted


@dataclass(frozen=True)
class QualityConfig:
    """When a face's pseudo-labels are rejected."""

    max_residual_px: float = 6.0
    """Most that the median over landmarks of the residual may be, px at 256 px."""
    min_solved: float = 0.9
    """Least share of the 96 landmarks (no pupils) that must have a solution."""
    min_found: float = 0.4
    """Least share of views in which the detector must find a face."""
    max_drift: float = 8.0
    """Of faces of a GAN: the most identity drift between views, % of the distance between the outer eye corners."""


def face_residual_px(lifted: Lifted) -> Float[np.ndarray, "b"]:
    """Median over the solved landmarks of each face; NaN where nothing is solved.

    The median: a face is bad when most of it disagrees, and a single bad landmark is marked by its own residual.
    """
    residual = np.where(lifted.solved, lifted.residual_px, np.nan)
    out = np.full(len(residual), np.nan)
    some = lifted.solved.any(-1)
    out[some] = np.nanmedian(residual[some], axis=-1)
    return out


def accepted(lifted: Lifted, found: Bool[np.ndarray, "b views"], config: QualityConfig) -> Bool[np.ndarray, "b"]:
    """True for faces within all three limits. Fixed limits, so that a face's fate does not depend on its batch."""
    landmarks = np.setdiff1d(np.arange(WFLW98.size), WFLW98.regions["pupils"])
    solved = lifted.solved[:, landmarks].mean(-1) >= config.min_solved
    return solved & (found.mean(-1) >= config.min_found) & (face_residual_px(lifted) <= config.max_residual_px)
