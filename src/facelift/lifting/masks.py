"""View-dependent masks: how far a 2D detection of each landmark is trusted in each view of the rig.

Paper (Ferman et al. 2024): hand-designed masks. Here: the template of normals says what faces the camera, and a table
says up to which azimuth the detector is good at each region; the second matters more for a detector that was never
taught profiles, since its points there are wrong although their surface is in view.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from facelift.landmarks import WFLW98, normals
from facelift.lifting.rig import Rig

_IMAGE_LEFT = np.r_[0:16, 33:42, 55:57, 60:68, 76:79, 86:90, 95:97]
SIDE = np.zeros(98, np.int64)
"""-1: the landmark lies on the subject's right (x < 0), +1: left, 0: in the middle."""
SIDE[_IMAGE_LEFT], SIDE[WFLW98.mirror[_IMAGE_LEFT]] = -1, 1
SIDE.setflags(write=False)


@dataclass(frozen=True)
class RegionLimits:
    """Degrees of azimuth up to which a detector is trusted, for each region of the face."""

    contours: float
    brows: float
    nose: float
    eyes: float
    mouth: float


@dataclass(frozen=True)
class Competence:
    """Where a 2D detector is good. `near`: landmarks on the camera's side of the face, and in its middle."""

    near: RegionLimits
    far: RegionLimits
    """Landmarks on the side turned away."""
    elevation_deg: float = 45.0
    """Beyond this elevation, either way, nothing is trusted."""


MEDIAPIPE_COMPETENCE = Competence(near=RegionLimits(45, 45, 45, 45, 45), far=RegionLimits(25, 35, 45, 35, 45))
"""MediaPipe's face mesh: fitted to faces up to half profile, a guess beyond."""
NETWORK_COMPETENCE = Competence(near=RegionLimits(45, 60, 60, 60, 60), far=RegionLimits(25, 45, 60, 45, 60))
"""Our own detector, trained on human labels up to profile. Of the far side its labels have no coordinates. The jaw of
human labels slides along the cheek as the head turns: its frontal half is what a frontal picture shows."""


@dataclass(frozen=True)
class MaskConfig:
    """Which detections the solver sees."""

    enabled: bool = True
    """False: every detection of every view counts alike, for comparison: no masks, no confidence, no covariance."""
    normal_threshold: float = -0.35
    """A landmark counts where the cosine between its normal and the direction to the camera exceeds this. Below
    0, because the jaw's outline, whose normals are at right angles to the camera, is where detectors are good. -2
    switches the normals off."""
    normal_ramp: float = 0.35
    """The weight rises from 0 to 1 over this much cosine above the threshold."""


def visibility_mask(
    rig: Rig,
    *,
    threshold: float,
    ramp: float,
    template: Float[np.ndarray, "98 3"] | None = None,
) -> Float[np.ndarray, "views 98"]:
    """Weight by the template of normals: 0 up to cosine `threshold`, 1 from `threshold` + `ramp`.

    The cosine is between R normal and the direction to the camera, taken as -z for the whole face: perspective tilts it
    by less than 5 degrees.
    """
    template = normals() if template is None else template
    cosine = -np.einsum("vj,lj->vl", rig.rotations[:, 2], template)
    if ramp <= 0:
        return (cosine > threshold).astype(float)
    return np.clip((cosine - threshold) / ramp, 0.0, 1.0)


def competence_mask(rig: Rig, competence: Competence) -> Bool[np.ndarray, "views 98"]:
    """True where the detector is trusted: within its region's limit of azimuth on that side, and of elevation."""
    limits = np.zeros((2, 98))
    for row, table in zip(limits, (competence.near, competence.far), strict=True):
        for region, indices in WFLW98.regions.items():
            row[indices] = getattr(table, region, 0.0)
    azimuth = rig.azimuth_deg[:, None]
    far = (np.sign(azimuth) * SIDE) < 0
    within = np.abs(azimuth) <= np.where(far, limits[1], limits[0])
    return within & (np.abs(rig.elevation_deg) <= competence.elevation_deg)[:, None]


def mask(
    rig: Rig, config: MaskConfig, competence: Competence, template: Float[np.ndarray, "98 3"] | None = None
) -> Float[np.ndarray, "views 98"]:
    """Weight in [0, 1] of each landmark in each view; 0 for pupils: generated eyes do not agree on a gaze."""
    if not config.enabled:
        weights = np.ones((len(rig), 98))
    else:
        weights = visibility_mask(
            rig, threshold=config.normal_threshold, ramp=config.normal_ramp, template=template
        ) * competence_mask(rig, competence)
    weights[:, WFLW98.regions["pupils"]] = 0.0
    return weights
