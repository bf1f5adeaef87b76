"""A hand before the face."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from facelift.generators.occluders.parts import (
    CM,
    HeadShape,
    Part,
    cloth_picture,
    tube,
)
from facelift.rendering import materials

_FINGERS = (  # base x, base y, length, radius, splay in degrees; cm
    (3.0, 3.6, 7.2, 0.85, -5.0),
    (1.0, 4.2, 8.0, 0.88, -1.0),
    (-1.0, 3.8, 7.4, 0.82, 3.0),
    (-2.8, 2.8, 5.8, 0.7, 9.0),
)
_PALM = np.array(  # y, half width, half thickness; cm
    [[-6.0, 2.6, 1.9], [-4.5, 2.9, 1.8], [-2.5, 3.7, 1.7], [0.0, 4.1, 1.5], [2.5, 4.1, 1.25], [4.0, 3.9, 1.1],
     [5.0, 3.3, 0.8], [5.6, 2.2, 0.5], [5.9, 0.0, 0.0]]
)  # fmt: skip
_ARM = np.array([[-5.0, 2.6, 1.9], [-8.0, 2.7, 2.1], [-14.0, 3.3, 2.9], [-34.0, 4.2, 4.0]])


def hand(
    rng: np.random.Generator, head: HeadShape, marks: np.ndarray, patch: np.ndarray, *, gap_cm: float = 0.0
) -> list[Part]:
    """A hand and forearm before cheek, mouth, eye, chin or brow, that rests on the face or is held before it."""
    targets = ([4, 55, 76], [28, 59, 82], [79, 85], [66], [74], [16], [37, 42], [54])
    target = marks[targets[rng.integers(len(targets))]].mean(0)
    outward = target - head.centre
    outward /= np.linalg.norm(outward)
    turn = np.radians(rng.normal(0, 50) + (180 if rng.random() < 0.08 else 0))
    fingers = np.array([np.sin(turn), np.cos(turn), 0.0])
    fingers -= (fingers @ outward) * outward
    fingers /= np.linalg.norm(fingers)
    across = np.cross(fingers, outward) * (1 if rng.random() < 0.5 else -1)
    size = rng.uniform(0.82, 1.05) * CM
    away = outward * (rng.uniform(1, 7) * CM if rng.random() < 0.35 else 0.0)
    origin = target - fingers * rng.uniform(-2, 9) * size + away
    curl, spread = rng.uniform(0, 1) ** 2 * 70, rng.uniform(0.5, 2.5)

    elbow = np.array([rng.uniform(-0.4, 0.4), -1.0 if np.cos(turn) > -0.2 else 1.0, 0.4])

    def placed(local: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Local (across, along the fingers, out of the back) in cm -> outside the head by the radius. Arms bend on
        their way to the elbow."""
        points = origin + (local * size) @ np.stack([across, fingers, outward])
        share = np.clip((-5 - local[:, 1:2]) / 29, 0, 1)
        points = points + share**1.5 * 22 * size * (elbow + fingers)
        return head.outside(points, 0.85 * radius * size + gap_cm * CM)

    def limb(local: np.ndarray, radii: np.ndarray, material: int = materials.HAND, picture=None) -> Part:
        part = tube(placed(local, radii[:, 1]), radii * size, material, picture, up=outward, sections=14)
        if picture is not None:
            return part
        spot = patch + (part.topology.uv - 0.5) * 0.05
        return replace(part, topology=replace(part.topology, uv=spot.astype(np.float32)))

    along = lambda rows, count: np.stack(  # noqa: E731
        [np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(rows)), rows[:, k]) for k in range(3)], -1
    )
    rows = along(_PALM, 22)
    parts = [limb(_straight(rows[:, 0]), rows[:, 1:])]
    rows = along(_ARM, 16)
    arm = _straight(rows[:, 0]) + np.outer(-5 - rows[:, 0], [0, 0, rng.uniform(0, 0.5)])
    parts.append(limb(arm, rows[:, 1:]))
    sleeve = slice(int(rng.integers(3, 15)), None)
    parts.append(limb(arm[sleeve], rows[sleeve, 1:] + 0.6, materials.CLOTH, cloth_picture(rng)))
    for x, y, length, radius, splay in _FINGERS:
        path = _finger(length, curl * rng.uniform(0.7, 1.3), np.radians(splay * spread))
        parts.append(limb(path + np.array([x, y - 1.5, 0]), _tapered(radius, len(path))))
    path = _finger(6.5, rng.uniform(0, 30), np.radians(-rng.uniform(15, 55)))
    parts.append(limb(path + np.array([2.6, -3.0, -0.2]), _tapered(1.05, len(path))))
    return parts


def _straight(y: np.ndarray) -> np.ndarray:
    return np.column_stack([0 * y, y, 0 * y])


def _finger(length: float, curl_deg: float, splay: float) -> Float[np.ndarray, "n 3"]:
    """Joints' path from inside the palm, bent towards the face at each of three joints, cm."""
    share = np.linspace(0, 1, 24)
    bent = np.radians(curl_deg) * sum(1 / (1 + np.exp(-(share - joint) / 0.025)) for joint in (0.2, 0.55, 0.8))
    step = np.stack([-np.sin(splay) * np.cos(bent), np.cos(splay) * np.cos(bent), -np.sin(bent)], -1)
    return np.cumsum(step, axis=0) * (length + 1.5) / len(share)


def _tapered(radius: float, count: int) -> Float[np.ndarray, "n 2"]:
    share = np.linspace(0, 1, count)
    knuckle = 0.05 * sum(np.exp(-(((share - joint) / 0.05) ** 2)) for joint in (0.55, 0.8))
    end = np.clip(np.maximum(share - 0.9, 0.1 - share), 0, None) / 0.1  # round at the tip and inside the palm
    tip = np.sqrt(np.clip(1 - end**2, 0, 1))
    return np.repeat((radius * (1.05 - 0.25 * share + knuckle) * tip)[:, None], 2, axis=1)
