"""Wavefront OBJ, with its material and picture beside it."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from facelift.atomic import written_whole
from facelift.meshes.coloured_mesh import ColouredMesh


def write_obj(path: str | os.PathLike[str], mesh: ColouredMesh) -> None:
    """NAME.obj; with a texture also NAME.png and NAME.mtl, which are there before it.

    Numbers read back the same to the last bit. Colours of vertices stand behind the positions, 0..1, as MeshLab and
    Blender read them.
    """
    path = Path(path)
    lines = ["# facelift\n"]
    if mesh.texture is not None:
        _write_material(path, mesh.texture)
        lines += [f"mtllib {path.with_suffix('.mtl').name}\n", "usemtl face\n"]
    with written_whole(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(lines + _vertices(mesh) + _faces(mesh))


def _write_material(path: Path, texture: np.ndarray) -> None:
    picture = path.with_suffix(".png")
    with written_whole(picture) as partial:
        Image.fromarray(texture).save(partial)
    with written_whole(path.with_suffix(".mtl")) as partial:
        partial.write_text(f"newmtl face\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {picture.name}\n", "utf-8")


def _vertices(mesh: ColouredMesh) -> list[str]:
    rows = _numbers(mesh.vertices)
    if mesh.colours is not None:
        rows = [f"{row} {r:.4f} {g:.4f} {b:.4f}" for row, (r, g, b) in zip(rows, mesh.colours / 255, strict=True)]
    texture = [] if mesh.uv is None else [f"vt {row}\n" for row in _numbers(mesh.uv)]
    return [f"v {row}\n" for row in rows] + texture


def _numbers(values: np.ndarray) -> list[str]:
    """The rows, with as many digits as tell each number from its neighbours."""
    if values.dtype == np.float32:
        return [" ".join(f"{x:.9g}" for x in row) for row in values.tolist()]
    return [" ".join(repr(x) for x in row) for row in values.tolist()]


def _faces(mesh: ColouredMesh) -> list[str]:
    corner = "{0}" if mesh.uv is None else "{0}/{0}"
    names = [corner.format(index + 1) for index in range(len(mesh.vertices))]
    return [f"f {names[a]} {names[b]} {names[c]}\n" for a, b, c in mesh.faces.tolist()]
