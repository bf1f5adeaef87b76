"""Random heads in front of cameras, and their exact points."""

from dataclasses import dataclass

import numpy as np
import torch

from facelift.fitting.fit import photo_camera
from facelift.fitting.head import SkinnedHead
from facelift.geometry import project, rotation_from_euler, rotation_from_vector

K = photo_camera(640, 480)


@dataclass(frozen=True)
class Scene:
    head: SkinnedHead
    coefficients: np.ndarray
    joints: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    points: np.ndarray
    size: np.ndarray
    """0.4 of the points' width, px."""
    eyes: np.ndarray
    """Distance of the outer eye corners in the picture, of FLAME's eye joints; px."""


def front(model, count: int, rng: np.random.Generator) -> np.ndarray:
    """Vertices of the front of a head."""
    ahead = np.flatnonzero(model.mean[:, 2] > np.quantile(model.mean[:, 2], 0.5))
    return np.sort(rng.permutation(ahead)[:count])


def scene(model, rng, *, faces=4, points=300, dtype=torch.float64, deviation=0.8, yaw=35.0) -> Scene:
    """Exact points of random heads of the model, sharp in float64, as a head of `dtype` sees them."""
    chosen = front(model, points, rng)
    exact = SkinnedHead(model, chosen, dtype=torch.float64)
    low, high = exact.limits.numpy().T
    k = exact.basis.shape[-1]
    coefficients = np.clip(rng.normal(0, deviation, (faces, k)), low[:k], high[:k])
    joints = rng.uniform(-0.5, 0.5, (faces, exact.joints)) * np.minimum(-low[k:], high[k:])
    angles = rng.uniform([-20, -yaw, -20], [20, yaw, 20], (faces, 3))
    rotation = np.stack([rotation_from_euler(angle) for angle in angles])
    unit = float(np.ptp(model.mean[chosen, 1]))
    translation = np.stack([rng.uniform(-0.3, 0.3, faces), rng.uniform(-0.2, 0.2, faces), rng.uniform(2, 4, faces)], -1)
    translation *= 1.5 * unit
    positions = exact.positions(torch.tensor(coefficients), torch.tensor(joints)).numpy().transpose(0, 2, 1)
    seen = project(positions, rotation, translation, np.broadcast_to(K, (faces, 3, 3)))
    head = SkinnedHead(model, chosen, dtype=dtype)
    size = 0.4 * np.ptp(seen[..., 0], axis=1)
    corners = project(
        eyes(model, exact, coefficients, joints), rotation, translation, np.broadcast_to(K, (faces, 3, 3))
    )
    apart = np.linalg.norm(corners[:, 0] - corners[:, 1], axis=-1)
    return Scene(head, coefficients, joints, rotation, translation, seen, size, apart)


def eyes(model, exact: SkinnedHead, coefficients: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(b, 2, 3) in the head's frame."""
    mesh = model.vertices(*exact.parameters(torch.tensor(coefficients), torch.tensor(joints)))
    if "ibug68" in model.landmarks:
        return model.landmark_points("ibug68", mesh)[:, [36, 45]]
    return (model.joints.regressor @ mesh)[:, [model.joints.names.index(f"{side}_eye") for side in ("left", "right")]]


def turned_away(rotation: np.ndarray, degrees: np.ndarray | float, rng: np.random.Generator) -> np.ndarray:
    """Turned about random axes by so many degrees, all or each."""
    axes = rng.standard_normal((len(rotation), 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return rotation_from_vector(np.radians(np.broadcast_to(degrees, len(axes)))[:, None] * axes) @ rotation
