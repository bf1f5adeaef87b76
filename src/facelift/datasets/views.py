"""Cache of rendered views with their cameras and lifted 3D pseudo-labels: written once, read by every training."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int8, UInt8

from facelift.archives import read_npz
from facelift.atomic import claim_folder, written_whole
from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED, VISIBLE
from facelift.generators.protocol import HEADS
from facelift.geometry import CameraSpace, look_at_rotation, sphere_translation
from facelift.landmarks import normals
from facelift.sources import listed, noted_sources, scene_sources

Labels3D = Literal["lifted", "exact"]

if TYPE_CHECKING:
    from facelift.generators.morphable import MorphableGenerator


@dataclass(frozen=True)
class ViewsConfig:
    """Render random views from camera space C of lifted faces, for training."""

    out: Path
    """Folder of the cache."""
    lift: Path | None = None
    """Folder of lifted pseudo-labels, by `facelift lift`."""
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
    workers: int = 1
    """Processes."""

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
    """All shards of a cache folder, pictures kept as JPEG in memory.

    `labels`: which landmarks `landmarks` and the views hold, the lifted ones or the generator's. Raises ValueError for
    a cache without them: one rendered without lifting, or before the exact ones were kept.
    """

    def __init__(self, root: Path, *, labels: Labels3D = "lifted"):
        shards = sorted(Path(root).glob("views-*.npz"))
        if not shards:
            raise FileNotFoundError(f"{root}: expected shards views-*.npz written by `facelift views`, found none")
        keys = ("seed", "landmarks", "face", "rotation", "translation", "jpeg", "start", "stop", "visible", "covered")
        expected = "a shard with visibility, written by this version's `facelift views` (run it anew, to a new folder)"
        parts = [read_npz(shard, expected, keys) for shard in shards]
        self.rotation, self.translation, self.face = (
            np.concatenate([part[key] for part in parts]) for key in ("rotation", "translation", "face")
        )
        self.visible, self.covered = (np.concatenate([part[key] for part in parts]) for key in ("visible", "covered"))
        lifted = np.concatenate([part["landmarks"] for part in parts])
        nowhere = np.full((0, 98, 3), np.nan, np.float32)
        exact = np.concatenate([nowhere, *(part["exact"] for part in parts if "exact" in part)])
        self.exact = exact if len(exact) == len(lifted) and np.isfinite(exact).any() else None
        """Exact canonical landmarks (n, 98, 3), NaN where unknown; None in a cache without them."""
        self.seeds = np.concatenate([part["seed"] for part in parts])
        if not len(self.face):
            raise ValueError(f"{root}: expected rendered views, found shards without any: no face was accepted")
        self._jpeg = [part["jpeg"][a:b] for part in parts for a, b in zip(part["start"], part["stop"], strict=True)]
        shift = np.cumsum([0] + [len(part["seed"]) for part in parts[:-1]])
        self.landmarks = self._landmarks(root, lifted, labels)
        self.size = len(self[0].image)
        """Side of the pictures, px."""
        self.face += np.repeat(shift, [len(part["face"]) for part in parts])

    def _landmarks(self, root: Path, lifted: np.ndarray, labels: Labels3D) -> np.ndarray:
        if labels == "exact" and self.exact is None:
            raise ValueError(f"{root}: expected exact landmarks, found a cache without; render it anew: facelift views")
        if labels == "lifted" and not np.isfinite(lifted).any():
            raise ValueError(f"{root}: expected lifted landmarks, found exact ones alone (--labels-3d exact)")
        return self.exact if labels == "exact" and self.exact is not None else lifted

    def __len__(self) -> int:
        return len(self._jpeg)

    def __getitem__(self, index: int) -> RenderedView:
        image = cv2.imdecode(self._jpeg[index], cv2.IMREAD_COLOR_RGB)
        assert image is not None  # written by build_views
        seen = (self.visible[index], self.covered[index])
        return RenderedView(
            image, self.landmarks[self.face[index]], self.rotation[index], self.translation[index], *seen
        )


def build_views(config: ViewsConfig) -> Path:
    """Renders what is missing of the cache, a shard for each shard of pseudo-labels; returns the folder."""
    shards = _shards(config)
    _claim(config)
    tasks = [(config, shard) for shard in shards if not _complete(shard)]
    with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(_render_shard, *zip(*tasks, strict=True)) if tasks else ():
            pass
    return config.out


def generator_of(views: Path, assets: Path | None, data: Path | None) -> "MorphableGenerator":
    """The generator that a cache was rendered by.

    Raises FileNotFoundError for a folder that does not say, ValueError where its seeds are other heads by now.
    """
    from facelift.generators.stage import head_generator

    settings = views_settings(views)
    if settings.get("heads", 1) != HEADS:
        found = settings.get("heads", 1)
        raise ValueError(f"{views}: expected heads of version {HEADS}, found {found}: render the cache anew")
    photos = settings.get("backgrounds", True)
    worn = settings.get("occluders", True)
    return head_generator(settings["generator"], assets, data, occluders=worn, photos=photos)


def views_settings(views: Path) -> dict[str, Any]:
    """What a cache was rendered with. Raises FileNotFoundError for a folder that does not say."""
    path = views / "views.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the settings of a cache by `facelift views`, found no file")
    return json.loads(path.read_text())["settings"]


@dataclass(frozen=True)
class _Shard:
    """Faces of one file of the cache; without lifted landmarks they are NaN."""

    target: Path
    seeds: np.ndarray
    lifted: np.ndarray


def _shards(config: ViewsConfig) -> list[_Shard]:
    if config.faces is not None:
        seeds = np.arange(config.first_seed, config.first_seed + config.faces)
        parts = [seeds[first : first + config.shard_faces] for first in range(0, config.faces, config.shard_faces)]
        return [
            _Shard(config.out / f"views-{index:05d}.npz", part, np.full((len(part), 98, 3), np.nan))
            for index, part in enumerate(parts)
        ]
    assert config.lift is not None  # checked by the config
    files = sorted(config.lift.glob("lift-*.npz"))
    if not files:
        raise FileNotFoundError(f"{config.lift}: expected shards lift-*.npz written by `facelift lift`, found none")
    return [_Shard(config.out / file.name.replace("lift-", "views-"), *_accepted(file)) for file in files]


def _accepted(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seeds and landmarks of the accepted faces of a shard of pseudo-labels."""
    lifted = read_npz(file, "a shard of `facelift lift`", ("seed", "points", "accepted"))
    return lifted["seed"][lifted["accepted"]], lifted["points"][lifted["accepted"]]


def _complete(shard: _Shard) -> bool:
    """Whether the views of these very pseudo-labels are there; a shard lifted anew, or grown, is rendered anew."""
    if not shard.target.exists():
        return False
    there = read_npz(shard.target, "a shard of `facelift views`", ("seed", "landmarks"))
    return np.array_equal(there["seed"], shard.seeds) and np.array_equal(
        there["landmarks"], shard.lifted.astype(np.float32), equal_nan=True
    )


def _claim(config: ViewsConfig) -> None:
    """Takes the folder for these settings. Raises ValueError where it holds others, or the faces are not the
    generator's."""
    lift = config.lift / "lift.json" if config.lift else None
    if lift and lift.exists():
        made_by = json.loads(lift.read_text())["settings"]
        if made_by["generator"] != config.generator:
            found = made_by["generator"]
            raise ValueError(f"{lift}: expected faces of the generator {config.generator!r}, found {found!r}")
        if made_by.get("heads", 1) != HEADS:
            found = made_by.get("heads", 1)
            raise ValueError(f"{lift}: expected heads of version {HEADS}, found {found}: lift these seeds anew")
    settings = {key: getattr(config, key) for key in ("generator", "views", "size", "quality")}
    if config.faces is not None:
        settings |= {"first_seed": config.first_seed, "shard_faces": config.shard_faces}
    if config.space != CameraSpace():  # not named in caches from before there was a choice
        settings |= {"space": asdict(config.space)}
    chosen = {"sphere": config.sphere, "occluders": config.occluders, "scene": config.scene}
    usual: dict[str, Any] = {"sphere": False, "occluders": True, "scene": None}
    if config.generator not in ("morphable", "procedural"):
        settings |= {"truncation": config.truncation}
    settings |= {key: value for key, value in chosen.items() if value != usual[key]}
    backgrounds = config.photos and bool(config.data or os.environ.get("FACELIFT_DATA"))
    sources = scene_sources(config.generator, config.data, photos=config.photos)
    sources += noted_sources(lift) if lift else []
    about = {"sources": listed(sources)}
    claim_folder(config.out / "views.json", settings | {"backgrounds": backgrounds, "heads": HEADS}, about)


def _render_shard(config: ViewsConfig, shard: _Shard) -> None:
    from facelift.generators.stage import build_generator

    generator = build_generator(
        config.generator,
        config.assets,
        config.data,
        occluders=config.occluders,
        photos=config.photos,
        truncation=config.truncation,
    )
    known = [generator.landmarks(int(seed)) for seed in shard.seeds]
    exact = np.stack([np.zeros((98, 3)), *(np.full((98, 3), np.nan) if e is None else e for e in known)])[1:]
    posed = exact if config.lift is None else shard.lifted
    rows = list(_render_faces(generator, config, shard.seeds, posed))
    jpeg = [cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, config.quality])[1] for image, *_ in rows]
    stop = np.cumsum([len(data) for data in jpeg])
    with written_whole(shard.target) as partial:
        np.savez(
            partial,
            seed=shard.seeds,
            landmarks=shard.lifted.astype(np.float32),
            exact=exact.astype(np.float32),
            face=np.array([row[3] for row in rows], np.int64),
            rotation=np.array([row[1] for row in rows], np.float32).reshape(-1, 3, 3),
            translation=np.array([row[2] for row in rows], np.float32).reshape(-1, 3),
            visible=np.array([row[4] for row in rows], bool).reshape(-1, 98),
            covered=np.array([row[5] for row in rows], bool).reshape(-1, 98),
            jpeg=np.concatenate([np.zeros(0, np.uint8), *(data.ravel() for data in jpeg)]),
            start=np.array([0, *stop[:-1]], np.int64)[: len(stop)],
            stop=stop.astype(np.int64),
        )


def _render_faces(generator, config: ViewsConfig, seeds, landmarks) -> Iterator[tuple]:
    """(image, R, t, index of the face, visible, covered) of every view."""
    for index, (seed, points) in enumerate(zip(seeds, landmarks, strict=True)):
        rng = np.random.default_rng([int(seed), 7])
        cameras = [_camera(config, rng, points.astype(float)) for _ in range(config.views)]
        rotations, translations = (np.stack(part) for part in zip(*cameras, strict=True))
        backgrounds = rng.integers(0, 2**31, config.views)
        if config.scene is not None:
            backgrounds[:] = config.scene
        for rotation, translation, background in zip(rotations, translations, backgrounds, strict=True):
            view = generator.render(
                int(seed), rotation[None], translation[None], config.size, background=int(background)
            )[0]
            seen = np.ones(98, bool) if view.visible is None else view.visible  # not known: whatever faces the camera
            covered = np.zeros(98, bool) if view.covered is None else view.covered
            yield view.image, rotation, translation, index, seen, covered


def _camera(config: ViewsConfig, rng: np.random.Generator, points: Float[np.ndarray, "98 3"]) -> tuple:
    """(R, t) of one view."""
    if not config.sphere:
        return config.space.sample(rng, points)
    azimuth, elevation, _ = config.space.angles(rng)
    rotation = look_at_rotation(azimuth, elevation)
    return rotation, sphere_translation(rotation)
