"""Cache of rendered views with their cameras and lifted 3D pseudo-labels: written once, read by every training."""

import json
import logging
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int8, UInt8

from facelift.archives import read_npz
from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED, VISIBLE
from facelift.datasets.view_shards import (
    EncodedView,
    RenderedFace,
    load_shard,
    shard_bytes,
    shard_name,
    shard_paths,
    stored_seeds,
)
from facelift.generators.protocol import HEAD_KINDS, HEADS, Generator
from facelift.geometry import CameraSpace, look_at_rotation, sphere_translation
from facelift.landmarks import normals
from facelift.lifting.shards import shard_names as lifted
from facelift.scale.dashboard import Dashboard
from facelift.scale.engine import Engine, EngineName, RayConfig
from facelift.scale.folder import ShardFolder
from facelift.scale.stages import Function, Passage, Stage
from facelift.scale.store import Place, Store, fetched, shown
from facelift.sources import PHOTOS, generator_identity, listed, noted_sources, scene_files, scene_sources

log = logging.getLogger(__name__)

Labels3D = Literal["lifted", "exact"]

if TYPE_CHECKING:
    from facelift.generators.morphable import MorphableGenerator


@dataclass(frozen=True)
class ViewsConfig:
    """Render random views from camera space C of lifted faces, for training."""

    out: Place
    """Folder of the cache, or its URL in an object store. A stopped run goes on where it was."""
    lift: Place | None = None
    """Folder of lifted pseudo-labels, by `facelift lift`, or its URL."""
    faces: int | None = None
    """Instead of --lift: so many faces with exact landmarks alone."""
    first_seed: int = 0
    """With --faces: seed of the first one; the others follow."""
    shard_faces: int = 64
    """With --faces: faces of a shard."""
    generator: str = "morphable"
    """What the pseudo-labels were lifted from: the textured head in --assets, or the small head built by code
    (procedural), or the path of a 3D-aware GAN."""
    truncation: float = 0.7
    """Of a GAN, as it was for --lift."""
    focal: float = 1.0
    """Factor of a GAN's focal length, by `facelift check-generator`, as it was for --lift."""
    assets: Path | None = None
    """Folder of the textured head; FACELIFT_ASSETS if not given."""
    data: Path | None = None
    """Photos without faces and light probes for the scene; FACELIFT_DATA if not given."""
    photos: bool = True
    """Photos behind the heads; --no-photos for procedural scenes alone."""
    views: int = 24
    """Views of each face."""
    size: int = 128
    """Picture side, px."""
    quality: int = 92
    """JPEG quality of the cached pictures."""
    space: CameraSpace = field(default_factory=CameraSpace)
    """Where the cameras are: the camera space C, or a smaller one for a network's first steps."""
    sphere: bool = False
    """Cameras on the sphere, as those of a 3D-aware GAN: of the space azimuth and elevation alone."""
    occluders: bool = True
    """Hair over brows and eyes, glasses, masks, hands, caps; --no-occluders for bare faces."""
    scene: int | None = None
    """Seed of one scene behind all faces; by default each view has its own."""
    engine: EngineName = "local"
    """local: processes on this machine; ray: actors on a Ray cluster."""
    workers: int = 0
    """Processes or actors that render; 0 for one a core."""
    ray: RayConfig = field(default_factory=RayConfig)

    def __post_init__(self) -> None:
        if (self.lift is None) == (self.faces is None):
            raise ValueError(
                f"views: expected either --lift or --faces, found {'neither' if self.lift is None else 'both'}"
            )
        for name in ("faces", "shard_faces", "views"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')}: expected at least 1, found {getattr(self, name)}")


@dataclass(frozen=True)
class RenderedView:
    """One cached view."""

    image: UInt8[np.ndarray, "s s 3"]
    landmarks: Float[np.ndarray, "98 3"]
    """Canonical; lifted ones are NaN where there is none (pupils, failed points)."""
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]
    visible: Bool[np.ndarray, "98"]
    """Whether a landmark is seen, by the generator's depth test."""
    covered: Bool[np.ndarray, "98"]
    """Whether it faces the camera, but behind hair, glasses, a hand or the like."""

    def state(self) -> Int8[np.ndarray, "98"]:
        """Visibility states by what the renderer saw; one that the mean head turns away is hidden by the head."""
        facing = -(normals() @ self.rotation[2]) > 0
        return np.select([facing & self.visible, self.covered], [VISIBLE, OCCLUDED], SELF_OCCLUDED).astype(np.int8)


class ViewCache:
    """All shards of a cache folder. Its tables are in memory; a picture is read from its shard when it is asked for,
    through a memory map that all processes of a machine share.

    `labels`: which landmarks `landmarks` and the views hold, the lifted ones or the generator's. Raises ValueError for
    a cache without them: one rendered without lifting, or before the exact ones were kept.
    """

    def __init__(self, root: Place, *, labels: Labels3D = "lifted"):
        shards = [load_shard(path) for path in shard_paths(root)]
        self.rotation, self.translation, self.face, self.visible, self.covered = (
            np.concatenate([getattr(shard, name) for shard in shards])
            for name in ("rotation", "translation", "face", "visible", "covered")
        )
        lifted, exact = (np.concatenate([getattr(shard, name) for shard in shards]) for name in ("landmarks", "exact"))
        self.exact = exact if np.isfinite(exact).any() else None
        """Exact canonical landmarks (n, 98, 3), NaN where unknown; None in a cache without them."""
        self.seeds = np.concatenate([shard.seed for shard in shards])
        if not len(self.face):
            raise ValueError(f"{root}: expected rendered views, found shards without any: no face was accepted")
        self._files = [shard.jpeg for shard in shards]
        self._place = np.concatenate([np.stack([shard.start, shard.stop], -1) for shard in shards])
        counts = [len(shard.face) for shard in shards]
        self.shard = np.repeat(np.arange(len(shards)), counts)
        """Which shard each view lies in."""
        self.landmarks = self._landmarks(root, lifted, labels)
        self.size = len(self[0].image)
        """Side of the pictures, px."""
        self.face = self.face + np.repeat(np.cumsum([0] + [len(shard.seed) for shard in shards[:-1]]), counts)

    def _landmarks(self, root: Place, lifted: np.ndarray, labels: Labels3D) -> np.ndarray:
        if labels == "exact" and self.exact is None:
            raise ValueError(f"{root}: expected exact landmarks, found a cache without; render it anew: facelift views")
        if labels == "lifted" and not np.isfinite(lifted).any():
            raise ValueError(f"{root}: expected lifted landmarks, found exact ones alone (--labels-3d exact)")
        return self.exact if labels == "exact" and self.exact is not None else lifted

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, index: int) -> RenderedView:
        start, stop = self._place[index]
        image = cv2.imdecode(self._files[self.shard[index]][start:stop], cv2.IMREAD_COLOR_RGB)
        assert image is not None  # written by build_views
        seen = (self.visible[index], self.covered[index])
        return RenderedView(
            image, self.landmarks[self.face[index]], self.rotation[index], self.translation[index], *seen
        )


def build_views(config: ViewsConfig) -> Place:
    """Renders what is missing of the cache, a shard for each shard of pseudo-labels; returns the folder.

    A face that cannot be rendered is named, counted and left out; where the reason may pass (memory, a disk, a worker
    that died), the next run makes its shard anew.
    """
    plan = _plan(config)
    folder = views_folder(config.out)
    with folder.run(*_describe(config)):
        missing = [part for part in plan if not _complete(folder, part)]
        faces = [face for _, part in missing for face in part]
        log.info("%s: %d of %d shards to do", config.out, len(missing), len(plan))
        engine = Engine(config.engine, config.workers, config.ray)
        board = Dashboard("faces", len(faces), engine.count(len(faces)), ("render",), here=("write",))
        stage = Stage("render", partial(_load_renderer, config), gpu=config.generator not in HEAD_KINDS)
        with closing(engine.run([stage], faces)) as passages, board:
            watched = board.watch(passages)
            for name, part in missing:
                _write(folder, name, part, [next(watched) for _ in part], board)
    folder.raise_unwritten()
    return shown(config.out)


def views_folder(place: Place) -> ShardFolder:
    """The folder of shards views-*.tar; those of older versions are .npz."""
    return ShardFolder(place, "views", (".tar", ".npz"), lambda store, name: len(load_shard(store.on_disk(name)).face))


def generator_of(views: Place, assets: Path | None, data: Path | None) -> "MorphableGenerator":
    """The generator that a cache was rendered by.

    Raises FileNotFoundError for a folder that does not say, ValueError where its seeds are other heads by now.
    """
    from facelift.generators.stage import head_generator

    settings = views_settings(views)
    if settings.get("heads", 1) != HEADS:
        found = settings.get("heads", 1)
        raise ValueError(f"{views}: expected heads of version {HEADS}, found {found}: render the cache anew")
    photos = PHOTOS in settings["scene_files"] if "scene_files" in settings else settings.get("backgrounds", True)
    worn = settings.get("occluders", True)
    return head_generator(settings["generator"], assets, data, occluders=worn, photos=photos)


def views_settings(views: Place) -> dict[str, Any]:
    """What a cache was rendered with. Raises FileNotFoundError for a folder that does not say."""
    store = Store(views)
    if not store.exists("views.json"):
        expected = "the settings of a cache by `facelift views`"
        raise FileNotFoundError(f"{store.path('views.json')}: expected {expected}, found no file")
    return json.loads(store.read("views.json"))["settings"]


@dataclass(frozen=True)
class _Face:
    """A face to render."""

    seed: int
    lifted: Float32[np.ndarray, "98 3"]
    """NaN where it was not lifted."""


def _plan(config: ViewsConfig) -> list[tuple[str, list[_Face]]]:
    """Name and faces of each shard."""
    if config.faces is not None:
        seeds = range(config.first_seed, config.first_seed + config.faces)
        parts = [seeds[first : first + config.shard_faces] for first in range(0, config.faces, config.shard_faces)]
        nowhere = np.full((98, 3), np.nan, np.float32)
        return [(shard_name(index), [_Face(seed, nowhere) for seed in part]) for index, part in enumerate(parts)]
    assert config.lift is not None  # checked by the config
    store = Store(config.lift)
    return [(name.replace("lift-", "views-").replace(".npz", ".tar"), _accepted(store, name)) for name in lifted(store)]


def _accepted(store: Store, name: str) -> list[_Face]:
    """The accepted faces of a shard of pseudo-labels."""
    with fetched(store.path(name)) as path:
        shard = read_npz(path, "a shard of `facelift lift`", ("seed", "points", "accepted"))
    chosen = np.flatnonzero(shard["accepted"])
    return [_Face(int(shard["seed"][row]), shard["points"][row].astype(np.float32)) for row in chosen]


def _complete(folder: ShardFolder, part: tuple[str, list[_Face]]) -> bool:
    """Whether the views of these very pseudo-labels are there; a shard lifted anew, or grown, is rendered anew."""
    name, faces = part
    if name not in folder.entries:
        return False
    path = folder.store.on_disk(name)
    try:
        if stored_seeds(path) != [face.seed for face in faces]:
            return False
        there, now = load_shard(path), {face.seed: face.lifted for face in faces}
    except ValueError as error:  # of the size that the index has, but damaged
        folder.drop(name, error)
        return False
    return all(
        np.array_equal(points, now[int(seed)], equal_nan=True)
        for seed, points in zip(there.seed, there.landmarks, strict=True)
    )


def _describe(config: ViewsConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what must be equal for a run to go on, what is good to know). Raises ValueError where the faces are not the
    generator's."""
    lift, generator = Store(config.lift) if config.lift else None, generator_identity(config.generator)
    note = json.loads(lift.read("lift.json")) if lift and lift.exists("lift.json") else None
    if lift and note:
        made_by, where = note["settings"], lift.path("lift.json")
        if made_by["generator"] != generator:
            found = made_by["generator"]
            raise ValueError(f"{where}: expected faces of the generator {generator!r}, found {found!r}")
        for name, own in {"truncation": config.truncation, "focal": config.focal}.items():
            if made_by.get(name, own) != own:
                raise ValueError(f"{where}: expected faces of --{name} {own:g}, found {made_by[name]:g}")
        if made_by.get("heads", 1) != HEADS:
            found = made_by.get("heads", 1)
            raise ValueError(f"{where}: expected heads of version {HEADS}, found {found}: lift these seeds anew")
    settings = {"generator": generator, **{key: getattr(config, key) for key in ("views", "size", "quality")}}
    if config.faces is not None:
        settings |= {"first_seed": config.first_seed, "shard_faces": config.shard_faces}
    settings |= {"space": asdict(config.space), "heads": HEADS}
    settings |= {"scene_files": scene_files(config.data, photos=config.photos)}
    chosen = {"sphere": config.sphere, "occluders": config.occluders, "scene": config.scene}
    usual: dict[str, Any] = {"sphere": False, "occluders": True, "scene": None}
    settings |= {key: value for key, value in chosen.items() if value != usual[key]}
    if config.generator not in HEAD_KINDS:
        settings |= {"truncation": config.truncation, "focal": config.focal}
    sources = scene_sources(config.generator, config.data, photos=config.photos)
    if lift:
        sources += noted_sources(lift.on_disk("lift.json") if note else Path("lift.json"))
    return settings, {"format": 2, "sources": listed(sources)}


def _load_renderer(config: ViewsConfig) -> Function:
    from facelift.generators.stage import build_generator

    generator = build_generator(
        config.generator,
        config.assets,
        config.data,
        occluders=config.occluders,
        photos=config.photos,
        truncation=config.truncation,
        focal=config.focal,
    )
    return lambda face, _clock: _render(generator, config, face)


def _render(generator: Generator, config: ViewsConfig, face: _Face) -> RenderedFace:
    """All views of a face, from cameras that its landmarks fit into."""
    known = generator.landmarks(face.seed)
    exact = np.full((98, 3), np.nan) if known is None else known
    posed = exact if config.lift is None else face.lifted.astype(float)
    rng = np.random.default_rng([face.seed, 7])
    cameras = [_camera(config, rng, posed) for _ in range(config.views)]
    backgrounds = rng.integers(0, 2**31, config.views)
    if config.scene is not None:
        backgrounds[:] = config.scene
    views = []
    for (rotation, translation), background in zip(cameras, backgrounds, strict=True):
        pose = (rotation[None], translation[None])
        view = generator.render(face.seed, *pose, config.size, background=int(background))[0]
        seen = np.ones(98, bool) if view.visible is None else view.visible  # not known: whatever faces the camera
        covered = np.zeros(98, bool) if view.covered is None else view.covered
        jpeg = cv2.imencode(".jpg", view.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, config.quality])[1].tobytes()
        views.append(EncodedView(jpeg, rotation, translation, seen, covered))
    return RenderedFace(face.seed, face.lifted, exact.astype(np.float32), views)


def _camera(config: ViewsConfig, rng: np.random.Generator, points: Float[np.ndarray, "98 3"]) -> tuple:
    """(R, t) of one view."""
    if not config.sphere:
        return config.space.sample(rng, points)
    azimuth, elevation, _ = config.space.angles(rng)
    rotation = look_at_rotation(azimuth, elevation)
    return rotation, sphere_translation(rotation)


def _write(folder: ShardFolder, name: str, faces: list[_Face], passages: list[Passage], board: Dashboard) -> None:
    """A shard of which every face has failed is not written: that is no fault of the faces."""
    if passages and all(passage.error for passage in passages):
        folder.refuse(name, passages[0].error)
        return
    nowhere = np.full((98, 3), np.nan, np.float32)
    done = [
        passage.value or RenderedFace(face.seed, face.lifted, nowhere, (), passage.error, passage.again)
        for face, passage in zip(faces, passages, strict=True)
    ]
    with board.time("write"):
        folder.write(name, shard_bytes(done), sum(len(face.views) for face in done))
