"""Coefficients of given meshes."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from facelift.morphable.linear import LinearModel


class Coefficients(NamedTuple):
    """What comes nearest to a mesh, and how near."""

    shape: Float[np.ndarray, "*b s"]
    expression: Float[np.ndarray, "*b e"]
    residual: Float[np.ndarray, "*b"]
    """Root mean square distance of a vertex, model units."""


def fit_coefficients(
    model: LinearModel,
    vertices: Float[np.ndarray, "*b v 3"],
    neutral: Float[np.ndarray, "*b v 3"] | None = None,
) -> Coefficients:
    """Least squares over all vertices, in the model's frame.

    With the same faces' `neutral` meshes, shape is fitted to those and expression to what the face moved by: an
    identity never explains an expression. Without, both are fitted at once, which comes a little nearer. Exact for
    meshes that the model made. Raises ValueError for meshes of another size.
    """
    for meshes in (vertices, vertices if neutral is None else neutral):
        if meshes.shape[-2:] != model.mean.shape:
            raise ValueError(f"mesh: expected {len(model.mean)} vertices of {model.name}, found {meshes.shape[-2]}")
    s = len(model.shape)
    if neutral is None:
        both = _least_squares(model.basis, vertices - model.mean)
        shape, expression = both[..., :s], both[..., s:]
    else:
        shape = _least_squares(model.shape, neutral - model.mean)
        expression = _least_squares(model.expression, vertices - neutral)
    missed = vertices - model.vertices(shape, expression)
    return Coefficients(shape, expression, np.sqrt((missed.astype(np.float64) ** 2).sum(-1).mean(-1)))


def _least_squares(basis: Float[np.ndarray, "k v 3"], offsets: Float[np.ndarray, "*b v 3"]) -> np.ndarray:
    """(*b, k) the coefficients; the shortest where offsets of the basis repeat each other."""
    flat = basis.reshape(len(basis), -1).astype(np.float64)
    products = offsets.reshape(*offsets.shape[:-2], -1) @ flat.T
    return products @ np.linalg.pinv(flat @ flat.T, hermitian=True)
