"""3D landmark error after Procrustes alignment, in the unit of the labels, and 3D NME.

Labels are finite; a landmark with a NaN label is not scored. A face with a prediction that is not finite where there is
a label, or with too few labels to align, scores NaN: it cannot pass for a better one.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from facelift.geometry import procrustes

Alignment = Literal["none", "rigid", "similarity"]
"""What may be taken out of a prediction before it is measured: nothing; rotation and translation; scale too."""


def landmark_distances(
    prediction: Float[np.ndarray, "b n 3"],
    target: Float[np.ndarray, "b n 3"],
    *,
    alignment: Alignment,
    with_reflection: bool = False,
) -> Float[np.ndarray, "b n"]:
    """|T(p) - t| of every landmark, T the least-squares alignment of the face's prediction to its labels.

    Both in one unit (mm for an error in mm; canonical units times `10 * UNIT_CM` are the mm of an average head), which
    the distance keeps. Not symmetric once scale is free: the target's size counts. `with_reflection` only for a
    protocol that allows it. NaN as the module says.
    """
    prediction, target = np.asarray(prediction, float), np.asarray(target, float)
    labelled = np.isfinite(target).all(-1)
    scored = labelled & _scorable(prediction, labelled)[:, None]
    moved = prediction if alignment == "none" else np.full_like(prediction, np.nan)
    if alignment != "none":
        faces = scored.sum(1) >= 3
        weights, source = scored[faces].astype(float), np.where(scored[faces, :, None], prediction[faces], 0.0)
        goal = np.where(scored[faces, :, None], target[faces], 0.0)
        with_scale = alignment == "similarity"
        moved[faces] = procrustes(
            source, goal, with_scale=with_scale, weights=weights, with_reflection=with_reflection
        ).apply(source)
    return np.where(scored, np.linalg.norm(moved - target, axis=-1), np.nan)


def landmark_error(
    prediction: Float[np.ndarray, "b n 3"],
    target: Float[np.ndarray, "b n 3"],
    *,
    alignment: Alignment,
    with_reflection: bool = False,
) -> Float[np.ndarray, "b"]:
    """1/n sum |T(p_l) - t_l| of every face over its labelled landmarks; arguments as `landmark_distances`."""
    distances = landmark_distances(prediction, target, alignment=alignment, with_reflection=with_reflection)
    return mean_of_finite(distances, axis=1)


def nme_3d(
    prediction: Float[np.ndarray, "b n 3"],
    target: Float[np.ndarray, "b n 3"],
    *,
    scale: Float[np.ndarray, "b"],
    alignment: Alignment = "none",
) -> Float[np.ndarray, "b"]:
    """1/n sum |T(p_l) - t_l| / scale per face, a fraction.

    `scale`: a length of the labels of `metrics.normalisers`. Raises ValueError for a scale that is not positive; a face
    with a NaN scale, whose normaliser has no label, scores NaN.
    """
    if (np.asarray(scale) <= 0).any():
        raise ValueError(f"nme_3d: expected positive scales, found {np.nanmin(scale)}")
    return landmark_error(prediction, target, alignment=alignment) / scale


def mean_of_finite(values: Float[np.ndarray, "b n"], *, axis: int) -> Float[np.ndarray, "k"]:
    """Mean of the values that are not NaN; NaN, without a warning, where there is none."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis) / np.maximum(count, 1), np.nan)


def _scorable(prediction: np.ndarray, labelled: Bool[np.ndarray, "b n"]) -> Bool[np.ndarray, "b"]:
    return (np.isfinite(prediction).all(-1) | ~labelled).all(1)
