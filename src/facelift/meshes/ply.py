"""PLY, binary, with colours of the vertices."""

import os

import numpy as np

from facelift.atomic import written_whole
from facelift.meshes.coloured_mesh import ColouredMesh

_CORNERS = np.dtype([("count", "u1"), ("corners", "<i4", 3)])


def write_ply(path: str | os.PathLike[str], mesh: ColouredMesh) -> None:
    """Positions in single precision, colours where the mesh has them, triangles. A texture is left out: the format has
    no place for one."""
    fields: list[tuple] = [("position", "<f4", 3)]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(mesh.vertices)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    if mesh.colours is not None:
        fields.append(("colour", "u1", 3))
        lines += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    lines += [f"element face {len(mesh.faces)}", "property list uchar int vertex_indices", "end_header", ""]
    vertices, faces = np.zeros(len(mesh.vertices), np.dtype(fields)), np.zeros(len(mesh.faces), _CORNERS)
    vertices["position"] = mesh.vertices
    if mesh.colours is not None:
        vertices["colour"] = mesh.colours
    faces["count"], faces["corners"] = 3, mesh.faces
    with written_whole(path) as partial:
        partial.write_bytes("\n".join(lines).encode() + vertices.tobytes() + faces.tobytes())
