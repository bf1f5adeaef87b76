"""`facelift render`: looks at generated faces. Importable without Numba."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from facelift.atomic import written_whole
from facelift.generators.protocol import HEAD_KINDS
from facelift.geometry import look_at_rotation, sphere_translation

if TYPE_CHECKING:
    from facelift.generators.gan import GanGenerator
    from facelift.generators.ide3d import Ide3dGenerator
    from facelift.generators.morphable import MorphableGenerator


@dataclass(frozen=True)
class RenderConfig:
    """Render faces of seeds from cameras on the sphere: a contact sheet, and every picture with its camera."""

    out: Path
    """Folder for sheet.png, and with --pictures the views and cameras.json."""
    generator: str = "morphable"
    """morphable: the textured head in --assets; procedural: the small head built by code; or a 3D-aware GAN: the file
    of an EG3D or PanoHead checkpoint, or a run folder of `facelift train-gan`."""
    truncation: float = 0.7
    """How far a GAN's faces are from its mean one, 0..1."""
    focal: float = 1.0
    """Focal length of a GAN's pictures over ours, as `facelift check-generator` measured it: set right here."""
    assets: Path | None = None
    """Folder of the textured head; FACELIFT_ASSETS if not given."""
    data: Path | None = None
    """Folder of backgrounds and light probes; FACELIFT_DATA if not given; procedural scenes without."""
    photos: bool = True
    """Photos behind the heads; --no-photos for procedural scenes alone."""
    seeds: tuple[int, ...] = tuple(range(8))
    """Faces."""
    azimuth_deg: tuple[float, ...] = (-60.0, -30.0, 0.0, 30.0, 60.0)
    """Cameras: one at each azimuth."""
    elevation_deg: float = 0.0
    """Elevation of all cameras."""
    size: int = 256
    """Side of a picture, px."""
    points: bool = False
    """Draw the exact landmarks into the sheet: green seen, red hidden."""
    pictures: bool = False
    """Write each view as PNG, and cameras.json with its K, R, t and landmarks."""


def build_generator(
    kind: str,
    assets: Path | None = None,
    data: Path | None = None,
    *,
    occluders: bool = False,
    photos: bool = True,
    truncation: float = 0.7,
    focal: float = 1.0,
) -> "MorphableGenerator | GanGenerator | Ide3dGenerator":
    """The generator of a command's options: morphable, procedural, or the path of a 3D-aware GAN; with folders from
    FACELIFT_ASSETS and FACELIFT_DATA where not given.

    `truncation` and `focal` are a GAN's, which runs on a GPU where there is one. Without `photos` the scenes behind the
    heads are procedural; light probes of the data folder are used all the same.

    Raises ValueError for the textured head without a folder of assets, and for another kind that is no path.
    """
    if kind not in HEAD_KINDS:
        return build_gan(kind, truncation=truncation, focal=focal)
    from facelift.generators.morphable import MorphableGenerator

    data = data or _variable("FACELIFT_DATA")
    if kind == "procedural":
        return MorphableGenerator(None, data=data, occluders=occluders, photos=photos)
    assets = assets or _variable("FACELIFT_ASSETS")
    if assets is None:
        raise ValueError("no folder of assets: expected --assets or the variable FACELIFT_ASSETS, found neither")
    return MorphableGenerator(assets, data=data, occluders=occluders, photos=photos)


def build_gan(path: str, *, truncation: float, focal: float = 1.0) -> "GanGenerator | Ide3dGenerator":
    """The GAN of a file or run folder. Raises ValueError where there is none.

    What the file holds decides which. The code inside an IDE-3D checkpoint runs if FACELIFT_RUN_EMBEDDED_CODE is "yes";
    FACELIFT_IDE3D_LIBRARY names the folder that it imports from."""
    if not Path(path).exists():
        raise ValueError(f"generator: expected one of {', '.join(HEAD_KINDS)}, or the path of a GAN, found {path!r}")
    from facelift.generators.gan import GanGenerator
    from facelift.generators.ide3d import Ide3dGenerator, is_ide3d

    if not (Path(path).is_file() and is_ide3d(path)):
        return GanGenerator(path, truncation=truncation, focal=focal)
    chosen, library = os.environ.get("FACELIFT_RUN_EMBEDDED_CODE") == "yes", _variable("FACELIFT_IDE3D_LIBRARY")
    if chosen and library is None:
        raise ValueError(f"{path}: expected FACELIFT_IDE3D_LIBRARY, what IDE-3D's code imports from, found it not set")
    return Ide3dGenerator(path, library=library or "", run_embedded_code=chosen, truncation=truncation, focal=focal)


def head_generator(
    kind: str, assets: Path | None = None, data: Path | None = None, *, occluders: bool, photos: bool = True
) -> "MorphableGenerator":
    """`build_generator` for what needs a head's exact landmarks. Raises ValueError for a GAN, which has none."""
    if kind not in HEAD_KINDS:
        raise ValueError(
            f"generator: expected one of {', '.join(HEAD_KINDS)}, whose landmarks are known, found {kind!r}"
        )
    return cast("MorphableGenerator", build_generator(kind, assets, data, occluders=occluders, photos=photos))


def _variable(name: str) -> Path | None:
    return Path(os.environ[name]) if os.environ.get(name) else None


def render_views(config: RenderConfig) -> Path:
    """Writes what the config asks for; returns the folder."""
    from facelift.generators.sheet import contact_sheet

    generator = build_generator(
        config.generator,
        config.assets,
        config.data,
        occluders=True,
        photos=config.photos,
        truncation=config.truncation,
        focal=config.focal,
    )
    rotations = look_at_rotation(np.array(config.azimuth_deg), config.elevation_deg)
    translations = sphere_translation(rotations)
    sheet = contact_sheet(
        generator,
        config.seeds,
        rotations,
        translations,
        size=config.size,
        columns=len(config.azimuth_deg),
        points=config.points,
    )
    config.out.mkdir(parents=True, exist_ok=True)
    _write_png(config.out / "sheet.png", sheet)
    if config.pictures:
        _write_pictures(generator, config, rotations, translations)
    return config.out


def _write_pictures(
    generator: "MorphableGenerator | GanGenerator | Ide3dGenerator", config: RenderConfig, rotations, translations
) -> None:
    from facelift.geometry import intrinsics

    cameras = {}
    for seed in config.seeds:
        for index, view in enumerate(generator.render(seed, rotations, translations, config.size)):
            name = f"{seed:06d}-{index:02d}.png"
            _write_png(config.out / name, view.image)
            cameras[name] = {
                "K": intrinsics(config.size).tolist(),
                "rotation": view.rotation.tolist(),
                "translation": view.translation.tolist(),
                "points_px": view.points.tolist() if view.points is not None else None,
                "visible": view.visible.tolist() if view.visible is not None else None,
            }
    with written_whole(config.out / "cameras.json") as partial:
        partial.write_text(json.dumps(cameras))


def _write_png(path: Path, image: np.ndarray) -> None:
    with written_whole(path) as partial:
        partial.write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
