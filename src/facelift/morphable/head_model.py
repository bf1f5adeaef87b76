"""A head that moves in any way, as a linear model: principal components of its faces."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from facelift.morphable.coefficients import fit_coefficients
from facelift.morphable.face_cut import FaceCut
from facelift.morphable.head import Head
from facelift.morphable.linear import POSE, LinearModel, Whitening
from facelift.morphable.mirror import mirrored
from facelift.morphable.pca import symmetric_components
from facelift.sources import Source


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A linear model, and what part of the head's variety it has."""

    model: LinearModel
    shape_explained: Float[np.ndarray, "k"]
    """Share of the squared distances of neutral faces from the mean that each component takes."""
    expression_explained: Float[np.ndarray, "e"]
    """Share of the squared distances that expressions move the vertices by."""


def head_model(
    head: Head,
    cut: FaceCut,
    *,
    name: str,
    sources: tuple[Source, ...],
    faces: int = 1000,
    shape: int = 40,
    expression: int = 10,
    seed: int = 0,
) -> HeadModel:
    """Components of random faces of the head, in the canonical frame; one deviation a coefficient.

    Shape: neutral faces about their mean. Expression: what moves the same faces, about zero, so that an expression of
    zeros is the neutral face. Each face counts with its mirror image: mirroring is a sign for each coefficient.
    Coefficients are whitened by the faces' own; poses are left as they are (`Whitening.of` a training's parameters).
    """
    rng = np.random.default_rng(seed)
    pairs = [cut.neutral_and_moved(head, *head.sample(rng)) for _ in range(faces)]
    neutral = np.stack([pair[0] for pair in pairs])
    moved = np.stack([pair[1] for pair in pairs])
    mean = neutral.mean(0, dtype=np.float64)
    mean = ((mean + mirrored(mean, cut.partners)) / 2).astype(np.float32)
    identities = symmetric_components(neutral - mean, cut.partners, shape)
    expressions = symmetric_components(moved - neutral, cut.partners, expression)
    signs = np.concatenate([identities.signs, expressions.signs]).astype(np.int32)
    model = LinearModel(
        mean=mean,
        shape=identities.basis,
        expression=expressions.basis,
        faces=cut.faces,
        landmark_vertices=cut.landmark_vertices,
        uv=cut.uv,
        whitening=Whitening.none(len(signs)),
        sources=sources,
        name=name,
        mirror_vertices=cut.partners,
        mirror_signs=signs,
    )
    return HeadModel(_whitened(model, neutral, moved), identities.explained, expressions.explained)


def distance_to_unseen(
    head: Head, cut: FaceCut, model: LinearModel, *, faces: int = 50, seed: int = 1_000_000
) -> tuple[float, float]:
    """(of all vertices, of the landmarks) mean distance of the model's nearest faces to random faces of the head that
    it was not made of, canonical units; shape fitted to the neutral face."""
    rng = np.random.default_rng(seed)
    neutral, moved = zip(*(cut.neutral_and_moved(head, *head.sample(rng)) for _ in range(faces)), strict=True)
    found = fit_coefficients(model, np.stack(moved), np.stack(neutral))
    distance = np.linalg.norm(model.vertices(found.shape, found.expression) - np.stack(moved), axis=-1)
    return float(distance.mean()), float(distance[:, model.landmark_vertices].mean())


def _whitened(
    model: LinearModel, neutral: Float[np.ndarray, "n v 3"], moved: Float[np.ndarray, "n v 3"]
) -> LinearModel:
    """The model with the mean and deviation of these faces' coefficients and of their mirror images'."""
    found = fit_coefficients(model, moved, neutral)
    pose = np.zeros((len(moved), POSE))
    parameters = np.concatenate([pose, found.shape, found.expression], axis=-1)
    whitening = Whitening.of(np.concatenate([parameters, model.mirror_parameters(parameters, 0.0)]))
    return replace(model, whitening=whitening)
