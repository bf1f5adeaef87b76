"""Metrics of whole-head meshes: those of DAD-3DHeads and of dense landmarks with model fitting (Simic 2022)."""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from facelift.evaluation.metrics.landmarks_3d import Alignment, landmark_error, mean_of_finite
from facelift.geometry import procrustes

DAD_SEVEN = np.array([36, 39, 42, 45, 33, 48, 54])
"""The iBUG-68 landmarks that DAD-3DHeads aligns by: eye corners, nose bottom, mouth corners."""
DAD_INNER_EYE_DISTANCE = 20.0
"""Distance of the inner eye corners (39, 42) to which the benchmark scales the true head."""


def dad_chamfer(
    prediction: Float[np.ndarray, "n 3"],
    prediction_seven: Float[np.ndarray, "7 3"],
    target: Float[np.ndarray, "m 3"],
    target_seven: Float[np.ndarray, "7 3"],
    *,
    face: Int[np.ndarray, "k"],
    variant: Literal["released", "corrected"] = "released",
) -> float:
    """1/k sum over face vertices t of min_p |T p - s t|^2: one-sided Chamfer distance of DAD-3DHeads.

    Martyniuk et al. 2022. s makes the distance of the true inner eye corners 20; T is the similarity of the seven
    `DAD_SEVEN` landmarks. `face`: the target's vertices of the "face" subset. As released, distances are squared and T
    may be a reflection; "corrected": plain distances, T never a reflection. Any number of predicted vertices.
    """
    from scipy.spatial import cKDTree

    target, target_seven = np.asarray(target, float), np.asarray(target_seven, float)
    scale = DAD_INNER_EYE_DISTANCE / np.linalg.norm(target_seven[1] - target_seven[2])
    released = variant == "released"
    transform = procrustes(prediction_seven, scale * target_seven, with_scale=True, with_reflection=released)
    moved = transform.apply(np.asarray(prediction, float))
    distances = cKDTree(moved).query(scale * target[face])[0]
    return float((distances**2 if released else distances).mean())


def z_accuracy(
    prediction: Float[np.ndarray, "n 3"],
    target: Float[np.ndarray, "n 3"],
    *,
    neighbours: int = 5,
    variant: Literal["released", "corrected"] = "corrected",
) -> float:
    """Z_k = 1/(n k) sum_i sum_j [(t_i.z >= t_ij.z) == (p_i.z >= p_ij.z)], a fraction; ij the j-th neighbour of i.

    Martyniuk et al. 2022: Z5 on the head's 3,669 vertices. Neighbours are the nearest in the target. Both in one camera
    frame: the released code negates the true vertices, whose camera looks along -z. Only the order of depths counts.
    "released" sorts the table of distances along its other axis and so compares vertex i with the i-th nearest vertex
    of vertices 1..k: for parity with published numbers. Equal distances are taken in the vertices' order.
    Raises ValueError for fewer than k + 1 vertices.
    """
    prediction, target = np.asarray(prediction, float), np.asarray(target, float)
    if len(target) <= neighbours:
        raise ValueError(f"z_accuracy: expected more than {neighbours} vertices, found {len(target)}")
    near = _neighbours(target, neighbours) if variant == "corrected" else _released_neighbours(target, neighbours)
    true_order = target[:, None, 2] >= target[near, 2]
    return float((true_order == (prediction[:, None, 2] >= prediction[near, 2])).mean())


def mean_vertex_error(
    prediction: Float[np.ndarray, "b n 3"],
    target: Float[np.ndarray, "b n 3"],
    *,
    alignment: Alignment,
    region: Int[np.ndarray, "k"] | None = None,
) -> Float[np.ndarray, "b"]:
    """MVE = 1/k sum |T p_i - t_i| per head over the vertices of `region` (face or head), in the unit given (mm).

    Simic 2022, for meshes of one topology. T is fitted to the region's vertices themselves. The published numbers
    do not say what T is: name the alignment beside the result.
    """
    chosen = slice(None) if region is None else region
    return landmark_error(prediction[:, chosen], target[:, chosen], alignment=alignment)


def mean_landmark_error(
    prediction_px: Float[np.ndarray, "b n 2"],
    target_px: Float[np.ndarray, "b n 2"],
    *,
    visible: Bool[np.ndarray, "b n"] | None = None,
) -> Float[np.ndarray, "b"]:
    """MLME = 1/n sum |p_i - t_i| per face, px of the network's picture: predicted against true dense 2D landmarks.

    Simic 2022 (256 px). Landmarks without a label (NaN) or not `visible` do not count; none left scores NaN, and so
    does a face whose prediction is not finite where it counts.
    """
    counted = np.isfinite(target_px).all(-1)
    counted = counted if visible is None else counted & visible
    distances = np.linalg.norm(np.asarray(prediction_px, float) - target_px, axis=-1)
    lost = (counted & ~np.isfinite(distances)).any(1)
    return np.where(lost, np.nan, mean_of_finite(np.where(counted, distances, np.nan), axis=1))


def mean_reprojection_error(
    fitted_px: Float[np.ndarray, "b n 2"],
    predicted_px: Float[np.ndarray, "b n 2"],
    confidence: Float[np.ndarray, "b n"] | None = None,
) -> Float[np.ndarray, "b"]:
    """MRLE = sum c_i |f_i - p_i| / sum c_i per face, px: the fitted head's projected landmarks against those it was
    fitted to, not against the truth (the published 0.5 px lie below the landmarks' own error of 2 px).

    Simic 2022; unweighted without `confidence`. NaN for a face with no confidence at all.
    """
    distances = np.linalg.norm(np.asarray(fitted_px, float) - predicted_px, axis=-1)
    weights = np.ones(distances.shape) if confidence is None else np.asarray(confidence, float)
    total = weights.sum(1)
    return np.where(total > 0, (weights * distances).sum(1) / np.where(total > 0, total, 1.0), np.nan)


def _neighbours(points: np.ndarray, count: int) -> np.ndarray:
    """(n, count) nearest other points, by distance and then by index; rows with (nearly) equal distances by sorting."""
    from scipy.spatial import cKDTree

    distances, near = cKDTree(points).query(points, k=count + 2)  # itself, and the one that is not near enough
    near = near[:, 1 : count + 1]
    for row in np.flatnonzero(~(np.diff(distances) > 1e-9 * distances[:, -1:]).all(1)):
        apart = _distances(points[row : row + 1], points)[0]
        apart[row] = np.inf
        near[row] = np.argsort(apart, kind="stable")[:count]
    return near


def _released_neighbours(points: np.ndarray, count: int) -> np.ndarray:
    """(n, count): row i, column j is the i-th nearest point of point j + 1, itself the 0th."""
    return np.argsort(_distances(points, points[1 : count + 1]), axis=0, kind="stable")


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None] - b, axis=-1)
