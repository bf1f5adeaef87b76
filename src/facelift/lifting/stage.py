"""`facelift lift`: renders every face from the rig, detects, lifts, and writes shards of 3D pseudo-labels."""

import hashlib
import importlib.metadata
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from facelift.detectors2d.factory import build_detector
from facelift.detectors2d.protocol import Detector2D
from facelift.generators.protocol import HEADS
from facelift.generators.stage import HEAD_KINDS, build_generator
from facelift.landmarks import WFLW98
from facelift.lifting.gate import judge, succeeded, write_gate
from facelift.lifting.identity import IdentityDrift
from facelift.lifting.masks import MEDIAPIPE_COMPETENCE, NETWORK_COMPETENCE, Competence, MaskConfig
from facelift.lifting.observations import (
    ViewSource,
    load_observations,
    observe,
    render_rig,
    save_observations,
    solve,
    stack,
    unobserved,
)
from facelift.lifting.quality import QualityConfig, accepted, face_residual_px
from facelift.lifting.report import score_settings, settings, write_report
from facelift.lifting.rig import Rig, rig
from facelift.lifting.shards import make_shard, shard_bytes, shard_name, stored_shard
from facelift.lifting.solver import SolverConfig
from facelift.onnx_models.lifter import weights_path
from facelift.scale.dashboard import Dashboard
from facelift.scale.engine import Engine, EngineName, RayConfig
from facelift.scale.folder import ShardFolder
from facelift.scale.stages import Function, Passage, Stage
from facelift.scale.store import Place, local_path, shown
from facelift.sources import (
    exported_sources,
    generator_identity,
    listed,
    scene_files,
    scene_sources,
    unrecorded,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiftConfig:
    """Lift 2D landmarks of generated faces to 3D pseudo-labels."""

    out: Place
    """Folder of the shards, or its URL in an object store. A stopped run goes on where it was."""
    detector: str = "mediapipe"
    """2D detector: mediapipe, small (the lifter that comes with the package), or the path of an exported detector or
    lifter."""
    generator: str = "morphable"
    """morphable: the textured head in --assets; procedural: the small head built by code; or a 3D-aware GAN: the file
    of an EG3D or PanoHead checkpoint, or a run folder of `facelift train-gan`."""
    truncation: float = 0.7
    """How far a GAN's faces are from its mean one, 0..1."""
    focal: float = 1.0
    """Factor of a GAN's focal length, by `facelift check-generator`."""
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
    engine: EngineName = "local"
    """local: processes on this machine; ray: actors on a Ray cluster."""
    workers: int = 0
    """Processes or actors that render and detect; 0 for one a core."""
    ray: RayConfig = field(default_factory=RayConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    report: bool = False
    """Write no shards, but the error against exact landmarks under all masks and rigs: OUT/report.md, .json."""

    def __post_init__(self) -> None:
        for name in ("faces", "size", "shard_faces"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, found {getattr(self, name)}")
        if self.first_seed < 0:
            raise ValueError(f"first_seed: expected 0 or more, found {self.first_seed}")


def lift(config: LiftConfig, *, generator: ViewSource | None = None, detector: Detector2D | None = None) -> Place:
    """Writes the shards that are missing; returns the folder.

    `generator` and `detector` stand in for the ones that `config` names; with several workers they must pickle. A face
    that cannot be rendered or looked at is named, counted and stored as rejected; where the reason may pass (memory, a
    disk, a worker that died), the next run makes its shard anew. Raises ValueError if the folder holds
    shards of other settings, or another run is at work in it. With `config.report`, see `lifting_report`.
    """
    if config.report:
        return lifting_report(config, generator=generator, detector=detector)
    views = rig(config.views)
    folder = lift_folder(config.out)
    with folder.run(*_describe(config, views, generator, detector)):
        plan = [(name, seeds) for name, seeds in _shards(config) if not _complete(folder, name, seeds)]
        seeds = [seed for _, part in plan for seed in part]
        log.info("%s: %d of %d shards to do", config.out, len(plan), len(_shards(config)))
        with _observing(config, seeds, views, generator, detector) as (passages, board):
            for name, part in plan:
                faces = [next(passages) for _ in part]
                _finish_shard(folder, name, np.array(part), faces, config, views, board)
        if config.generator not in HEAD_KINDS and folder.entries:
            write_gate(config.out, config.quality)
    folder.raise_unwritten()
    return shown(config.out)


def lifting_report(
    config: LiftConfig, *, generator: ViewSource | None = None, detector: Detector2D | None = None
) -> Path:
    """Writes the error against exact landmarks, report.json and report.md in `config.out`; returns the latter's path.

    The detections of each view are made once, kept in observations.npz, and lifted again in every setting. Raises
    ValueError for a folder in an object store.
    """
    out = local_path(config.out)
    if out is None:
        raise ValueError(f"{config.out}: expected a folder on a disk for --report, found a URL")
    views = rig(config.views)
    described, about = _describe(config, views, generator, detector)
    solving = ("mask", "solver", "quality", "competence", "shard_faces")
    made_by = {**{key: value for key, value in described.items() if key not in solving}, "faces": config.faces}
    cache = out / "observations.npz"
    observed = load_observations(cache, made_by)
    if observed is None:
        seeds = range(config.first_seed, _end(config))
        with _observing(config, seeds, views, generator, detector) as (passages, _):
            faces = list(passages)
        if any(face.error for face in faces):
            raise ValueError(f"report: expected to look at every face, found {next(f.error for f in faces if f.error)}")
        observed = stack([face.value for face in faces])
        save_observations(observed, cache, made_by)
    compared = settings(config.mask, competence_of(config.detector), config.solver, views=config.views)
    scores = score_settings(observed, views, compared, config.quality)
    shown = {key: described[key] for key in ("generator", "detector", "first_seed", "size")}
    found = {"views in which a face was found": f"{100 * observed.found.mean():.1f} %"}
    return write_report(out, scores, {**shown, "faces": config.faces, **found, "versions": about["versions"]})


def competence_of(detector: str) -> Competence:
    """The limits of a detector by its name in `LiftConfig`."""
    return MEDIAPIPE_COMPETENCE if detector == "mediapipe" else NETWORK_COMPETENCE


def lift_folder(place: Place) -> ShardFolder:
    """The folder of shards lift-*.npz."""
    return ShardFolder(place, "lift", (".npz",), lambda store, name: _samples(stored_shard(store, name).again))


def _samples(again: np.ndarray) -> int:
    """Of a shard in the index: none where a face is to be made again, so that no run takes the shard for complete."""
    return 0 if again.any() else len(again)


@contextmanager
def _observing(
    config: LiftConfig,
    seeds: Sequence[int],
    views: Rig,
    generator: ViewSource | None,
    detector: Detector2D | None,
) -> Iterator[tuple[Iterator[Passage], Dashboard]]:
    """The observations of these faces, in order, made by the engine's workers; and the dashboard that counts them."""
    stages = [
        Stage("render", partial(_load_renderer, config, views, generator), gpu=config.generator not in HEAD_KINDS),
        Stage("detect", partial(_load_detector, config, views, detector), gpu=True),
    ]
    engine = Engine(config.engine, config.workers, config.ray)
    board = Dashboard("faces", len(seeds), engine.count(len(seeds)), ("render", "detect"), here=("lift", "write"))
    with closing(engine.run(stages, list(seeds))) as passages, board:
        yield board.watch(passages), board


def _load_renderer(config: LiftConfig, views: Rig, generator: ViewSource | None) -> Function:
    source = generator or build_generator(
        config.generator,
        config.assets,
        config.data,
        photos=config.photos,
        truncation=config.truncation,
        focal=config.focal,
    )
    return lambda seed, _clock: render_rig(source, seed, views, size=config.size)


def _load_detector(config: LiftConfig, views: Rig, detector: Detector2D | None) -> Function:
    eye = detector or build_detector(config.detector)
    if eye.scheme.name != WFLW98.name:
        raise ValueError(f"lifting expects a detector of {WFLW98.name}, found one of {eye.scheme.name}")
    identity = None if config.generator in HEAD_KINDS else IdentityDrift()
    return lambda seen, _clock: observe(eye, seen, views, second_look=config.second_look, identity=identity)


def _end(config: LiftConfig) -> int:
    return config.first_seed + config.faces


def _shards(config: LiftConfig) -> list[tuple[str, range]]:
    """Name and seeds of each."""
    starts = range(config.first_seed, _end(config), config.shard_faces)
    return [(shard_name(i), range(s, min(s + config.shard_faces, _end(config)))) for i, s in enumerate(starts)]


def _complete(folder: ShardFolder, name: str, seeds: range) -> bool:
    """A shard of fewer faces counts as missing, the last of a shorter run or one with faces to be made again; so does
    one of more, of a longer run."""
    return name in folder.entries and folder.entries[name].samples == len(seeds)


def _finish_shard(
    folder: ShardFolder,
    name: str,
    seeds: np.ndarray,
    faces: list[Passage],
    config: LiftConfig,
    views: Rig,
    board: Dashboard,
) -> None:
    """Solves, judges, writes. A shard of which every face has failed is not written: that is no fault of the faces."""
    if all(face.error for face in faces):
        folder.refuse(name, faces[0].error)
        return
    with board.time("lift"):
        observed = stack([face.value or unobserved(len(views)) for face in faces])
        lifted = solve(observed, views, config.mask, competence_of(config.detector), config.solver)
        good = accepted(lifted, observed.found, config.quality)
        if config.generator not in HEAD_KINDS:
            good = judge(lifted, observed, config.quality)
        again = np.array([face.again for face in faces])
        measured = {"detected": succeeded(observed).mean(-1), "drift": observed.drift, "again": again}
        shard = make_shard(seeds, lifted, good, observed.truth, **measured)
    with board.time("write"):
        folder.write(name, shard_bytes(shard), _samples(again))
    board.counts.update(accepted=int(good.sum()), rejected=int((~good).sum()))
    residual = face_residual_px(lifted)
    median = np.median(residual[np.isfinite(residual)]) if np.isfinite(residual).any() else np.nan
    found = f"face found in {100 * observed.found.mean():.0f} % of views"
    counts = f"{good.sum()} accepted, {(~good).sum()} rejected"
    board.say(f"{name}: {counts}; {found}; median residual {median:.2f} px")


def _describe(
    config: LiftConfig, views: Rig, generator: ViewSource | None, detector: Detector2D | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what must be equal for a run to go on, what is good to know)."""
    fixed = {
        "generator": generator.name if generator else config.generator,
        "heads": HEADS,
        "scene_files": scene_files(config.data, photos=config.photos),
        "detector": type(detector).__name__ if detector else _identity(config.detector),
        "rig_deg": np.stack([views.azimuth_deg, views.elevation_deg], -1).tolist(),
        "competence": asdict(competence_of(config.detector)),
        **{name: asdict(getattr(config, name)) for name in ("mask", "solver", "quality")},
        **{name: getattr(config, name) for name in ("first_seed", "size", "second_look", "shard_faces")},
    }
    if config.generator in HEAD_KINDS:
        del fixed["quality"]["max_drift"]  # it judges faces of GANs alone
    else:
        fixed |= {"generator": generator_identity(config.generator)}
        fixed |= {"truncation": config.truncation, "focal": config.focal}
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


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"
