"""Principal components of faces, each its own mirror image or the negative of it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from facelift.morphable.mirror import mirrored

_NOTHING = 1e-9
"""Share of the variance below which a component is rounding."""


@dataclass(frozen=True, eq=False)
class Components:
    """Directions in which faces differ, the strongest first."""

    basis: Float[np.ndarray, "k v 3"]
    """Offset per standard deviation; orthogonal to each other."""
    signs: Int[np.ndarray, "k"]
    """1 where the mirror image of the offset is the offset itself, -1 where it is its negative; exactly."""
    explained: Float[np.ndarray, "k"]
    """Share of the sum of squared distances that each takes, 0..1."""


def symmetric_components(offsets: Float[np.ndarray, "n v 3"], partners: Int[np.ndarray, "v"], count: int) -> Components:
    """The first `count` principal components of the offsets and their mirror images together, about zero.

    The symmetric and the antisymmetric halves of the offsets are orthogonal to each other: their components are those
    of the whole, merged by variance. Fewer come where the offsets span no more. `partners` must swap pairs.
    Raises ValueError where nothing differs.
    """
    images = mirrored(offsets, partners)
    found = [_components(half, count) for half in ((offsets + images) / 2, (offsets - images) / 2)]
    variance, basis = (np.concatenate(parts) for parts in zip(*found, strict=True))
    signs = np.repeat([1, -1], [len(own) for own, _ in found])
    total = np.square(offsets, dtype=np.float64).sum() / len(offsets)
    if total == 0:
        raise ValueError(f"components: expected faces that differ, found {len(offsets)} equal ones")
    order = np.argsort(-variance)[:count]
    order = order[variance[order] > _NOTHING * total]
    basis, signs = basis[order], signs[order]
    exact = (basis + signs[:, None, None] * mirrored(basis, partners)) / 2
    return Components(exact.astype(np.float32), signs, variance[order] / total)


def _components(offsets: np.ndarray, count: int) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k v 3"]]:
    """(variance, offset per deviation) by the samples' products with each other: there are fewer of them than of
    coordinates."""
    flat = offsets.reshape(len(offsets), -1).astype(np.float64)
    variance, mixtures = np.linalg.eigh(flat @ flat.T / len(flat))
    variance, mixtures = np.clip(variance[::-1][:count], 0, None), mixtures[:, ::-1][:, :count]
    basis = (mixtures.T @ flat) / np.sqrt(len(flat))  # its length is the deviation
    return variance, basis.reshape(-1, *offsets.shape[1:])
