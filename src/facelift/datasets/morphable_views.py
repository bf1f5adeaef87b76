"""Rendered views as samples of a linear face model."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import Float, Int

from facelift.archives import read_npz
from facelift.atomic import written_whole
from facelift.datasets.augment import Augmentation
from facelift.datasets.morphable_faces import MorphableSample
from facelift.datasets.views import ViewCache
from facelift.geometry import intrinsics, project
from facelift.geometry.weak_perspective import weak_perspective
from facelift.landmarks import wflw98_of_ibug68
from facelift.morphable.coefficients import fit_coefficients
from facelift.morphable.face_cut import face_cut
from facelift.morphable.linear import LinearModel

if TYPE_CHECKING:
    from facelift.generators.morphable import MorphableGenerator


class MorphableViews:
    """Views of a cache whose heads the model describes; `size`: of the crops, px.

    The landmarks are the head's own, seen by the perspective camera. The parameters are the model's nearest to it: the
    coefficients of its mesh, and the scaled orthographic camera nearest to the true one. Both differ by about a per
    cent of the face, which a refinement of the landmarks can learn.
    """

    def __init__(
        self,
        views: ViewCache,
        model: LinearModel,
        coefficients: Float[np.ndarray, "heads k"],
        *,
        size: int,
    ):
        """`coefficients`: by `head_coefficients`. Raises ValueError for a cache without exact landmarks."""
        if views.exact is None or not np.isfinite(views.exact).all():
            raise ValueError("views: expected exact landmarks of every head, found a cache without")
        self.views, self.model, self.size = views, model, size
        self._points = views.exact[:, wflw98_of_ibug68()].astype(float)
        self.landmarks, self.parameters = self._placed(coefficients)

    def _placed(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(landmarks (n, 68, 3), parameters (n, p)) of every view."""
        landmarks, parameters = [], []
        for head, rotation, translation in zip(
            self.views.face, self.views.rotation.astype(float), self.views.translation.astype(float), strict=True
        ):
            points = self._points[head]
            pose = weak_perspective(points, rotation, translation, self.size)
            flat = project(points, rotation, translation, intrinsics(self.size))
            landmarks.append(np.column_stack([flat, points @ pose[2, :3]]))
            parameters.append(np.concatenate([pose.ravel(), coefficients[head]]))
        return np.stack(landmarks), np.stack(parameters)

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, index: int) -> MorphableSample:
        image = cv2.resize(self.views[index].image, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return MorphableSample(np.asarray(image), self.landmarks[index], self.parameters[index])

    def drawn(self, index: int, rng: np.random.Generator, augmentation: Augmentation) -> MorphableSample:
        """The view as it is: cameras were drawn when it was rendered."""
        return self[index]

    @property
    def identity(self) -> Int[np.ndarray, "n"]:
        """Place of each view's head in the cache."""
        return self.views.face


def head_coefficients(
    views: ViewCache, generator: "MorphableGenerator", model: LinearModel, cache: Path | None = None
) -> Float[np.ndarray, "heads k"]:
    """Shape and expression coefficients of every head of a cache, from its mesh; the file `cache` keeps them.

    Raises ValueError for a model of another mesh.
    """
    if cache is not None and cache.exists():
        kept = read_npz(cache, "coefficients of the heads of a cache of views", ("seed", "model", "coefficients"))
        if np.array_equal(kept["seed"], views.seeds) and str(kept["model"]) == _digest(model):
            return kept["coefficients"]
    cut, found = face_cut(generator.head), []
    for seed in views.seeds:
        drawn = generator.head.sample(np.random.default_rng([int(seed), 0]))
        neutral, moved = cut.neutral_and_moved(generator.head, *drawn)
        fit = fit_coefficients(model, moved, neutral)
        found.append(np.concatenate([fit.shape, fit.expression]))
    coefficients = np.array(found, np.float32)
    if cache is not None:
        with written_whole(cache) as partial, partial.open("wb") as stream:
            np.savez(stream, seed=views.seeds, model=_digest(model), coefficients=coefficients)
    return coefficients


def _digest(model: LinearModel) -> str:
    return hashlib.sha256(model.mean.tobytes() + model.basis.tobytes()).hexdigest()
