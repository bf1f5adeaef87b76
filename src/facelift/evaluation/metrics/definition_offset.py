"""Definition-corrected NME (DC-NME): what NMLC asks, for data that has sparse labels and no mesh.

Two data sets that place "the same" landmark differently do so by about the same step on every head: the outer end of a
brow, say, a little further out. DC-NME takes such a step off before it measures. The step is one constant vector a
landmark in the canonical head frame, in units of the face's size. Fitted and scored on the same faces it would flatter
the system, so that every face is scored with steps fitted on the other half.

    d_ij = (x_ij - y_ij) / s_i                                 prediction x, label y, size s
    o_j  = argmin over o of sum_i |d_ij - P R_i o|^2           R: cam_from_head, predicted; P: all rows, or in 2D two
    e_ij = |x_ij - s_i P R_i o_j - y_ij| / z_i                 z: normaliser

In 2D this is scaled orthography: perspective inside a face is ignored. It is not NMLC: NMLC keeps a landmark on the
skin and follows expressions, and minimises distances, not their squares. A DC-NME must never be printed as an NMLC.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from facelift.evaluation.metrics.nme import point_errors


@dataclass(frozen=True, eq=False)
class DcNme:
    """Errors of every face by the offsets of the other half; `metrics.nme` makes its tables from them."""

    errors: Float[np.ndarray, "m n"]
    """A fraction; NaN where the truth has no label, infinite in faces not found."""
    offsets: Float[np.ndarray, "2 n 3"]
    """Head frame, face sizes: as fitted on the faces of half False, and of half True."""


def dc_nme(
    predicted: Float[np.ndarray, "m n d"],
    truth: Float[np.ndarray, "m n d"],
    *,
    rotation: Float[np.ndarray, "m 3 3"],
    size: Float[np.ndarray, "m"],
    scale: Float[np.ndarray, "m"],
    half: Bool[np.ndarray, "m"],
    counted: Bool[np.ndarray, "m n"] | None = None,
) -> DcNme:
    """Cross-fitted DC-NME: offsets from each half of the faces, errors of the other half by them.

    `rotation`, `size` as `fit_offsets`, `scale` the normaliser z. `half` from `identity_halves`, so that no person
    is in both. Only points where `counted` shape the offsets; all labelled ones get errors. Raises ValueError for a
    half without faces, and as `fit_offsets` and `point_errors` do.
    """
    _check_views(predicted, rotation, size)
    if not (half.any() and (~half).any()):
        raise ValueError(f"DC-NME: expected faces in both halves, found {int(half.sum())} of {len(half)} in one")
    counted = np.ones(predicted.shape[:2], bool) if counted is None else counted
    offsets = np.stack([
        fit_offsets(predicted[part], truth[part], rotation[part], size[part], counted=counted[part])
        for part in (~half, half)
    ])  # fmt: skip
    corrected = np.empty(predicted.shape)
    for part, of_other in ((~half, offsets[1]), (half, offsets[0])):
        corrected[part] = corrected_points(predicted[part], rotation[part], size[part], of_other)
    return DcNme(point_errors(corrected, truth, scale), offsets)


def fit_offsets(
    predicted: Float[np.ndarray, "m n d"],
    truth: Float[np.ndarray, "m n d"],
    rotation: Float[np.ndarray, "m 3 3"],
    size: Float[np.ndarray, "m"],
    *,
    counted: Bool[np.ndarray, "m n"] | None = None,
) -> Float[np.ndarray, "n 3"]:
    """Least-squares step o_j from label to prediction, canonical head axes, in units of `size`.

    `rotation`: predicted cam_from_head, in whose camera's axes the points are (2D: its x and y, px). `size`: length in
    the points' unit of one unit of the offset in each face; best px per head unit, which does not shrink in profile as
    boxes do. Neither counts in a face not found, whose prediction is NaN. The shortest solution where the views do not
    determine it (2D, one view direction); 0 for a landmark that counts in no face. Raises ValueError that names a found
    face whose rotation is not finite or whose size is not positive.
    """
    found = _check_views(predicted, rotation, size)
    difference = (np.asarray(predicted, float) - truth) / size[:, None, None]
    used = np.isfinite(difference).all(-1)
    if counted is not None:
        used &= counted
    view = np.where(found[:, None, None], rotation, 0.0)[:, : predicted.shape[-1]]
    target = np.einsum("mdk,mnd->nk", view, np.where(used[..., None], difference, 0))
    normal = np.tensordot(used.astype(float), np.swapaxes(view, -1, -2) @ view, axes=(0, 0))
    return (np.linalg.pinv(normal, rcond=1e-10, hermitian=True) @ target[..., None])[..., 0]


def corrected_points(
    predicted: Float[np.ndarray, "m n d"],
    rotation: Float[np.ndarray, "m 3 3"],
    size: Float[np.ndarray, "m"],
    offsets: Float[np.ndarray, "n 3"],
) -> Float[np.ndarray, "m n d"]:
    """x_ij - s_i P R_i o_j: predictions by the labels' definition, for offsets fitted on another split."""
    d = predicted.shape[-1]
    steps = offsets @ np.swapaxes(np.asarray(rotation, float)[:, :d], -1, -2)
    return predicted - size[:, None, None] * steps


def px_per_unit(
    points_2d: Float[np.ndarray, "m n 2"], points_3d: Float[np.ndarray, "m n 3"], rotation: Float[np.ndarray, "m 3 3"]
) -> Float[np.ndarray, "m"]:
    """Scale of the weak perspective from each face's 3D points, turned by its rotation, to its 2D points."""
    turned = (points_3d @ np.swapaxes(rotation, -1, -2))[..., :2]
    turned = turned - turned.mean(1, keepdims=True)
    points = points_2d - points_2d.mean(1, keepdims=True)
    return (points * turned).sum((1, 2)) / (turned**2).sum((1, 2))


def identity_halves(identities: Sequence[str]) -> Bool[np.ndarray, "m"]:
    """Half of each face: every other person in alphabetical order, all faces of one person in the same half."""
    _, index = np.unique(np.asarray(identities), return_inverse=True)
    return index % 2 == 1


def _check_views(predicted: np.ndarray, rotation: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(m,) faces found. Raises ValueError as `fit_offsets` says."""
    found = np.isfinite(predicted).all(-1).any(-1)
    bad = np.flatnonzero(found & ~np.isfinite(rotation).all((-2, -1)))
    if len(bad):
        raise ValueError(f"face {bad[0]}: expected the predicted rotation of a face found, found NaN or infinity")
    bad = np.flatnonzero(found & ~(np.isfinite(size) & (size > 0)))
    if len(bad):
        raise ValueError(f"face {bad[0]}: expected a positive size of a face found, found {size[bad[0]]}")
    return found
