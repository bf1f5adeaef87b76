"""Rotations: the 6D form that networks regress, and the distance between two rotations."""

from typing import Any

import numpy as np
from jaxtyping import Float

from facelift.geometry.arrays import constant, namespace, transpose

MIRROR = np.diag([-1.0, 1.0, 1.0])
"""Reflection at the plane x = 0, of head or camera: R -> MIRROR R MIRROR keeps a rotation."""


def rotation_from_6d(six: Float[Any, "*b 6"], eps: float = 1e-8) -> Float[Any, "*b 3 3"]:
    """Rotation whose columns are x = norm(a1), z = norm(x cross a2), y = z cross x (6DRepNet's order).

    Zhou et al. 2019, as ordered by Hempel et al. 2022. `six` holds a1 then a2; parallel or zero vectors give a
    matrix that is no rotation (its degenerate axes are zero), never NaN.
    """
    xp = namespace(six)
    x = _unit(six[..., :3], eps)
    z = _unit(xp.linalg.cross(x, six[..., 3:]), eps)
    y = xp.linalg.cross(z, x)
    return xp.stack([x, y, z], axis=-1)


def six_d_from_rotation(rotation: Float[Any, "*b 3 3"]) -> Float[Any, "*b 6"]:
    """The first two columns: `rotation_from_6d` of it gives the rotation back."""
    return namespace(rotation).concatenate([rotation[..., 0], rotation[..., 1]], axis=-1)


def rotation_from_vector(vector: Float[Any, "*b 3"]) -> Float[Any, "*b 3 3"]:
    """Rotation about `vector` by its length in radians (Rodrigues)."""
    xp = namespace(vector)
    angle = xp.sqrt((vector**2).sum(-1))[..., None, None]
    K = cross_matrix(vector)
    once, twice = xp.sinc(angle / np.pi), 0.5 * xp.sinc(angle / (2 * np.pi)) ** 2
    return constant(np.eye(3), vector) + once * K + twice * (K @ K)


def cross_matrix(vector: Float[Any, "*b 3"]) -> Float[Any, "*b 3 3"]:
    """The matrix K with K y = vector x y."""
    xp = namespace(vector)
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    zero = xp.zeros_like(x)
    return xp.stack([xp.stack([zero, -z, y], -1), xp.stack([z, zero, -x], -1), xp.stack([-y, x, zero], -1)], -2)


def geodesic_distance(a: Float[Any, "*b 3 3"], b: Float[Any, "*b 3 3"]) -> Float[Any, "*b"]:
    """Angle of the rotation from `a` to `b`, radians in [0, pi]; finite gradient everywhere.

    atan2(|axis part|, trace part) instead of acos((tr - 1) / 2): exact near 0 and pi, where acos loses half of its
    digits and its gradient is infinite.
    """
    xp = namespace(a, b)
    delta = a @ transpose(b)
    skew = xp.stack(
        [
            delta[..., 2, 1] - delta[..., 1, 2],
            delta[..., 0, 2] - delta[..., 2, 0],
            delta[..., 1, 0] - delta[..., 0, 1],
        ],
        axis=-1,
    )
    squared = (skew**2).sum(-1)
    tiny = squared < 1e-24
    sin = xp.where(tiny, xp.zeros_like(squared), xp.sqrt(xp.where(tiny, xp.ones_like(squared), squared)))
    cos = delta[..., 0, 0] + delta[..., 1, 1] + delta[..., 2, 2] - 1
    return xp.arctan2(sin, cos)


def _unit(vector: Any, eps: float) -> Any:
    xp = namespace(vector)
    return vector / xp.sqrt((vector**2).sum(-1)[..., None] + eps**2)
