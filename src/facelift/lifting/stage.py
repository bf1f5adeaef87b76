"""`facelift lift`: renders every face from the rig, detects, lifts, and writes shards of 3D pseudo-labels."""

import hashlib
import importlib.metadata
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np

from facelift.atomic import claim_folder
from facelift.detectors2d.factory import build_detector
from facelift.detectors2d.protocol import Detector2D
from facelift.generators.protocol import HEADS
from facelift.generators.stage import HEAD_KINDS, build_generator
from facelift.lifting.gate import judge, save_judgement, write_gate
from facelift.lifting.identity import IdentityDrift
from facelift.lifting.masks import MEDIAPIPE_COMPETENCE, NETWORK_COMPETENCE, Competence, MaskConfig
from facelift.lifting.observations import (
    Observations,
    ViewSource,
    load_observations,
    observe,
    save_observations,
    solve,
    stack,
)
from facelift.lifting.quality import QualityConfig, accepted, face_residual_px
from facelift.lifting.report import score_settings, settings, write_report
from facelift.lifting.rig import Rig, rig
from facelift.lifting.shards import load_shard, make_shard, save_shard, shard_path
from facelift.lifting.solver import SolverConfig
from facelift.onnx_lifter import weights_path
from facelift.sources import exported_sources, listed, scene_sources, unrecorded

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiftConfig:
    """Lift 2D landmarks of generated faces to 3D pseudo-labels."""

    out: Path
    """Folder of the shards. A stopped run goes on where it was."""
    detector: str = "mediapipe"
    """2D detector: mediapipe, small (the lifter that comes with the package), or the path of an exported detector or
    lifter."""
    generator: str = "morphable"
    """morphable: the textured head in --assets; procedural: the small head built by code; or a 3D-aware GAN: the file
    of an EG3D or PanoHead checkpoint, or a run folder of `facelift train-gan`."""
    truncation: float = 0.7
    """How far a GAN's faces are from its mean one, 0..1."""
    assets: Path | None = None
    """Folder of the textured head; FACELIFT_ASSETS if not given."""
    data: Path | None = None
    """Folder of backgrounds and light probes; FACELIFT_DATA if not given, plain scenes without either."""
    photos: bool = True
    """Photos behind the heads; --no-photos for procedural scenes alone."""
    faces: int = 1000
    """How many faces."""
    first_seed: int = 0
    """Seed of the first face; the others follow."""
    views: int = 41
    """Views of the rig: 5, 9, 21 or 41."""
    size: int = 256
    """Side of the rendered pictures, px."""
    second_look: bool = True
    """Detect twice: in the box of the mean head, then in the one that the first lifting gives."""
    shard_faces: int = 64
    """Faces of a shard, the most that a kill can cost."""
    workers: int = 2
    """Processes that render and detect."""
    mask: MaskConfig = field(default_factory=MaskConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    report: bool = False
    """Write no shards, but the error against exact landmarks under all masks and rigs: OUT/report.md, .json."""

    def __post_init__(self) -> None:
        for name in ("faces", "size", "shard_faces", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, found {getattr(self, name)}")
        if self.first_seed < 0:
            raise ValueError(f"first_seed: expected 0 or more, found {self.first_seed}")


def lift(config: LiftConfig, *, generator: ViewSource | None = None, detector: Detector2D | None = None) -> Path:
    """Writes the shards that are missing; returns the folder.

    `generator` and `detector` stand in for the ones that `config` names; with several workers they must pickle. Raises
    ValueError if the folder holds shards of other settings. With `config.report`, see `lifting_report`.
    """
    if config.report:
        return lifting_report(config, generator=generator, detector=detector)
    views = rig(config.views)
    claim_folder(config.out / "lift.json", *_describe(config, views, generator, detector))
    shards = [
        (shard_path(config.out, index), range(start, min(start + config.shard_faces, _end(config))))
        for index, start in enumerate(range(config.first_seed, _end(config), config.shard_faces))
    ]
    missing = [(path, seeds) for path, seeds in shards if not _complete(path, seeds)]
    log.info("%s: %d of %d shards to do", config.out, len(missing), len(shards))
    if not missing:
        return config.out
    seeds = [seed for _, part in missing for seed in part]
    with observing(config, views, generator=generator, detector=detector) as observe_all, _bar(len(seeds)) as bar:
        observed = observe_all(seeds)
        count = 0
        for path, part in missing:
            faces = []
            for _ in part:
                faces.append(next(observed))
                bar.advance({"accepted": count})
            count += _finish_shard(config, path, np.array(part), stack(faces), views)
    log.info("%s: %d of %d new faces accepted", config.out, count, len(seeds))
    if config.generator not in HEAD_KINDS:
        write_gate(config.out, config.quality)
    return config.out


def lifting_report(
    config: LiftConfig, *, generator: ViewSource | None = None, detector: Detector2D | None = None
) -> Path:
    """Writes the error against exact landmarks, report.json and report.md in `config.out`; returns the latter's path.

    The detections of each view are made once, kept in observations.npz, and lifted again in every setting.
    """
    views = rig(config.views)
    described, about = _describe(config, views, generator, detector)
    solving = ("mask", "solver", "quality", "competence", "shard_faces")
    made_by = {**{key: value for key, value in described.items() if key not in solving}, "faces": config.faces}
    cache = config.out / "observations.npz"
    observed = load_observations(cache, made_by)
    if observed is None:
        seeds = range(config.first_seed, _end(config))
        with observing(config, views, generator=generator, detector=detector) as observe_all, _bar(len(seeds)) as bar:
            faces = []
            for face in observe_all(seeds):
                faces.append(face)
                bar.advance({"found": float(face.found.mean())})
        observed = stack(faces)
        save_observations(observed, cache, made_by)
    compared = settings(config.mask, competence_of(config.detector), config.solver, views=config.views)
    scores = score_settings(observed, views, compared, config.quality)
    shown = {key: described[key] for key in ("generator", "detector", "first_seed", "size")}
    found = {"views in which a face was found": f"{100 * observed.found.mean():.1f} %"}
    return write_report(config.out, scores, {**shown, "faces": config.faces, **found, "versions": about["versions"]})


def competence_of(detector: str) -> Competence:
    """The limits of a detector by its name in `LiftConfig`."""
    return MEDIAPIPE_COMPETENCE if detector == "mediapipe" else NETWORK_COMPETENCE


@contextmanager
def observing(
    config: LiftConfig, views: Rig, *, generator: ViewSource | None = None, detector: Detector2D | None = None
) -> Iterator[Callable[[Sequence[int]], Iterator[Observations]]]:
    """A function from seeds to their observations, in order, over `config.workers` processes."""
    if config.workers == 1:
        look = _look(config, views, generator, detector)
        yield lambda seeds: map(look, seeds)
        return
    pool = ProcessPoolExecutor(
        config.workers,
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(config, views, generator, detector),
    )
    try:
        yield lambda seeds: _in_order(pool, seeds, ahead=2 * config.workers)
    finally:
        pool.shutdown(cancel_futures=True)


def _end(config: LiftConfig) -> int:
    return config.first_seed + config.faces


def _bar(faces: int) -> Any:
    from facelift.training.progress import Progress

    return Progress(faces, 0, 1)


def _complete(path: Path, seeds: range) -> bool:
    """A shard of fewer faces, the last of a shorter run, counts as missing."""
    return path.exists() and np.array_equal(load_shard(path).seed, np.array(seeds))


def _finish_shard(config: LiftConfig, path: Path, seeds: np.ndarray, observed: Observations, views: Rig) -> int:
    """Solves, judges, writes; the number of accepted faces."""
    lifted = solve(observed, views, config.mask, competence_of(config.detector), config.solver)
    good = accepted(lifted, observed.found, config.quality)
    if config.generator not in HEAD_KINDS:
        found = judge(seeds, lifted, observed, config.quality)
        good = found.accepted
        save_judgement(found, path)
    save_shard(make_shard(seeds, lifted, good, observed.truth), path)
    residual = face_residual_px(lifted)
    median = np.median(residual[np.isfinite(residual)]) if np.isfinite(residual).any() else np.nan
    log.info(
        "%s: %d accepted, %d rejected; face found in %.0f %% of views; median residual %.2f px",
        path.name, good.sum(), (~good).sum(), 100 * observed.found.mean(), median,
    )  # fmt: skip
    return int(good.sum())


def _in_order(pool: ProcessPoolExecutor, seeds: Sequence[int], *, ahead: int) -> Iterator[Observations]:
    """Results in the order of `seeds`, at most `ahead` of them under way: memory does not grow with the run."""
    waiting: deque[Future[Observations]] = deque()
    for seed in seeds:
        waiting.append(pool.submit(_work, seed))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


_WORKER: dict[str, Any] = {}
"""In a worker process: the arguments of `_look`, and what it made of them."""


def _start_worker(*arguments: Any) -> None:
    os.environ["NUMBA_NUM_THREADS"] = "1"
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _WORKER["arguments"] = arguments


def _exit_with_parent() -> None:
    """A killed parent cannot end its workers: they watch it."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(seed: int) -> Observations:
    if "look" not in _WORKER:  # here and not at the start, where an error would not reach the parent
        _WORKER["look"] = _look(*_WORKER["arguments"])
    return _WORKER["look"](seed)


def _look(
    config: LiftConfig, views: Rig, generator: ViewSource | None, detector: Detector2D | None
) -> Callable[[int], Observations]:
    source = generator or build_generator(
        config.generator, config.assets, config.data, photos=config.photos, truncation=config.truncation
    )
    eye = detector or build_detector(config.detector)
    identity = None if config.generator in HEAD_KINDS else IdentityDrift()
    return lambda seed: observe(
        source, eye, seed, views, size=config.size, second_look=config.second_look, identity=identity
    )


def _describe(
    config: LiftConfig, views: Rig, generator: ViewSource | None, detector: Detector2D | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what must be equal for a run to go on, what is good to know)."""
    fixed = {
        "generator": generator.name if generator else config.generator,
        "heads": HEADS,
        "backgrounds": config.photos and bool(config.data or os.environ.get("FACELIFT_DATA")),
        "detector": type(detector).__name__ if detector else _identity(config.detector),
        "rig_deg": np.stack([views.azimuth_deg, views.elevation_deg], -1).tolist(),
        "competence": asdict(competence_of(config.detector)),
        **{name: asdict(getattr(config, name)) for name in ("mask", "solver", "quality")},
        **{name: getattr(config, name) for name in ("first_seed", "size", "second_look", "shard_faces")},
    }
    if config.generator in HEAD_KINDS:
        del fixed["quality"]["max_drift"]  # it judges faces of GANs alone
    else:
        fixed |= {"generator": _identity_of_gan(config.generator), "truncation": config.truncation}
    packages = ("facelift", "numpy", "numba", "mediapipe", "onnxruntime")
    scene = scene_sources(config.generator, config.data, photos=config.photos)
    sources = [unrecorded(Path(generator.name))] if generator else scene
    sources += [unrecorded(Path(type(detector).__name__))] if detector else exported_sources(config.detector)
    versions = {name: _version(name) for name in packages}
    return fixed, {"format": 1, "faces": config.faces, "sources": listed(sources), "versions": versions}


def _identity(detector: str) -> str:
    """Its name, and for a file a digest of what is in it."""
    path = weights_path(detector)
    if not path.is_file():
        return detector
    return f"{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def _identity_of_gan(path: str) -> str:
    """Name and digest of the weights: those of a run that trained on are others."""
    file = Path(path) / "checkpoint.pt" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{path}: expected a checkpoint or a run folder of `facelift train-gan`, found none")
    with file.open("rb") as opened:
        return f"{Path(path).name} sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()[:16]}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"
