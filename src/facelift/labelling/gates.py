"""Which faces a detector has labelled well enough to learn from: four measures, a limit on each.

Points count by their visibility: the far side of a profile is uncertain however good the rest is, and without the
weights the gates would take the profiles out.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from facelift.boxes import tight_box
from facelift.detectors2d.protocol import Detections

KEPT, SMALL, OUTSIDE, UNSURE, UNSTABLE = REASONS = ("kept", "small", "outside", "unsure", "unstable")
"""What becomes of a face: kept, or rejected by the first of the gates, in this order, that it fails."""
_FRAME = slice(0, 96)
"""WFLW-98 without the pupils."""


@dataclass(frozen=True)
class GateConfig:
    """Limits that a face must keep. Chosen on held-out labelled faces by benchmarks/calibrate_gates.py."""

    smallest_px: float = 32.0
    """Face size, the root of the area of the points' box: below it a face is small."""
    least_inside: float = 0.9
    """Share of points inside the picture: below it a face is outside."""
    largest_sigma: float = 0.045
    """Mean sigma of the points, weighted by their visibility, in face sizes: above it the detector is unsure."""
    largest_flip: float = 0.03
    """Mean distance, likewise, between the points of a face and of its mirror picture: above it they are unstable."""


@dataclass(frozen=True, eq=False)
class Measures:
    """What the gates look at, of n faces."""

    size_px: Float[np.ndarray, "n"]
    inside: Float[np.ndarray, "n"]
    sigma: Float[np.ndarray, "n"]
    """Face sizes."""
    flip: Float[np.ndarray, "n"]
    """Face sizes."""


MEASURES = tuple(field.name for field in fields(Measures))
"""size_px, inside, sigma, flip."""


def measure(found: Detections, width: int, height: int) -> Measures:
    """Measures of the faces in one picture. Raises ValueError for a detector that does not tell covariances, or has not
    looked at the mirror picture."""
    if found.covariances is None or found.disagreement is None:
        raise ValueError("quality gate: expected a detector with covariances and a mirrored look, found one without")
    boxes = tight_box(found.points[:, _FRAME])
    size = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1))
    within = ((found.points >= 0) & (found.points <= [width, height])).all(-1)
    sigma = np.sqrt(np.trace(found.covariances, axis1=-2, axis2=-1) / 2)
    seen = np.ones_like(sigma) if found.visibility is None else np.maximum(found.visibility, 1e-3)
    sigma, flip = ((seen * value).sum(-1) / seen.sum(-1) for value in (sigma, found.disagreement))
    return Measures(size, within.mean(-1), sigma / size, flip / size)


def judge(measures: Measures, config: GateConfig) -> list[str]:
    """One of `REASONS` for each face; a measure that is not a number fails its gate."""
    passed = {
        SMALL: measures.size_px >= config.smallest_px,
        OUTSIDE: measures.inside >= config.least_inside,
        UNSURE: measures.sigma <= config.largest_sigma,
        UNSTABLE: measures.flip <= config.largest_flip,
    }
    return [next((gate for gate in passed if not passed[gate][i]), KEPT) for i in range(len(measures.size_px))]
