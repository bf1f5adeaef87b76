"""`facelift vertices`: dense vertex sets of a head."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

OURS = {"open-head": "morphable", "procedural-head": "procedural"}
"""Our heads, and the generators that draw them."""


@dataclass(frozen=True)
class VerticesConfig:
    """Choose dense landmarks of a head: 1,609 vertices of its face, and coarser sets of the same."""

    head: tyro.conf.Positional[str]
    """open-head, procedural-head, or an .npz file of another head: vertices (v, 3) or (k, v, 3), of which the first is
    the neutral mean and the others tell lips and lids apart, y up and z out of the face; faces (f, 3); landmarks
    (68, 3) or (k, 68, 3), iBUG-68 on the same; and region (v,), true where points may lie (all without it)."""
    out: Path
    """The .npz file."""
    name: str | None = None
    """Name of the head in a file; flame5023 for FLAME, whose vertices DAD-3DHeads has."""
    assets: Path | None = None
    """Folder of the open head; FACELIFT_ASSETS if not given."""


def build(config: VerticesConfig) -> Path:
    """Writes the sets; returns the path. Raises FileNotFoundError, or ValueError for a mesh that has no such sets."""
    from facelift.generators.stage import head_generator
    from facelift.morphable.vertex_sets import head_vertex_sets

    if config.head in OURS:
        head = head_generator(OURS[config.head], config.assets, occluders=False).head
        return head_vertex_sets(head, config.head).save(config.out)
    return _of_file(config).save(config.out)


def _of_file(config: VerticesConfig):
    from facelift.archives import read_npz
    from facelift.morphable.vertex_sets import build_vertex_sets

    path = Path(config.head)
    file = read_npz(path, f"a mesh ({', '.join(OURS)}, or a file)", ("vertices", "faces", "landmarks"))
    poses, faces, landmarks = file["vertices"], file["faces"], file["landmarks"]
    poses, landmarks = (array[None] if array.ndim == 2 else array for array in (poses, landmarks))
    count = poses.shape[1] if poses.ndim == 3 else 0
    region = file.get("region", np.ones(count, bool)).astype(bool)
    expected = {
        "vertices": (poses, (*poses.shape[:1], count, 3)),
        "faces": (faces, (*faces.shape[:1], 3)),
        "landmarks": (landmarks, (*poses.shape[:1], 68, 3)),
        "region": (region, (count,)),
    }
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise ValueError(f"{path}: expected {name} of shape {shape}, found {array.shape}")
    if not (np.isfinite(poses).all() and np.isfinite(landmarks).all()):
        raise ValueError(f"{path}: expected finite vertices and landmarks, found others")
    if not faces.size or faces.min() < 0 or faces.max() >= count:
        raise ValueError(f"{path}: expected faces of vertices 0..{count - 1}, found others")
    return build_vertex_sets(poses, faces, landmarks, region=region, head=config.name or path.stem)
