"""glTF 2.0 in one binary file."""

import io
import json
import os
import struct
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from facelift.atomic import written_whole
from facelift.meshes.coloured_mesh import ColouredMesh

_FLOAT, _UINT16, _UINT32 = 5126, 5123, 5125
_VERTICES, _INDICES = 34962, 34963
_POINTS, _TRIANGLES = 0, 4
_UNLIT = "KHR_materials_unlit"
"""The light is in the colours already: viewers that know the extension add none."""


class _Buffer:
    """The file's binary part and the entries that describe it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        """Index of a new piece of data."""
        entry = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        self.views.append(entry if target is None else entry | {"target": target})
        self.data += data + bytes(-len(data) % 4)
        return len(self.views) - 1

    def accessor(self, values: np.ndarray, component: int, target: int, **more: Any) -> int:
        """Index of a new array of scalars (n,) or of vectors (n, k)."""
        kind = "SCALAR" if values.ndim == 1 else f"VEC{values.shape[1]}"
        view = self.view(values.tobytes(), target)
        about = {"bufferView": view, "componentType": component, "count": len(values), "type": kind}
        self.accessors.append(about | more)
        return len(self.accessors) - 1


def write_glb(path: str | os.PathLike[str], mesh: ColouredMesh) -> None:
    """The mesh as one node, positions in single precision, the texture inside as PNG; y must be up.

    Unlit and seen from both sides. Of a mesh with both texture and colours the texture alone is written, for viewers
    multiply the two; colours become linear light, as the format wants them. A mesh without faces becomes points.
    """
    buffer = _Buffer()
    attributes, material = _attributes(buffer, mesh), _material(buffer, mesh)
    primitive: dict[str, Any] = {"attributes": attributes, "material": 0, "mode": _POINTS}
    if len(mesh.faces):
        corners = mesh.faces.astype("<u4").ravel()
        primitive |= {"mode": _TRIANGLES, "indices": buffer.accessor(corners, _UINT32, _INDICES)}
    about = {
        "asset": {"version": "2.0", "generator": "facelift"},
        "extensionsUsed": [_UNLIT],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        **material,
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    text = json.dumps(about, separators=(",", ":")).encode()
    chunks = _chunk(b"JSON", text + b" " * (-len(text) % 4)) + _chunk(b"BIN\0", bytes(buffer.data))
    with written_whole(path) as partial:
        partial.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("<I4s", len(data), kind) + data


def _attributes(buffer: _Buffer, mesh: ColouredMesh) -> dict[str, int]:
    positions = mesh.vertices.astype("<f4")
    extent = {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()}
    attributes = {"POSITION": buffer.accessor(positions, _FLOAT, _VERTICES, **extent)}
    if mesh.uv is not None:
        down = (mesh.uv * [1, -1] + [0, 1]).astype("<f4")  # v counts from the top
        attributes["TEXCOORD_0"] = buffer.accessor(down, _FLOAT, _VERTICES)
    if mesh.colours is not None and mesh.texture is None:
        attributes["COLOR_0"] = buffer.accessor(linear_colours(mesh.colours), _UINT16, _VERTICES, normalized=True)
    return attributes


def linear_colours(colours: UInt8[np.ndarray, "v 3"]) -> UInt16[np.ndarray, "v 4"]:
    """sRGB bytes (IEC 61966-2-1) as linear light, 0..65535, opaque."""
    byte = np.arange(256) / 255
    curve = np.where(byte <= 0.04045, byte / 12.92, ((byte + 0.055) / 1.055) ** 2.4)
    linear = np.full((len(colours), 4), 65535, "<u2")
    linear[:, :3] = np.rint(65535 * curve).astype("<u2")[colours]
    return linear


def _material(buffer: _Buffer, mesh: ColouredMesh) -> dict[str, Any]:
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    pictures: dict[str, Any] = {}
    if mesh.texture is not None:
        stream = io.BytesIO()
        Image.fromarray(mesh.texture).save(stream, "PNG")
        surface["baseColorTexture"] = {"index": 0}
        view = buffer.view(stream.getvalue())
        pictures = {
            "images": [{"bufferView": view, "mimeType": "image/png"}],
            "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
            "textures": [{"source": 0, "sampler": 0}],
        }
    material = {"pbrMetallicRoughness": surface, "doubleSided": True, "extensions": {_UNLIT: {}}}
    return {"materials": [material], **pictures}
