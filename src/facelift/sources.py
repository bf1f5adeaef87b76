"""What weights were made from, and on what terms: noted by every stage, carried into the exported file.

A stage writes the sources that it read itself and those that its inputs name. What names none counts as not free.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from facelift.onnx_models.lifter import weights_path
from facelift.onnx_models.session import open_session
from facelift.scale.store import fingerprint


@dataclass(frozen=True)
class Source:
    """Pictures, labels or weights that something was learned from."""

    name: str
    terms: str
    free: bool = False
    """Whether what was learned from it may be used for anything."""


PROCEDURAL_HEAD = Source("head and scenes built by code", "MIT, this project", free=True)
ICT = Source("ICT-FaceKit Light", "MIT, Copyright (c) 2020 USC Institute for Creative Technologies", free=True)
OPEN_HEAD = (
    ICT,
    Source("MakeHuman textures", "CC0", free=True),
    Source("Face Research Lab London Set composites", "CC BY 4.0, DeBruine & Jones", free=True),
)
BFM09 = Source("Basel Face Model 2009", "non-commercial research")
BFM2017 = Source("Basel Face Model 2017", "non-commercial research")
FLAME = Source("FLAME, Max Planck Institute for Intelligent Systems", "its own licence: research, or CC BY 4.0 by file")
FACEWAREHOUSE = Source("FaceWarehouse expressions", "non-commercial research")
PHOTOS = "backgrounds.tar"
SCENE_FILES = {
    "hdri_128.npz": Source("Poly Haven light probes", "CC0", free=True),
    PHOTOS: Source("photos of BSDS500 and ImageNet samples", "non-commercial research"),
}
"""Files of a data folder that the generator takes where they exist."""
PACKED_SETS = {
    "merl_train": Source("AFLW photos with MERL-RAV labels", "non-commercial research"),
    "w300_train": Source("300-W (LFPW, Helen, AFW)", "research only"),
}
MEDIAPIPE = Source("MediaPipe's networks", "Apache 2.0; their training photos were not published")
FARL = Source("FaRL, learned from LAION-Face", "MIT; rights of the photos unclear")
WFLW = Source("WFLW photos", "non-commercial research")
W300LP = Source("300W-LP, photos of 300-W", "research only")
LAPA = Source("LaPa photos", "non-commercial research")
DAD3DHEADS = Source("DAD-3DHeads", "non-commercial research; its meshes are FLAME's, non-commercial too")
TORCHVISION = Source("torchvision's weights, learned from ImageNet", "BSD 3; photos for non-commercial research")


def packed_source(name: str) -> Source:
    """Of a packed set by name; one that is not known here counts as not free."""
    return PACKED_SETS.get(name, Source(f"packed set {name}", "not known"))


def scene_sources(generator: str, data: Path | None, *, photos: bool = True) -> list[Source]:
    """What `build_generator` would draw faces from: the head's files, and what it finds in the data folder."""
    if generator not in ("morphable", "procedural"):
        return _gan_sources(Path(generator))
    files = [SCENE_FILES[path.name] for path in _scene_paths(data, photos)]
    return [PROCEDURAL_HEAD, *(() if generator == "procedural" else OPEN_HEAD), *files]


def scene_files(data: Path | None, *, photos: bool = True) -> dict[str, str]:
    """Name and digest of the files of a data folder that the generator takes: other ones give other pictures."""
    return {path.name: fingerprint(path) for path in _scene_paths(data, photos)}


def generator_identity(generator: str) -> str:
    """The generator of a command's option as notes hold it: a head's name; of a 3D-aware GAN name and digest of the
    weights, since those of a run that trained on are others. Raises FileNotFoundError."""
    if generator in ("morphable", "procedural"):
        return generator
    path = Path(generator)
    file = path / "checkpoint.pt" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"{generator}: expected a checkpoint or a run folder of `facelift train-gan`, found none"
        )
    with file.open("rb") as opened:
        return f"{path.name} sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()[:16]}"


def _scene_paths(data: Path | None, photos: bool) -> list[Path]:
    folder = data or os.environ.get("FACELIFT_DATA")
    taken = [Path(folder) / file for file in SCENE_FILES if photos or file != PHOTOS] if folder else []
    return [path for path in taken if path.is_file()]


def _gan_sources(path: Path) -> list[Source]:
    """Of a 3D-aware GAN: those of the run that trained it; of a checkpoint by others none is known."""
    return noted_sources(path / "config.json") if path.is_dir() else [unrecorded(path)]


def exported_sources(name: str) -> list[Source]:
    """Of an exported network: an .onnx file, which carries them, a shipped model by name, or of `mediapipe`.

    A file that does not load carries none: whoever opens it to use it says what is wrong with it.
    """
    if name == "mediapipe":
        return [MEDIAPIPE]
    path = weights_path(name)
    try:
        session = open_session(path)
    except (FileNotFoundError, ValueError):
        return [unrecorded(path)]
    noted = session.get_modelmeta().custom_metadata_map.get("sources")
    return _read(json.loads(noted)) if noted else [unrecorded(path)]


def noted_sources(note: Path) -> list[Source]:
    """Those that a stage wrote into its lift.json, views.json or config.json; one that is not free where it did not."""
    noted = json.loads(note.read_text()).get("sources") if note.is_file() else None
    return [unrecorded(note)] if noted is None else _read(noted)


def unrecorded(path: Path) -> Source:
    """Stands for whatever went into a file that does not say."""
    return Source(f"whatever went into {path.name}", "not recorded")


def listed(sources: Iterable[Source]) -> list[dict[str, str | bool]]:
    """Each once, for JSON."""
    return [asdict(source) for source in dict.fromkeys(sources)]


def _read(noted: list[dict]) -> list[Source]:
    return [Source(entry["name"], entry["terms"], bool(entry["free"])) for entry in noted]
