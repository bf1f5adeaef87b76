"""Hair styles of the open head: sheets of strands that move with the identity."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facelift.morphable.head import Topology
from facelift.morphable.open_head import OpenHead, to_canonical
from facelift.rendering import materials

_LIFT_CM = 0.25
"""Keeps the scalp of wide heads from showing through."""


@dataclass(frozen=True)
class HairStyle:
    """A mesh bound to the head: each vertex moves with the weighted mean of six head vertices."""

    vertices_cm: Float[np.ndarray, "h 3"]
    bind_vertices: np.ndarray
    bind_weights: np.ndarray
    topology: Topology

    def grow(self, head: OpenHead, identity: np.ndarray) -> tuple[np.ndarray, np.ndarray, Topology]:
        """(vertices, normals, topology) on a head of this identity, canonical. Normals point out of the head, which
        shades strands as a volume."""
        neutral = head.vertices_cm(identity, np.zeros(len(head.names)))
        moved = ((neutral - head.mean_cm)[self.bind_vertices] * self.bind_weights[..., None]).sum(1)
        vertices = self.vertices_cm + moved
        outward = vertices - np.array([0, 4, 0])
        outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
        vertices = vertices + _LIFT_CM * outward
        return to_canonical(vertices), outward.astype(np.float32), self.topology


def hair_styles(files: dict[str, np.ndarray]) -> dict[str, HairStyle]:
    """All styles of head.npz by name."""
    styles = {}
    for name in map(str, files["hair_names"]):
        part = {key: files[f"hair/{name}/{key}"] for key in ("vertices_cm", "faces", "bind_vertices", "bind_weights")}
        faces = part["faces"].astype(np.int32)
        uv = files[f"hair/{name}/face_corner_uv"].astype(np.float32)
        topology = Topology(faces, uv, np.full(len(faces), materials.HAIR, np.int32))
        styles[name] = HairStyle(
            part["vertices_cm"], part["bind_vertices"].astype(int), part["bind_weights"].astype(np.float32), topology
        )
    return styles
