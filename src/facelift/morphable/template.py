"""The template of normals: mean head's WFLW-98 points and outward normals, packed with the project.

    python -m facelift.morphable.template --assets DIR

Numbers derived from ICT-FaceKit's mean head (MIT).
"""

import argparse
import os
from pathlib import Path

import numpy as np

from facelift.landmarks import WFLW98
from facelift.morphable.head import landmarks, vertex_normals
from facelift.morphable.open_head import OpenHead, to_canonical

TARGET = Path(__file__).parents[1] / "data" / "wflw98_normals.npz"


def mean_head(assets: Path) -> dict[str, np.ndarray]:
    """points (98, 3) and unit normals (98, 3) of the mean head, canonical, exactly symmetric."""
    head = OpenHead(assets)
    vertices = to_canonical(head.mean_cm)
    normals = landmarks(head, vertex_normals(vertices, head.topology.faces))
    points = landmarks(head, vertices)
    mirror = WFLW98.mirror
    points, normals = ((a + a[mirror] * [-1, 1, 1]) / 2 for a in (points, normals))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return {"points": points.astype(np.float32), "normals": normals.astype(np.float32)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, default=os.environ.get("FACELIFT_ASSETS", "."))
    mean = mean_head(parser.parse_args().assets)
    np.savez(TARGET, points=mean["points"], normals=mean["normals"])
    print(TARGET)
