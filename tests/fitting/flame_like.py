"""FLAME's file with numbers of our own: a small head with joints, bases, correctives, in FLAME's names and shapes."""

import numpy as np

from facelift.morphable.procedural_head import ProceduralHead

ROWS = 7
"""Every so many of the procedural head's vertices are taken."""


def arrays(rng: np.random.Generator, *, shapes: int = 300, expressions: int = 100) -> dict[str, np.ndarray]:
    """The arrays of generic_model.pkl for about 2,200 vertices, metres; smooth offsets, joints inside of the head."""
    mean = ProceduralHead().vertices(np.zeros(5), np.zeros(3))[::ROWS].astype(np.float64) * 0.36
    v = len(mean)
    waves = rng.normal(0, 12, (shapes + expressions, 3)), rng.uniform(0, 6, shapes + expressions)
    size = 0.004 / np.sqrt(1 + np.arange(shapes + expressions) % shapes)
    wave = np.sin(mean @ waves[0].T + waves[1]) * size
    direction = rng.standard_normal((shapes + expressions, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    places = np.array([[0, -0.05, -0.02], [0, -0.05, -0.01], [0, -0.01, 0.0], [0.03, 0.03, 0.05], [-0.03, 0.03, 0.05]])
    near = np.exp(-((np.linalg.norm(mean[:, None] - places, axis=-1) / 0.05) ** 2))
    weights = near + 1e-3
    regressor = near / near.sum(0)
    regressor[regressor < 1e-3] = 0
    return {
        "v_template": mean,
        "f": np.argsort(np.linalg.norm(mean[rng.permutation(v)[:500], None] - mean, axis=-1), axis=1)[:, :3].astype(
            np.uint32
        ),
        "shapedirs": wave[:, None] * direction.T,
        "posedirs": rng.normal(0, 0.002, (v, 3, 36)),
        "J_regressor": (regressor / regressor.sum(0)).T,
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.int64),
    }


def slow_vertices(held: dict[str, np.ndarray], betas: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """One vertex and one joint at a time with 4 x 4 matrices; `pose` (5, 3) rotation vectors, root first."""
    shaped = held["v_template"] + held["shapedirs"][..., : len(betas)] @ betas
    places = held["J_regressor"] @ shaped
    turns = [_slow_rotation(vector) for vector in pose]
    bend = np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
    rest = shaped + held["posedirs"] @ bend
    world: list[np.ndarray] = []
    for joint in range(5):
        own = np.eye(4)
        own[:3, :3], own[:3, 3] = turns[joint], places[joint] - turns[joint] @ places[joint]
        world.append(own if joint == 0 else world[held["kintree_table"][0, joint]] @ own)
    found = np.zeros_like(rest)
    for v, point in enumerate(rest):
        for joint in range(5):
            found[v] += held["weights"][v, joint] * (world[joint] @ np.append(point, 1))[:3]
    return found


def _slow_rotation(vector: np.ndarray) -> np.ndarray:
    from scipy.linalg import expm

    x, y, z = vector
    return expm(np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]))
