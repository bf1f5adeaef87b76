"""A packed set made by the test: two drawn faces with iBUG-68 labels."""

import io
import tarfile

import cv2
import numpy as np
import pytest

from facelift.datasets.densify import wflw98_from_ibug68
from facelift.landmarks import IBUG68


def drawn_face(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A 120 px picture with 68 symmetric, distinct points."""
    points = rng.uniform(25, 60, (68, 2))
    points[:, 1] += 15
    mirrored = IBUG68.mirror[np.arange(68)]
    points[mirrored > np.arange(68)] = (points[mirrored] * [-1, 1] + [120, 0])[mirrored > np.arange(68)]
    image = cv2.GaussianBlur(rng.integers(0, 255, (120, 120, 3), dtype=np.uint8), (0, 0), 3)
    return image, points


def write_packed_set(root, name: str, *, faces: int = 2, state: np.ndarray | None = None) -> np.ndarray:
    """NAME.tar and NAME.npz as the packed sets have them; returns the points."""
    rng = np.random.default_rng(3)
    drawn = [drawn_face(rng) for _ in range(faces)]
    with tarfile.open(root / f"{name}.tar", "w") as tar:
        for index, (image, _) in enumerate(drawn):
            data = cv2.imencode(".jpg", image)[1].tobytes()
            info = tarfile.TarInfo(f"{index:03d}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    points = np.stack([points for _, points in drawn]).astype(np.float32)
    state = np.zeros((faces, 68), np.uint8) if state is None else state
    points[state == 2] = np.nan
    names = [f"{index:03d}.jpg" for index in range(faces)]
    np.savez(root / f"{name}.npz", name=names, pts68=points, state=state, yaw=np.linspace(-80, 80, faces))
    return points


@pytest.fixture
def packed_root(tmp_path):
    write_packed_set(tmp_path, "small", faces=6)
    return tmp_path


__all__ = ["wflw98_from_ibug68", "write_packed_set"]
