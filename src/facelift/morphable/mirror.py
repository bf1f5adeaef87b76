"""Faces in flipped pictures: the partner of every vertex, and what a flip does to pose and coefficients."""

import numpy as np
from jaxtyping import Float, Int

from facelift.geometry import MIRROR
from facelift.landmarks import IBUG68

FLIP = np.diag(MIRROR)
"""Factors of x, y, z."""
_POSE_SIGNS = np.array([[1.0, -1, -1, -1], [-1, 1, 1, 1], [-1, 1, 1, 1]])
_ASYMMETRY = 0.02
"""Median distance to the partner beyond which a mean is not one of a symmetric face, in sizes of the face."""


def mirror_partners(mean: Float[np.ndarray, "v 3"], landmarks: Int[np.ndarray, "68"] | None = None) -> np.ndarray:
    """(v,) the vertex nearest to the mirror image of each, at the plane x = 0; given landmarks get each other.

    A permutation of pairs where the mesh was built symmetric; elsewhere vertices can share a partner, and the mirrored
    mesh is off by up to half an edge. Raises ValueError for a mean that has no such plane.
    """
    from scipy.spatial import cKDTree

    distance, partners = cKDTree(mean).query(mean * FLIP)
    size = np.linalg.norm(np.ptp(mean, axis=0))
    if np.median(distance) > _ASYMMETRY * size:
        raise ValueError(
            f"mean: expected a face that is its own mirror image at x = 0 within {_ASYMMETRY:.0%} of its size, "
            f"found a median distance of {np.median(distance) / size:.1%}"
        )
    if landmarks is not None:
        partners[landmarks] = landmarks[IBUG68.mirror]
    return partners


def symmetric_landmarks(landmarks: Int[np.ndarray, "68"], partners: Int[np.ndarray, "v"]) -> Int[np.ndarray, "68"]:
    """The landmarks of the image's left half and the middle, and their partners on the right."""
    right = IBUG68.mirror < np.arange(68)
    return np.where(right, partners[landmarks[IBUG68.mirror]], landmarks)


def mirrored(offsets: Float[np.ndarray, "*b v 3"], partners: Int[np.ndarray, "v"]) -> Float[np.ndarray, "*b v 3"]:
    """Vertices, or offsets of vertices, of the mirror image."""
    return offsets[..., partners, :] * FLIP.astype(offsets.dtype)


def mirror_pose(pose: Float[np.ndarray, "*b 3 4"], width: float) -> Float[np.ndarray, "*b 3 4"]:
    """[sR | t] of the mirrored face in the picture of `width` px flipped left to right; exact.

    x of the flipped picture is width - x, and the mirrored face is the model's mirror image: F [sR | t] M with
    F = M = diag(-1, 1, 1), and the width added to t_x.
    """
    flipped = pose * _POSE_SIGNS.astype(pose.dtype)
    flipped[..., 0, 3] += width
    return flipped


def coefficient_mirror(
    mean: Float[np.ndarray, "v 3"], basis: Float[np.ndarray, "k v 3"], partners: Int[np.ndarray, "v"]
) -> tuple[Float[np.ndarray, "k k"], Float[np.ndarray, "k"]]:
    """(A, b): A c + b are the coefficients that come nearest to the mirror image of the mesh with coefficients c.

    Least squares over all vertices: exact if the mean is symmetric and the basis spans the mirror image of each of its
    members, a projection otherwise.
    """
    flat = basis.reshape(len(basis), -1).astype(np.float64)
    images = mirrored(basis, partners).reshape(len(basis), -1).astype(np.float64)
    asymmetry = (mirrored(mean, partners) - mean).astype(np.float64).ravel()
    inverse = np.linalg.pinv(flat @ flat.T, hermitian=True)
    return inverse @ (flat @ images.T), inverse @ (flat @ asymmetry)
