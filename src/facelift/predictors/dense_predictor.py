"""From a photo to the dense landmarks of its faces."""

import os

import numpy as np
from jaxtyping import Float

from facelift.crops import CropTransform, crop_around, crop_transform, cut
from facelift.faces.dense_face import DenseFace
from facelift.finders import FaceFinder, FinderOnDemand, FoundFaces
from facelift.images import ImageSource, Photo, load_photo
from facelift.onnx_models.dense import DenseAnswer, OnnxDense
from facelift.predictors.mesh_predictor import MIN_SCORE
from facelift.predictors.predictor import given_faces

_EYES, _MOUTH = slice(36, 48), slice(48, 68)


class DensePredictor:
    """Finds the faces of a photo, and each one's dense landmarks. Keeps nothing between calls."""

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        finder: str | FaceFinder = "auto",
        threads: int | None = None,
        refine: bool = True,
    ):
        """`refine`: looks a second time, at a crop that the first look's landmarks frame and turn upright; the others
        as for `Predictor`."""
        self.network = OnnxDense(model, threads=threads)
        self.refine = refine
        self._finder = FinderOnDemand(finder)

    @property
    def finder(self) -> FaceFinder:
        """The face finder, loaded when it is first needed."""
        return self._finder.get()

    def predict(self, image: ImageSource, boxes: Float[np.ndarray, "n 4"] | list | None = None) -> list[DenseFace]:
        """The faces of a photo, the finder's surest first, or one per given box, in their order.

        `image`, `boxes` and errors as for `Predictor.predict`.
        """
        return self.predict_photo(load_photo(image), boxes)

    def predict_photo(self, photo: Photo, boxes: Float[np.ndarray, "n 4"] | list | None = None) -> list[DenseFace]:
        """`predict` for a photo that is loaded already."""
        if boxes is not None:
            return self.predict_found(photo, given_faces(boxes, photo))
        found = self.finder.find(photo.pixels)
        sure = found.scores >= MIN_SCORE
        return self.predict_found(photo, FoundFaces(found.boxes[sure], found.scores[sure], found.rolls[sure]))

    def predict_found(self, photo: Photo, found: FoundFaces) -> list[DenseFace]:
        """A face for each that a finder found in the photo as loaded."""
        if not len(found.boxes):
            return []
        size = self.network.input_size
        crops = [crop_transform(box, size=size, roll=-roll) for box, roll in zip(found.boxes, found.rolls, strict=True)]
        answer = self._look(photo, crops)
        if self.refine:
            crops = [self._closer(crop, points * size) for crop, points in zip(crops, answer.points, strict=True)]
            answer = self._look(photo, crops)
        boxes = found.boxes * photo.scale
        return [
            self._face(answer, index, crop, box, float(score), photo.scale)
            for index, (crop, box, score) in enumerate(zip(crops, boxes, found.scores, strict=True))
        ]

    def landmarks(self, points: Float[np.ndarray, "l 2"]) -> Float[np.ndarray, "68 2"]:
        """iBUG-68 on the mesh of points."""
        mesh = self.network.mesh
        return (points[mesh["landmark_index"]] * mesh["landmark_weights"][..., None]).sum(1)

    def _look(self, photo: Photo, crops: list[CropTransform]) -> DenseAnswer:
        return self.network.run(np.stack([cut(photo.pixels, crop) for crop in crops]))

    def _closer(self, crop: CropTransform, points: np.ndarray) -> CropTransform:
        """The upright crop around the landmarks (px of the first crop) that were seen in it."""
        landmarks = self.landmarks(points)
        if not np.isfinite(landmarks).all() or np.ptp(landmarks, axis=0).max() < 0.1 * crop.size:
            return crop  # nothing that a crop could be framed by
        right, down = landmarks[_MOUTH].mean(0) - landmarks[_EYES].mean(0)
        roll = crop.roll + float(np.arctan2(right, down))
        return crop_around(crop.to_image(landmarks), size=crop.size, roll=roll)

    def _face(
        self, answer: DenseAnswer, index: int, crop: CropTransform, box: np.ndarray, score: float, photo_scale: float
    ) -> DenseFace:
        points = crop.to_image(answer.points[index] * crop.size) * photo_scale
        return DenseFace(
            points,
            answer.sigma[index] * crop.size / crop.scale * photo_scale,
            np.clip(1 - answer.sigma[index], 0, 1),
            self.landmarks(points),
            float(np.degrees(crop.roll)),
            box,
            score,
        )
