"""`facelift morphable`: a linear face model from a head, or from released files."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import tyro

from facelift.commands.report import say

if TYPE_CHECKING:
    from facelift.morphable.linear import LinearModel


@dataclass(frozen=True)
class MorphableConfig:
    """Make a linear face model: mean, shape and expression components, 68 landmarks, one .npz file."""

    source: tyro.conf.Positional[Literal["open-head", "procedural", "bfm09", "bfm2017", "tddfa", "synergynet", "ict"]]
    """open-head and procedural: principal components of random faces of our heads. The others read released files,
    whose names docs/morphable.md lists."""
    out: Path
    """The .npz file."""
    folder: Path | None = None
    """The released files; of bfm2017 the .h5 file itself. For open-head FACELIFT_ASSETS if not given."""
    shape: int = 40
    """Shape components."""
    expression: int | None = None
    """Expression components; 10 if not given, all of ict's."""
    landmarks: Path | None = None
    """Text file of 68 vertex indices from 0, for bfm2017, and for bfm09 without keypoints."""
    part: Literal["narrow", "face", "all"] = "face"
    """Of ict: brows to chin; with forehead, ears and neck; the whole mesh."""
    faces: int = 600
    """Random faces of open-head and procedural."""
    seed: int = 0
    """Of the random faces."""


def build(config: MorphableConfig) -> Path:
    """Writes the model, after telling what it holds; returns its path."""
    if config.shape < 1 or (config.expression is not None and config.expression < 1):
        raise ValueError(f"components: expected 1 or more of each, found {config.shape} and {config.expression}")
    model = _of_head(config) if config.source in ("open-head", "procedural") else _of_files(config)
    say(
        f"{model.name}: {len(model.mean)} vertices, {len(model.faces)} triangles, {len(model.shape)} shape and "
        f"{len(model.expression)} expression components, {'no ' if model.uv is None else ''}texture coordinates"
    )
    say(_mirroring(model))
    model.save(config.out)
    return config.out


def _of_head(config: MorphableConfig) -> "LinearModel":
    from facelift.geometry import UNIT_CM
    from facelift.morphable.face_cut import open_face, procedural_face
    from facelift.morphable.head_model import distance_to_unseen, head_model
    from facelift.morphable.open_head import OpenHead
    from facelift.morphable.procedural_head import ProceduralHead
    from facelift.sources import ICT, PROCEDURAL_HEAD

    head: OpenHead | ProceduralHead
    if config.source == "procedural":
        head = ProceduralHead()
        cut, sources = procedural_face(head), (PROCEDURAL_HEAD,)
    else:
        head = OpenHead(_folder(config))
        cut, sources = open_face(head), (ICT,)
    sizes = {"faces": config.faces, "shape": config.shape, "expression": config.expression or 10, "seed": config.seed}
    built = head_model(head, cut, name=config.source, sources=sources, **sizes)
    say(_explained("shape", built.shape_explained))
    say(_explained("expression", built.expression_explained))
    vertices, marks = (10 * UNIT_CM * distance for distance in distance_to_unseen(head, cut, built.model))
    say(f"50 other faces: vertices {vertices:.2f} mm off on average, landmarks {marks:.2f} mm")
    return built.model


def _of_files(config: MorphableConfig) -> "LinearModel":
    from facelift.morphable.readers import bfm09, bfm2017, ict, synergynet, tddfa

    folder, shape, expression = _folder(config), config.shape, config.expression or 10
    match config.source:
        case "bfm09":
            return bfm09.read_bfm09(folder, shape=shape, expression=expression, landmarks=config.landmarks)
        case "bfm2017":
            if config.landmarks is None:
                raise ValueError("bfm2017: expected --landmarks, as the model does not name iBUG's, found none")
            return bfm2017.read_bfm2017(folder, config.landmarks, shape=shape, expression=expression)
        case "tddfa":
            return tddfa.read_tddfa(folder, shape=shape, expression=expression)
        case "synergynet":
            return synergynet.read_synergynet(folder, shape=shape, expression=expression)
    return ict.read_ict(folder, shape=shape, expression=config.expression, part=config.part)


def _folder(config: MorphableConfig) -> Path:
    assets = os.environ.get("FACELIFT_ASSETS") if config.source == "open-head" else None
    folder = config.folder or (Path(assets) if assets else None)
    if folder is None:
        also = " or the variable FACELIFT_ASSETS" if config.source == "open-head" else ""
        raise ValueError(f"{config.source}: expected --folder{also}, found none")
    return folder


def _mirroring(model: "LinearModel") -> str:
    """How exact the coefficients of flipped pictures are."""
    from facelift.morphable.linear import mirror_error

    try:
        error = mirror_error(model) / np.ptp(model.mean[:, 1])
    except ValueError as reason:
        return f"mirroring: none. {reason}"
    how = "a sign for each coefficient" if model.mirror_signs is not None else "least squares"
    return f"mirroring: {how}, off by {error:.2%} of the face's height"


def _explained(what: str, shares: np.ndarray) -> str:
    """Per cent that the first components take together."""
    counts = [n for n in (1, 2, 3, 5, 10, 20, 30, 40) if n < len(shares)] + [len(shares)]
    columns = [(f"{n}", f"{100 * shares[:n].sum():.1f}") for n in counts]
    widths = [max(map(len, column)) for column in columns]
    head, row = (" ".join(f"{column[k]:>{w}}" for column, w in zip(columns, widths, strict=True)) for k in (0, 1))
    return f"{what + ' components':<24}{head}\n{'explained variance, %':<24}{row}"
