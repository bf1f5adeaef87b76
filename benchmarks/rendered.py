"""Rendered heads with exact truth that no training saw, for the benchmarks beside this file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facelift.boxes import tight_box
from facelift.faces.face import Face
from facelift.generators.morphable import MorphableGenerator
from facelift.generators.protocol import View
from facelift.geometry import look_at_rotation, procrustes, sphere_translation
from facelift.geometry.camera import UNIT_CM
from facelift.predictors.predictor import Predictor

UNSEEN = 1_000_000
"""First of the seeds that no training uses."""
SIZE = 256


@dataclass(frozen=True, eq=False)
class Rendered:
    """A head as the camera saw it, and what the Predictor says about it in the exact box of its landmarks."""

    view: View
    landmarks: Float[np.ndarray, "98 3"]
    face: Face

    @property
    def nme(self) -> float:
        """Over the visible points, by sqrt(w h) of the visible points' box; a fraction, NaN where none is seen."""
        seen = self.view.visible
        if not seen.any():
            return float("nan")
        error = np.linalg.norm(self.face.points_2d - self.view.points, axis=-1)[seen].mean()
        return float(error / np.sqrt(np.ptp(self.view.points[seen], axis=0).prod()))

    @property
    def error_3d_mm(self) -> float:
        """Mean distance of the 3D landmarks without pupils, after the best similarity, for a head of average size."""
        predicted, exact = self.face.landmarks_3d[:96], self.landmarks[:96]
        moved = procrustes(predicted, exact, with_scale=True).apply(predicted)
        return float(np.linalg.norm(moved - exact, axis=-1).mean() * UNIT_CM * 10)


def rendered(
    predictor: Predictor,
    generator: MorphableGenerator,
    seed: int,
    rotations: Float[np.ndarray, "n 3 3"],
    translations: Float[np.ndarray, "n 3"],
) -> Iterator[Rendered]:
    """The head of a seed from n cameras."""
    exact = generator.landmarks(seed)
    for view in generator.render(seed, rotations, translations, SIZE):
        (face,) = predictor.predict(view.image, [tight_box(view.points[:96])])
        yield Rendered(view, exact, face)


def around(azimuths_deg: Sequence[float]) -> tuple[Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 3"]]:
    """Rotations and translations of cameras on the sphere; positive azimuths show the nose to the image's left."""
    rotations = look_at_rotation(np.asarray(azimuths_deg, float), 0.0)
    return rotations, sphere_translation(rotations)
