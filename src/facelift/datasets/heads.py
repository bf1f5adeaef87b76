"""Cache of rendered whole heads, cut out, with their exact landmarks: what the face finder's scenes are composed of."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from facelift.archives import read_npz
from facelift.atomic import written_whole
from facelift.generators.protocol import Generator
from facelift.geometry import look_at_rotation, sphere_translation
from facelift.landmarks import conversion

_FARTHER = 1.75
"""Distance of the camera over that of the sphere: hair, chin and ears are in the picture."""


@dataclass(frozen=True)
class HeadsConfig:
    """Render whole heads, hair included, from all sides up to profile, for training the face finder."""

    out: Path
    """The .npz file."""
    generator: Literal["morphable", "procedural"] = "morphable"
    """morphable: the textured head in --assets; procedural: the small head built by code."""
    assets: Path | None = None
    """Folder of the textured head; FACELIFT_ASSETS if not given."""
    data: Path | None = None
    """Folder of light probes; FACELIFT_DATA if not given."""
    faces: int = 500
    """Heads."""
    views: int = 3
    """Views of each."""
    size: int = 160
    """Picture side, px."""
    first_seed: int = 1_000_000
    """Seed of the first head."""


@dataclass(frozen=True, eq=False)
class CutHead:
    """One rendered head."""

    image: UInt8[np.ndarray, "s s 3"]
    covered: UInt8[np.ndarray, "s s"]
    """How much of each pixel the head covers, 0..255."""
    points: Float[np.ndarray, "68 2"]
    """iBUG-68, px, those on the far side too."""


class HeadCache:
    """The heads of a file, kept as compressed pictures in memory."""

    def __init__(self, path: Path):
        file = read_npz(path, "heads rendered by `facelift heads`", ("png", "start", "stop", "points"))
        self._png = [file["png"][a:b] for a, b in zip(file["start"], file["stop"], strict=True)]
        self._points = file["points"].astype(np.float64)
        if not self._png:
            raise ValueError(f"{path}: expected rendered heads, found none")

    def __len__(self) -> int:
        return len(self._png)

    def __getitem__(self, index: int) -> CutHead:
        image = cv2.imdecode(self._png[index], cv2.IMREAD_UNCHANGED)
        assert image is not None  # written by build_heads
        return CutHead(np.ascontiguousarray(image[..., 2::-1]), image[..., 3], self._points[index])


def build_heads(config: HeadsConfig) -> Path:
    """Renders the heads and writes them as one file; returns its path."""
    from facelift.generators.stage import build_generator

    generator = build_generator(config.generator, config.assets, config.data, occluders=True)
    rows = list(_render(generator, config))
    stop = np.cumsum([len(png) for png, _ in rows])
    with written_whole(config.out) as partial:
        np.savez(
            partial,
            png=np.concatenate([png for png, _ in rows]),
            start=np.array([0, *stop[:-1]], np.int64),
            stop=stop.astype(np.int64),
            points=np.array([points for _, points in rows], np.float32),
        )
    return config.out


def _render(generator: Generator, config: HeadsConfig) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(PNG with the cover as its fourth channel, iBUG-68 points) of every view."""
    to_68 = conversion("wflw98", "ibug68")
    for seed in range(config.first_seed, config.first_seed + config.faces):
        rng = np.random.default_rng([seed, 11])
        azimuth, elevation = rng.uniform(-100, 100, config.views), np.clip(rng.normal(0, 20, config.views), -55, 55)
        rotations = look_at_rotation(azimuth, elevation)
        translations = sphere_translation(rotations) * [1, 1, _FARTHER]
        for view in generator.render(seed, rotations, translations, config.size):
            assert view.points is not None and view.coverage is not None  # a generator that knows its truth
            cover = (255 * view.coverage + 0.5).astype(np.uint8)
            png = cv2.imencode(".png", np.dstack([view.image[..., ::-1], cover]))[1].ravel()
            yield png, to_68 @ view.points
