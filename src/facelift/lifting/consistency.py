"""Whether a generator's cameras are what they are taken for: the focal length and the sign of yaw under which its views
of one face agree best. A wrong focal length is nearly a wrong size of the face; only perspective within the face tells
them apart, by 0.3 px for a tenth of the focal length. What a detector sees elsewhere than a head has it, in each view
its own way, is more: it is measured on heads with exact cameras and taken away."""

import json
import logging
import os
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from facelift.atomic import written_whole
from facelift.detectors2d.factory import build_detector
from facelift.generators.stage import build_generator
from facelift.geometry import FOCAL, intrinsics, project
from facelift.geometry.gan_cameras import with_focal
from facelift.landmarks import WFLW98
from facelift.lifting.masks import MaskConfig, mask
from facelift.lifting.observations import SIZE, Observations, ViewSource, observe, render_rig, stack
from facelift.lifting.rig import Rig, rig
from facelift.lifting.solver import SolverConfig, triangulate

log = logging.getLogger(__name__)
_FIXED = np.concatenate([WFLW98.regions[name] for name in ("brows", "nose", "eyes", "mouth")])
"""Landmarks that are one point of the head in all views; the jaw's follow the outline in some detectors."""
_OF_HEAD = np.arange(96)
"""Landmarks that are used where the detector's own errors are known: all but the pupils."""
_GRID = np.geomspace(0.6, 1.7, 15)
"""Factors of the focal length that are tried."""
_CAUCHY_PX, _CAUCHY = 4.0, 3.0
"""Scale of the robust disagreement: px, or standard deviations where the detector's own errors are known."""
_SHARPEST_PX = 0.5
_FOLDS = 4
HEAD_SEED = 10_000_000
"""First of the heads on which the detector is measured."""


@dataclass(frozen=True)
class CheckConfig:
    """Measure whether a generator's views agree, and under which focal length and sign of yaw they do best."""

    generator: str
    """File of an EG3D or PanoHead checkpoint, run folder of `facelift train-gan`, morphable or procedural."""
    out: Path
    """Folder for cameras.json."""
    detector: str = "small"
    """As in `facelift lift`."""
    faces: int = 16
    """How many faces."""
    heads: int = 16
    """Heads of ours, with exact cameras, on which the detector's own errors in each view are measured and then taken
    away; the textured one's where there are --assets. 0: taken as they are, which looks like another focal length."""
    first_seed: int = 0
    """Seed of the first."""
    views: int = 21
    """Views of the rig: 5, 9, 21 or 41."""
    size: int = 256
    """Side of the rendered pictures, px."""
    truncation: float = 0.7
    """Of a GAN."""
    focal: float = 1.0
    """Focal length of a GAN's pictures over ours, as measured before: what is left is measured then."""
    assets: Path | None = None
    """Folder of the textured head; FACELIFT_ASSETS if not given."""
    data: Path | None = None
    """Folder of backgrounds and light probes; FACELIFT_DATA if not given."""
    mask: MaskConfig = field(default_factory=MaskConfig)


@dataclass(frozen=True)
class CameraFit:
    """The cameras under which the views agree best."""

    focal: float
    """Over the one that they are taken for: 1 if they are."""
    focal_error: float
    """Its standard deviation, by which faces and which heads were drawn."""
    residual_px: float
    """Cross-view residual there, px at 256 px."""
    taken_px: float
    """The same with the cameras as they are taken for."""
    mirrored_px: float
    """The same where yaw goes the other way, with the focal length that is best there."""

    @property
    def yaw_sign(self) -> int:
        """1, or -1 if the views agree better with yaw the other way."""
        return 1 if self.residual_px <= self.mirrored_px else -1


@dataclass(frozen=True)
class DetectorBias:
    """Where a detector sees landmarks in each view, against where the head has them; px at 256 px."""

    shift: Float[np.ndarray, "views 98 2"]
    spread: Float[np.ndarray, "views 98"]
    """Standard deviation about it from head to head."""


def detector_bias(observed: Observations, views: Rig) -> DetectorBias:
    """Of detections on heads with exact landmarks, by medians over the heads. NaN where none was found."""
    exact = np.stack([_seen(truth, views, intrinsics(SIZE)) for truth in observed.truth])
    errors = np.where(observed.found[..., None, None], observed.points - exact, np.nan)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # a view in which no head was found
        shift = np.nanmedian(errors, axis=0)
        spread = 1.4826 * np.nanmedian(np.abs(errors - shift), axis=(0, -1))
    return DetectorBias(shift, spread + _SHARPEST_PX)


def _seen(points: Float[np.ndarray, "98 3"], views: Rig, K: np.ndarray) -> Float[np.ndarray, "views 98 2"]:
    return project(np.tile(points, (len(views), 1, 1)), views.rotations, views.translations, K)


def fit_cameras(
    observed: Observations, views: Rig, weights: Float[np.ndarray, "views 98"], heads: Observations | None = None
) -> CameraFit:
    """Least disagreement of the views, of all faces together, over focal lengths, for both signs of yaw.

    `heads`: what the same detector sees in the same views of heads with exact landmarks; its own errors are taken away.
    Raises ValueError where nothing is solved.
    """
    mirrored = Rig(-views.azimuth_deg, views.elevation_deg)
    bias = None if heads is None else detector_bias(heads, views)
    curves, other = (_curves(observed, rig_, weights, bias) for rig_ in (views, mirrored))
    if not np.isfinite(curves).all(1).any():
        raise ValueError("cameras: expected detections that can be lifted, found none in enough views")
    focal, variance = _lowest(curves), _of_faces(curves)
    if heads is not None:
        variance += _of_heads(observed, views, weights, heads, focal)
    unbiased = _without(observed, bias)
    residual, taken = (residual_px(unbiased, views, weights, factor) for factor in (focal, 1.0))
    return CameraFit(focal, variance**0.5, residual, taken, residual_px(unbiased, mirrored, weights, _lowest(other)))


def residual_px(observed: Observations, views: Rig, weights: Float[np.ndarray, "views 98"], factor: float) -> float:
    """Mean over the solved landmarks of the root mean square distance between detections and projections, px at 256 px,
    by cameras of `factor` times the focal length."""
    K = with_focal(intrinsics(SIZE), factor)
    used = np.where(observed.found[..., None], weights, 0.0)[..., _FIXED]
    points = observed.points[..., _FIXED, :]
    found = triangulate(points, used, views.rotations, views.translations, K, config=SolverConfig())
    return float(found.residual_px[found.solved].mean()) if found.solved.any() else float("inf")


def _without(observed: Observations, bias: DetectorBias | None) -> Observations:
    return observed if bias is None else replace(observed, points=observed.points - bias.shift)


def _curves(
    observed: Observations, views: Rig, weights: Float[np.ndarray, "views 98"], bias: DetectorBias | None
) -> Float[np.ndarray, "b factors"]:
    """Robust disagreement of each face's views by cameras of each factor of _GRID; inf where nothing is solved."""
    points = _without(observed, bias).points
    used = np.where(observed.found[..., None] & np.isfinite(points).all(-1), weights, 0.0)
    used[..., [n for n in range(98) if n not in (_FIXED if bias is None else _OF_HEAD)]] = 0.0
    deviation = np.ones(points.shape[1:3]) if bias is None else np.nan_to_num(bias.spread, nan=1.0)
    covariances = np.broadcast_to((deviation**2)[..., None, None] * np.eye(2), (*points.shape, 2))
    cauchy = _CAUCHY_PX if bias is None else _CAUCHY
    curves = np.full((len(points), len(_GRID)), np.inf)
    for column, factor in enumerate(_GRID):
        K = with_focal(intrinsics(SIZE), float(factor))
        lifted = triangulate(
            points,
            used,
            views.rotations,
            views.translations,
            K,
            covariances=covariances,
            config=SolverConfig(cauchy=cauchy),
        )
        for face in np.flatnonzero(lifted.solved.any(1)):
            squared = ((points[face] - _seen(lifted.points[face], views, K)) ** 2).sum(-1) / deviation**2
            curves[face, column] = np.nansum(used[face] * cauchy**2 * np.log1p(squared / cauchy**2))
    return curves


def _lowest(curves: Float[np.ndarray, "b factors"]) -> float:
    """The factor of least disagreement of all faces that are solved everywhere, by a parabola about the grid's best."""
    total = curves[np.isfinite(curves).all(1)].sum(0)
    best = int(np.argmin(total))
    if not 0 < best < len(_GRID) - 1:
        return float(_GRID[best])
    before, here, after = total[best - 1 : best + 2]
    step = (before - after) / (before - 2 * here + after) / 2 if before + after > 2 * here else 0.0
    return float(_GRID[best] * (_GRID[1] / _GRID[0]) ** step)


def _of_faces(curves: Float[np.ndarray, "b factors"]) -> float:
    """Variance of the focal length by which faces were drawn, over resampled ones."""
    if len(curves) < 2:
        return float("nan")
    rng, count = np.random.default_rng(0), len(curves)
    return float(np.var([_lowest(curves[rng.integers(count, size=count)]) for _ in range(100)], ddof=1))


def _of_heads(
    observed: Observations, views: Rig, weights: Float[np.ndarray, "views 98"], heads: Observations, focal: float
) -> float:
    """The same by which heads were drawn: jackknife, a quarter of them left out at a time."""
    part, found = np.arange(len(heads.found)) % _FOLDS, []
    for fold in range(_FOLDS):
        kept = part != fold
        some = Observations(heads.points[kept], heads.confidence[kept], heads.found[kept], None, heads.truth[kept])
        found.append(_lowest(_curves(observed, views, weights, detector_bias(some, views))))
    return (_FOLDS - 1) / _FOLDS * float(np.square(np.array(found) - focal).sum())


def _heads(config: CheckConfig) -> ViewSource:
    textured = config.assets or os.environ.get("FACELIFT_ASSETS")
    return build_generator("morphable" if textured else "procedural", config.assets, config.data)


def check_generator(config: CheckConfig) -> Path:
    """Renders, detects, fits; tells and writes what was found. Returns the path of cameras.json."""
    from facelift.lifting.stage import competence_of

    views = rig(config.views)
    source = build_generator(
        config.generator, config.assets, config.data, truncation=config.truncation, focal=config.focal
    )
    eye = build_detector(config.detector)

    def seen(of: ViewSource, first: int, count: int) -> Observations:
        faces = (render_rig(of, seed, views, size=config.size) for seed in range(first, first + count))
        return stack([observe(eye, face, views) for face in faces])

    observed = seen(source, config.first_seed, config.faces)
    heads = seen(_heads(config), HEAD_SEED, config.heads) if config.heads else None
    fit = fit_cameras(observed, views, mask(views, config.mask, competence_of(config.detector)), heads)
    log.info(
        "focal length %.3f +- %.3f of %.4f widths; residual %.2f px there, %.2f px as it is taken, %.2f px with yaw "
        "the other way; face found in %.0f %% of views",
        fit.focal, fit.focal_error, FOCAL, fit.residual_px, fit.taken_px, fit.mirrored_px, 100 * observed.found.mean(),
    )  # fmt: skip
    if fit.yaw_sign < 0:
        log.warning("%s: yaw goes the other way than it is taken to: do not lift with these cameras", config.generator)
    path = config.out / "cameras.json"
    with written_whole(path) as partial:
        asked = {"generator": config.generator, "faces": config.faces, "heads": config.heads, "focal_set": config.focal}
        noted = {**asked, **asdict(fit), "yaw_sign": fit.yaw_sign}
        partial.write_text(json.dumps(noted, indent=2))
    return path
