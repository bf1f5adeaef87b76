"""Wavefront .obj files: positions and faces."""

from pathlib import Path

import numpy as np

from facelift.datasets.readers.meshes import Mesh
from facelift.datasets.readers.official_layout import require_file
from facelift.meshes import ColouredMesh, obj

IGNORED = frozenset(("vt", "vn", "vp", "o", "g", "s", "l", "p", "usemtl", "mtllib"))
"""Statements that say nothing about positions and faces."""


def read_obj(path: Path, *, unit: str = "mm") -> Mesh:
    """The mesh of an .obj file; the file does not know its `unit`.

    `v x y z`, also with w or with a colour (r g b) behind, which are dropped; `f` with corners i, i/t, i//n, i/t/n,
    from 1 or negative from the last vertex back; polygons become fans about their first corner. Faces are None where
    there are none. Raises FileNotFoundError, or ValueError with the line for anything else.
    """
    path = require_file(Path(path), "a Wavefront .obj file")
    vertices: list[list[float]] = []
    faces: list[list[int]] = []
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            words = line.partition("#")[0].split()
            if not words or words[0] in IGNORED:
                continue
            try:
                if words[0] == "v":
                    vertices.append(_position(words[1:]))
                elif words[0] == "f":
                    faces += _fan([_corner(word, len(vertices)) for word in words[1:]])
                else:
                    raise ValueError(f"a statement v, f, vt, vn, ..., found {words[0][:20]!r}")
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: expected {error}") from None
    if not vertices:
        raise ValueError(f"{path}: expected vertices (lines 'v x y z'), found none")
    triangles = np.array(faces) if faces else None
    if triangles is not None and triangles.max() >= len(vertices):
        raise ValueError(f"{path}: expected faces of its {len(vertices)} vertices, found vertex {triangles.max() + 1}")
    return Mesh(np.array(vertices), triangles, unit=unit)


def write_obj(path: Path, mesh: Mesh) -> None:
    """Positions and faces; `read_obj` gives back the same numbers, bit by bit."""
    faces = np.zeros((0, 3), int) if mesh.faces is None else mesh.faces
    obj.write_obj(path, ColouredMesh(mesh.vertices.astype(np.float64), faces))


def _position(words: list[str]) -> list[float]:
    if len(words) not in (3, 4, 6, 7):
        raise ValueError(f"v with 3 numbers (or w, or a colour behind them), found {len(words)}")
    try:
        position = [float(word) for word in words[:3]]
    except ValueError as error:
        raise ValueError(f"numbers after v, found: {error}") from None
    if not np.isfinite(position).all():
        raise ValueError(f"finite numbers after v, found {position}")
    return position


def _corner(word: str, known: int) -> int:
    """Vertex index from 0 of one corner; `known` vertices came before it."""
    parts = word.split("/")
    try:
        numbers = [int(part) for part in parts if part]
    except ValueError:
        numbers = []
    if not (parts[0] and len(parts) <= 3 and numbers and numbers[0] != 0):
        raise ValueError(f"a corner i, i/t, i//n or i/t/n with i from 1 or negative, found {word[:20]!r}")
    index = numbers[0] - 1 if numbers[0] > 0 else known + numbers[0]
    if index < 0:
        raise ValueError(f"at most {known} vertices back, found {word[:20]!r}")
    return index


def _fan(corners: list[int]) -> list[list[int]]:
    if len(corners) < 3:
        raise ValueError(f"a face of at least 3 corners, found {len(corners)}")
    return [[corners[0], corners[i], corners[i + 1]] for i in range(1, len(corners) - 1)]
