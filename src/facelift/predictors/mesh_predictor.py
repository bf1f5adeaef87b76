"""From a photo to the 3D face meshes in it, by M3-LRN."""

import os

import numpy as np
from jaxtyping import Float

from facelift.crops import CropTransform, crop_around, crop_transform, cut
from facelift.faces.mesh_face import MeshFace
from facelift.finders import FaceFinder, FinderOnDemand, FoundFaces
from facelift.images import ImageSource, Photo, load_photo
from facelift.onnx_models.m3lrn import M3LRNAnswer, OnnxM3LRN
from facelift.predictors.predictor import given_faces

MIN_SCORE = 0.6
"""Score from which what a finder proposes is taken for a face. Finders propose more than there is, because the lifter
tells faces from the rest by its uncertainty; this network has none."""


class MeshPredictor:
    """Finds the faces of a photo, and each one's refined landmarks, 3DMM parameters and mesh (Wu et al. 2021).

    Keeps nothing between calls.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "m3lrn",
        *,
        finder: str | FaceFinder = "auto",
        threads: int | None = None,
        refine: bool = True,
    ):
        """`refine`: looks a second time, at a crop that the first look's landmarks frame and turn upright; the others
        as for `Predictor`."""
        self.network = OnnxM3LRN(model, threads=threads)
        self.refine = refine
        self._finder = FinderOnDemand(finder)

    @property
    def finder(self) -> FaceFinder:
        """The face finder, loaded when it is first needed."""
        return self._finder.get()

    def predict(
        self, image: ImageSource, boxes: Float[np.ndarray, "n 4"] | list | None = None, *, vertices: bool = False
    ) -> list[MeshFace]:
        """The faces of a photo, the finder's surest first, or one per given box, in their order.

        `image`, `boxes` and errors as for `Predictor.predict`. `vertices`: the meshes too; ValueError for weights
        without.
        """
        return self.predict_photo(load_photo(image), boxes, vertices=vertices)

    def predict_photo(
        self, photo: Photo, boxes: Float[np.ndarray, "n 4"] | list | None = None, *, vertices: bool = False
    ) -> list[MeshFace]:
        """`predict` for a photo that is loaded already."""
        if boxes is not None:
            return self.predict_found(photo, given_faces(boxes, photo), vertices=vertices)
        found = self.finder.find(photo.pixels)
        sure = found.scores >= MIN_SCORE
        return self.predict_found(
            photo, FoundFaces(found.boxes[sure], found.scores[sure], found.rolls[sure]), vertices=vertices
        )

    def predict_found(self, photo: Photo, found: FoundFaces, *, vertices: bool = False) -> list[MeshFace]:
        """A face for each that a finder found in the photo as loaded."""
        if not len(found.boxes):
            return []
        size, scale = self.network.input_size, self.network.crop_scale
        crops = [
            crop_transform(box, size=size, scale=scale, roll=-roll)
            for box, roll in zip(found.boxes, found.rolls, strict=True)
        ]
        answer = self._look(photo, crops, vertices=vertices and not self.refine)
        if self.refine:
            crops = [self._closer(crop, answer, index) for index, crop in enumerate(crops)]
            answer = self._look(photo, crops, vertices=vertices)
        boxes = found.boxes * photo.scale
        return [
            self._face(answer, index, box, float(score)).moved(crop, photo.scale)
            for index, (crop, box, score) in enumerate(zip(crops, boxes, found.scores, strict=True))
        ]

    def _look(self, photo: Photo, crops: list[CropTransform], *, vertices: bool) -> M3LRNAnswer:
        return self.network.run(np.stack([cut(photo.pixels, crop) for crop in crops]), vertices=vertices)

    def _closer(self, crop: CropTransform, answer: M3LRNAnswer, index: int) -> CropTransform:
        """The upright crop around the landmarks that were seen in a first crop."""
        points = answer.landmarks[index, :, :2]
        if not np.isfinite(points).all() or np.ptp(points, axis=0).max() < 0.1 * crop.size:
            return crop  # nothing that a crop could be framed by
        up_x, up_y = answer.parameters[index, :12].reshape(3, 4)[:2, 1]
        roll = crop.roll - float(np.arctan2(up_x, -up_y))
        return crop_around(crop.to_image(points), size=crop.size, scale=self.network.crop_scale, roll=roll)

    def _face(self, answer: M3LRNAnswer, index: int, box: np.ndarray, score: float) -> MeshFace:
        """In px of the crop."""
        pose, shape, expression = np.split(answer.parameters[index], np.cumsum([12, self.network.counts[0]]))
        pose = pose.reshape(3, 4)
        origin = np.array([0, 0, pose[2, 3]])  # z counts from the model's origin
        vertices = None if answer.vertices is None else answer.vertices[index] - origin
        return MeshFace(
            answer.landmarks[index] - origin,
            answer.coarse[index] - origin,
            pose - np.column_stack([np.zeros((3, 3)), origin]),
            shape,
            expression,
            vertices,
            box,
            score,
        )
