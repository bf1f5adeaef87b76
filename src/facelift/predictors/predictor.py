"""From a photo to its faces."""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from facelift.crops import CropTransform, crop_around, crop_transform, cut
from facelift.faces.face import Face
from facelift.finders import FaceFinder, FinderOnDemand, FoundFaces
from facelift.geometry.camera import FOCAL, head_tilt, project, roll_rotation
from facelift.images import ImageSource, Photo, load_photo
from facelift.onnx_models.lifter import DEFAULT, OnnxLifter, OnnxOutput

MAX_SIGMA = 0.1
"""`Face.relative_sigma` from which what a finder found is no face."""
_FACE_POINTS = slice(0, 96)
"""WFLW-98 without the pupils: the landmarks whose tight box frames the face."""


class Predictor:
    """Finds the faces of a photo, and each one's 3D landmarks, uncertainty, visibility and pose.

    Keeps nothing between calls.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT,
        *,
        finder: str | FaceFinder = "auto",
        threads: int | None = None,
        refine: bool = True,
        mirror: bool = True,
    ):
        """`model`: "small", which comes with the package, or an .onnx file of `facelift export`. `finder`: "auto" (our
        own), "mediapipe" or an object with `find`. `threads`: of the network; None takes this process's CPUs, at
        most 4. `refine`: looks a second time, at a crop that is framed and turned upright by the first look's
        landmarks. `mirror`: averages the last look with that at the mirrored crop; takes half as long again.
        """
        self.network = OnnxLifter(model, threads=threads)
        self.refine, self.mirror = refine, mirror
        self._finder = FinderOnDemand(finder)

    @property
    def finder(self) -> FaceFinder:
        """The face finder, loaded when it is first needed: a caller with boxes needs none."""
        return self._finder.get()

    def predict(self, image: ImageSource, boxes: Float[np.ndarray, "n 4"] | list | None = None) -> list[Face]:
        """The faces of a photo, the finder's surest first, or one per given box, in their order.

        What the finder took for a face, but the network is not sure of (MAX_SIGMA), is left out; a given box always
        gives a face.

        `image`: a path, encoded bytes, a PIL image, or an array (h, w[, 1-4]) in RGB order. `boxes`: x0 y0 x1 y1 in px
        of the upright original, tight around the landmarks from brows to chin. Raises ValueError or FileNotFoundError
        for a picture that cannot be read, and ValueError for boxes that are none.
        """
        return self.predict_photo(load_photo(image), boxes)

    def predict_photo(self, photo: Photo, boxes: Float[np.ndarray, "n 4"] | list | None = None) -> list[Face]:
        """`predict` for a photo that is loaded already."""
        if boxes is not None:
            return self.predict_found(photo, given_faces(boxes, photo))
        faces = self.predict_found(photo, self.finder.find(photo.pixels))
        return [face for face in faces if face.relative_sigma < MAX_SIGMA]

    def predict_found(self, photo: Photo, found: FoundFaces) -> list[Face]:
        """A face for each that a finder found in the photo as loaded."""
        if not len(found.boxes):
            return []
        size = self.network.input_size
        transforms = [
            crop_transform(box, size=size, roll=-roll) for box, roll in zip(found.boxes, found.rolls, strict=True)
        ]
        if self.refine:
            lifted = self.network.run(_crops(photo, transforms))
            transforms = [_closer(transform, lifted, i) for i, transform in enumerate(transforms)]
        lifted = self._look(photo, transforms, mirror=self.mirror)
        faces = zip(transforms, found.boxes * photo.scale, found.scores, strict=True)
        return [_face(photo, box, score, crop, lifted, i) for i, (crop, box, score) in enumerate(faces)]

    def predict_next(self, photo: Photo, faces: Sequence[Face], *, mirror: bool = False) -> list[Face]:
        """Those faces in the next frame of a video, in their order: one look each, at the crop that the face's
        landmarks of the last frame framed and turned upright. They keep their score; the box is that of the last
        landmarks. Whether a face is still there is for the caller to judge (`facelift.tracking`).
        """
        if not faces:
            return []
        transforms = [_upright_crop(face, photo, self.network.input_size) for face in faces]
        lifted = self._look(photo, transforms, mirror=mirror)
        return [
            _face(photo, old.landmark_box, old.score, crop, lifted, i)
            for i, (crop, old) in enumerate(zip(transforms, faces, strict=True))
        ]

    def _look(self, photo: Photo, transforms: list[CropTransform], *, mirror: bool) -> OnnxOutput:
        crops = _crops(photo, transforms)
        if not mirror:
            return self.network.run(crops)
        both = self.network.run(np.concatenate([crops, crops[:, :, ::-1]]))
        return _average(both[: len(crops)], both[len(crops) :].mirrored())


def _crops(photo: Photo, transforms: list[CropTransform]) -> UInt8[np.ndarray, "n s s 3"]:
    return np.stack([cut(photo.pixels, transform) for transform in transforms])


def _average(a: OnnxOutput, b: OnnxOutput) -> OnnxOutput:
    """The middle of two answers about the same crops; of rotations, the one nearest to their mean."""
    u, _, vt = np.linalg.svd(a.rotation + b.rotation)
    keep = np.ones((len(u), 3))
    keep[:, 2] = np.linalg.det(u @ vt)
    return OnnxOutput(
        landmarks=(a.landmarks + b.landmarks) / 2,
        rotation=u * keep[:, None] @ vt,
        translation=(a.translation + b.translation) / 2,
        covariance=(a.covariance + b.covariance) / 2,
        visibility=(a.visibility + b.visibility) / 2,
        marks=(a.marks + b.marks) / 2,
        marks_covariance=(a.marks_covariance + b.marks_covariance) / 2,
    )


def given_faces(boxes: Float[np.ndarray, "n 4"] | list, photo: Photo) -> FoundFaces:
    """The caller's boxes in px of the photo as loaded. Raises ValueError for what are no boxes."""
    array = np.asarray(boxes, np.float64)
    array = array.reshape(0, 4) if array.size == 0 else np.atleast_2d(array)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes: expected (n, 4) as x0 y0 x1 y1, found shape {np.shape(boxes)}")
    for box in array:
        if not (np.isfinite(box).all() and box[0] < box[2] and box[1] < box[3]):
            raise ValueError(f"box: expected finite x0 < x1 and y0 < y1 in px, found {box.tolist()}")
    return FoundFaces(array / photo.scale, np.ones(len(array)), np.zeros(len(array)))


def crop_camera(transform: CropTransform) -> Float[np.ndarray, "3 3"]:
    """Intrinsics of a crop's camera in px of the image it was cut from, its roll undone.

    The network sees every crop through focal FOCAL crop widths and the principal point in the middle.
    """
    focal_px = FOCAL * transform.size / transform.scale
    middle = transform.to_image(np.full((1, 2), transform.size / 2))[0]
    return np.array([[focal_px, 0, middle[0]], [0, focal_px, middle[1]], [0, 0, 1.0]])


def _closer(transform: CropTransform, lifted: OnnxOutput, index: int) -> CropTransform:
    """The upright crop around the landmarks that were seen in a first crop.

    A crop turned by an angle is the picture of a camera rolled by it, so nothing but the roll changes.
    """
    unit = np.array([[FOCAL, 0, 0.5], [0, FOCAL, 0.5], [0, 0, 1]]) * [[transform.size], [transform.size], [1]]
    points = project(lifted.landmarks[index, _FACE_POINTS], lifted.rotation[index], lifted.translation[index], unit)
    if not np.isfinite(points).all() or np.ptp(points, axis=0).max() < 0.1 * transform.size:
        return transform  # nothing that a crop could be framed by
    roll = transform.roll - float(head_tilt(lifted.rotation[index]))
    return crop_around(transform.to_image(points), size=transform.size, roll=roll)


def _upright_crop(face: Face, photo: Photo, size: int) -> CropTransform:
    """The upright crop around a known face, of the photo as loaded."""
    return crop_around(face.points_2d[_FACE_POINTS] / photo.scale, size=size, roll=-float(head_tilt(face.rotation)))


def _face(
    photo: Photo, box: np.ndarray, score: float, transform: CropTransform, lifted: OnnxOutput, index: int
) -> Face:
    """One face in px of the original. The crop's turn is taken back by the opposite roll of the camera."""
    upright = roll_rotation(np.asarray(-transform.roll))
    rotation, translation = upright @ lifted.rotation[index], upright @ lifted.translation[index]
    intrinsics = np.diag([photo.scale, photo.scale, 1.0]) @ crop_camera(transform)
    original_from_crop = np.linalg.inv(transform.crop_from_image[:, :2]) * photo.scale * transform.size
    landmarks = lifted.landmarks[index]
    return Face(
        points_2d=project(landmarks, rotation, translation, intrinsics),
        landmarks_3d=landmarks,
        covariances=original_from_crop @ lifted.covariance[index] @ original_from_crop.T,
        visibility=lifted.visibility[index],
        rotation=rotation,
        translation=translation,
        intrinsics=intrinsics,
        box=box,
        score=float(score),
        marks_2d=transform.to_image(lifted.marks[index] * transform.size) * photo.scale,
        marks_covariances=original_from_crop @ lifted.marks_covariance[index] @ original_from_crop.T,
    )
