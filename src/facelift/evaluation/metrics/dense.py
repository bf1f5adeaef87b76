"""Dense NME: how far a whole predicted face surface is from the true one, per face and as a fraction."""

import numpy as np
from jaxtyping import Float

from facelift.evaluation.metrics.icp import icp
from facelift.geometry import Similarity


def dense_nme_icp(
    prediction: Float[np.ndarray, "n 3"],
    target: Float[np.ndarray, "m 3"],
    *,
    outer_eye_corners: tuple[int, int],
    with_scale: bool = False,
    start: Similarity | None = None,
) -> float:
    """Protocol 1: mean_j min_i |T p_i - t_j| / d, T from point-to-point ICP of the prediction onto the target.

    Feng et al. 2018 (PRNet, section 4.3), followed by Wu et al. 2021: ICP finds corresponding nearest points, the error
    is normalised by the outer inter-ocular distance d of the target in 3D. The paper does not name the direction of the
    nearest points; here: from every true point, so that a prediction of a part of the face does not gain from it.
    Rigid unless `with_scale`. `outer_eye_corners`: two indices into the target. Any two numbers of points.
    Raises ValueError for an inter-ocular distance of 0.
    """
    from scipy.spatial import cKDTree

    target = np.asarray(target, float)
    left, right = outer_eye_corners
    interocular = float(np.linalg.norm(target[left] - target[right]))
    if not interocular > 0:
        raise ValueError(f"dense_nme_icp: expected two eye corners apart from each other, found {interocular} between")
    found = icp(prediction, target, with_scale=with_scale, start=start)
    moved = found.transform.apply(np.asarray(prediction, float))
    return float(cKDTree(moved).query(target)[0].mean() / interocular)


def dense_nme_box(
    prediction: Float[np.ndarray, "b n d"], target: Float[np.ndarray, "b n d"], *, box_wh: Float[np.ndarray, "b 2"]
) -> Float[np.ndarray, "b"]:
    """Protocol 2: 1/n sum |p_i - t_i| / sqrt(w h) per face, vertex by vertex, nothing aligned.

    Wu et al. 2021. Vertices of one topology, 2D or 3D as given, in the picture's px; `box_wh` of the face box that the
    set's protocol gives (AFLW2000-3D: the 68 true landmarks'). A face whose prediction is not finite scores NaN.
    Raises ValueError for a box without area.
    """
    if not (np.asarray(box_wh) > 0).all():
        raise ValueError(f"dense_nme_box: expected boxes with positive sides, found {np.min(box_wh)}")
    distances = np.linalg.norm(np.asarray(prediction, float) - target, axis=-1)
    return distances.mean(1) / np.sqrt(np.prod(np.asarray(box_wh, float), axis=-1))
