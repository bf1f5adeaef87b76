"""Whether a generator's cameras are what they are taken for: the focal length and the sign of yaw under which its views
of one face agree best. A wrong focal length is nearly a wrong size of the face; only perspective within the face tells
them apart, so that the fit is as sharp as the detections are good, and says how sharp that is."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from facelift.atomic import written_whole
from facelift.detectors2d.factory import build_detector
from facelift.generators.stage import build_generator
from facelift.geometry import FOCAL, intrinsics
from facelift.landmarks import WFLW98
from facelift.lifting.masks import MaskConfig, mask
from facelift.lifting.observations import SIZE, Observations, observe, render_rig, stack
from facelift.lifting.rig import Rig, rig
from facelift.lifting.solver import SolverConfig, triangulate

log = logging.getLogger(__name__)
_FIXED = np.concatenate([WFLW98.regions[name] for name in ("brows", "nose", "eyes", "mouth")])
"""Landmarks that are one point of the head in all views; the jaw's follow the outline in some detectors."""
_RANGE = (0.6, 1.7)


@dataclass(frozen=True)
class CheckConfig:
    """Measure whether a generator's views agree, and under which focal length and sign of yaw they do best."""

    generator: str
    """File of an EG3D or PanoHead checkpoint, run folder of `facelift train-gan`, morphable or procedural."""
    out: Path
    """Folder for cameras.json."""
    detector: str = "small"
    """As in `facelift lift`."""
    faces: int = 8
    """How many faces."""
    first_seed: int = 0
    """Seed of the first."""
    views: int = 21
    """Views of the rig: 5, 9, 21 or 41."""
    size: int = 256
    """Side of the rendered pictures, px."""
    truncation: float = 0.7
    """Of a GAN."""
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
    """Its standard deviation over resampled faces."""
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


def fit_cameras(observed: Observations, views: Rig, weights: Float[np.ndarray, "views 98"]) -> CameraFit:
    """Least cross-view residual over focal lengths, for both signs of yaw. ValueError where nothing is solved."""

    def residuals(rig_: Rig, part: Observations) -> Callable[[float], float]:
        return lambda factor: residual_px(part, rig_, weights, factor)

    straight, other = residuals(views, observed), residuals(Rig(-views.azimuth_deg, views.elevation_deg), observed)
    focal, least = _minimum(straight)
    if not np.isfinite(least):
        raise ValueError("cameras: expected detections that can be lifted, found none in enough views")
    rng, count = np.random.default_rng(0), len(observed.found)
    resampled = []
    for _ in range(8 if count > 1 else 0):
        chosen = rng.integers(count, size=count)
        part = Observations(
            observed.points[chosen], observed.confidence[chosen], observed.found[chosen], None, observed.truth[chosen]
        )
        resampled.append(_minimum(residuals(views, part))[0])
    spread = float(np.std(resampled, ddof=1)) if resampled else float("nan")
    return CameraFit(focal, spread, least, straight(1.0), _minimum(other)[1])


def residual_px(observed: Observations, views: Rig, weights: Float[np.ndarray, "views 98"], factor: float) -> float:
    """Mean over the solved landmarks of the root mean square distance between detections and projections, px at 256 px,
    by cameras of `factor` times the focal length."""
    K = intrinsics(SIZE) * [[factor, 1, 1], [1, factor, 1], [1, 1, 1]]
    used = np.where(observed.found[..., None], weights, 0.0)[..., _FIXED]
    points = observed.points[..., _FIXED, :]
    found = triangulate(points, used, views.rotations, views.translations, K, config=SolverConfig())
    return float(found.residual_px[found.solved].mean()) if found.solved.any() else float("inf")


def _minimum(function: Callable[[float], float], steps: int = 24) -> tuple[float, float]:
    """(place, value) of the least value in _RANGE: a coarse grid, then golden sections about its best."""
    grid = np.geomspace(*_RANGE, 12)
    values = [function(float(place)) for place in grid]
    best = int(np.argmin(values))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
    ratio = (np.sqrt(5) - 1) / 2
    inner = [high - ratio * (high - low), low + ratio * (high - low)]
    seen = [function(place) for place in inner]
    for _ in range(steps):
        if high - low < 1e-4:
            break
        if seen[0] <= seen[1]:
            high, inner, seen = inner[1], [inner[1] - ratio * (inner[1] - low), inner[0]], [0.0, seen[0]]
            seen[0] = function(inner[0])
        else:
            low, inner, seen = inner[0], [inner[1], inner[0] + ratio * (high - inner[0])], [seen[1], 0.0]
            seen[1] = function(inner[1])
    return (inner[0], seen[0]) if seen[0] <= seen[1] else (inner[1], seen[1])


def check_generator(config: CheckConfig) -> Path:
    """Renders, detects, fits; tells and writes what was found. Returns the path of cameras.json."""
    from facelift.lifting.stage import competence_of

    views = rig(config.views)
    source = build_generator(config.generator, config.assets, config.data, truncation=config.truncation)
    eye = build_detector(config.detector)
    seeds = range(config.first_seed, config.first_seed + config.faces)
    observed = stack([observe(eye, render_rig(source, seed, views, size=config.size), views) for seed in seeds])
    fit = fit_cameras(observed, views, mask(views, config.mask, competence_of(config.detector)))
    log.info(
        "focal length %.3f +- %.3f of %.4f widths; residual %.2f px there, %.2f px as it is taken, %.2f px with yaw "
        "the other way; face found in %.0f %% of views",
        fit.focal, fit.focal_error, FOCAL, fit.residual_px, fit.taken_px, fit.mirrored_px, 100 * observed.found.mean(),
    )  # fmt: skip
    if fit.yaw_sign < 0:
        log.warning("%s: yaw goes the other way than it is taken to: do not lift with these cameras", config.generator)
    path = config.out / "cameras.json"
    with written_whole(path) as partial:
        noted = {"generator": config.generator, **asdict(fit), "yaw_sign": fit.yaw_sign, "faces": config.faces}
        partial.write_text(json.dumps(noted, indent=2))
    return path
