"""ICT-FaceKit Light (Li et al. 2020), its folder FaceXModel:

    generic_neutral_mesh.obj     26719 vertices, cm
    identity000.obj ...          the neutral mesh moved by one deviation of an identity component
    jawOpen.obj ...              the neutral mesh with one of ARKit's expressions, every other .obj

The face is the first 9409 vertices (with neck), the narrow face the first 6706, as the release's page says.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from facelift.datasets.readers.official_layout import require_file, require_folder
from facelift.datasets.readers.wavefront import read_obj
from facelift.morphable.linear import LinearModel, Whitening
from facelift.sources import ICT

NEUTRAL = "generic_neutral_mesh.obj"
PARTS = {"narrow": 6706, "face": 9409, "all": None}
"""Name of a part -> how many vertices from the first it has."""
# fmt: off
LANDMARKS = np.array([
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360,
    1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
])
# fmt: on
"""The release's vertices of MultiPIE's 68 landmarks, the order of iBUG-68."""


def read_ict(
    folder: Path,
    *,
    shape: int | None = 40,
    expression: int | None = None,
    part: Literal["narrow", "face", "all"] = "face",
) -> LinearModel:
    """The first identities and expressions, in the order of their names; None: all. cm, y up.

    A shape coefficient counts deviations; an expression is 0..1 and never negative, and how they are distributed is not
    known, so they are not whitened. Texture coordinates are left out: they differ at a vertex from face to face.
    Raises FileNotFoundError, or ValueError naming file, expected and found.
    """
    folder = require_folder(Path(folder), "ICT-FaceKit's folder FaceXModel")
    mesh = read_obj(require_file(folder / NEUTRAL, "the neutral mesh of ICT-FaceKit"), unit="cm")
    others = sorted(path for path in folder.glob("*.obj") if path.name != NEUTRAL)
    identities = [path for path in others if path.stem.startswith("identity")]
    expressions = [path for path in others if not path.stem.startswith("identity")]
    size = PARTS[part] or len(mesh.vertices)
    if mesh.faces is None or len(mesh.vertices) < size:
        raise ValueError(f"{folder / NEUTRAL}: expected {size} or more vertices and faces, found {len(mesh.vertices)}")
    mean = mesh.vertices[:size].astype(np.float32)
    chosen = _first(identities, shape, folder, "identity*.obj"), _first(expressions, expression, folder, "expressions")
    offsets = [np.stack([_positions(path, len(mesh.vertices))[:size] for path in paths]) - mean for paths in chosen]
    return LinearModel(
        mean=mean,
        shape=offsets[0],
        expression=offsets[1],
        faces=mesh.faces[(mesh.faces < size).all(1)].astype(np.int32),
        landmark_vertices=LANDMARKS.astype(np.int32),
        uv=None,
        whitening=Whitening.none(len(offsets[0]) + len(offsets[1])),
        sources=(ICT,),
        name=f"ict-{part}",
    )


def _first(paths: list[Path], count: int | None, folder: Path, what: str) -> list[Path]:
    if not paths or (count or 0) > len(paths):
        raise FileNotFoundError(f"{folder}: expected {count or 'some'} files {what}, found {len(paths)}")
    return paths[:count]


def _positions(path: Path, vertices: int) -> Float[np.ndarray, "v 3"]:
    """The lines v x y z alone: a hundred files of the same faces are read."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        rows = [line.split()[1:4] for line in lines if line.startswith("v ")]
    try:
        found = np.array(rows, dtype=np.float32)
    except ValueError as error:
        raise ValueError(f"{path}: expected lines v x y z, found: {error}") from None
    if found.shape != (vertices, 3) or not np.isfinite(found).all():
        raise ValueError(f"{path}: expected {vertices} finite vertices as in {NEUTRAL}, found {len(rows)}")
    return found
