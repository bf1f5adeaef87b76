"""How far the edges between dense points are from the true ones: keeps neighbours together."""

from jaxtyping import Float, Int
from torch import Tensor

from facelift.losses.masked_mean import masked_mean, without_unlabelled


def vertex_edge_loss(
    prediction: Float[Tensor, "b n 2"], target: Float[Tensor, "b n 2"], edges: Int[Tensor, "e 2"]
) -> Float[Tensor, ""]:
    """Mean over edges (i, j) of |(p_i - p_j) - (t_i - t_j)|, in the points' unit; edges with a NaN end do not count.

    The thesis gives no formula; here it is the Euclidean length of the difference of the two edge vectors.
    """
    known = target.isfinite().all(-1).to(prediction)
    residual = without_unlabelled(prediction, target, known)
    first, second = edges.unbind(-1)
    apart = residual[:, first] - residual[:, second]
    length = (apart.square().sum(-1) + 1e-12).sqrt()  # a slope of zero where nothing is wrong
    return masked_mean(length, known[:, first] * known[:, second])
