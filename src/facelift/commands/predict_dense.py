"""`facelift predict --model dense.onnx`: dense landmarks of photos, with deviations and confidences."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from facelift.commands.inputs import OVERLAY, Input
from facelift.commands.report import Report, say
from facelift.commands.targets import refuse_foreign
from facelift.drawing import draw_mesh
from facelift.faces.dense_face import DenseFace
from facelift.faces.dense_face_io import FORMATS, write_dense_faces
from facelift.images import Photo, load_photo
from facelift.predictors.dense_predictor import DensePredictor

if TYPE_CHECKING:
    from facelift.commands.predict import PredictConfig


def check_options(config: "PredictConfig") -> None:
    """Raises ValueError for what dense landmarks are not written as, before any photo is looked at."""
    for kind in config.format:
        if kind not in FORMATS:
            raise ValueError(f"--format: expected {' or '.join(FORMATS)} of dense landmarks, found {kind}")
    if config.scheme != "wflw98":  # the default stands for the model's own
        raise ValueError(f"--scheme: expected none for dense landmarks, found {config.scheme}")
    if config.surface.wanted:
        raise ValueError(f"--surface: expected an M3-LRN, found --model {config.model} of dense landmarks")


def dense_work(entry: Input, config: "PredictConfig", predictor: DensePredictor, report: Report) -> int:
    """One photo; returns the number of its faces. Raises ValueError for a video."""
    from facelift.commands.predict import write_picture

    if entry.is_video:
        raise ValueError(f"{entry.path}: expected a photo with dense landmarks, found a video")
    photo = load_photo(entry.path)
    faces = predictor.predict_photo(photo, np.array(config.boxes) if config.boxes else None)
    base = config.out / entry.stem
    for kind in config.format:
        target = base.with_name(f"{base.name}.{kind}")
        refuse_foreign(target, entry.path)
        written = write_dense_faces(
            target, faces, image=str(entry.path), image_wh=photo.original_wh, network=predictor.network
        )
        report.written.append(written)
    if config.draw:
        drawn = draw_dense(photo, faces, predictor.network.mesh["faces"])
        report.written.append(write_picture(base.with_name(f"{base.name}{OVERLAY}.jpg"), drawn))
    for index, face in enumerate(faces):
        box = " ".join(f"{value:.1f}" for value in face.box)
        say(
            f"{entry.path}: face {index + 1}  box {box}  {len(face.points)} points  sigma {face.sigma.mean():.2f}  "
            f"score {face.score:.2f}"
        )
    if not faces:
        say(f"{entry.path}: no face")
    return len(faces)


def draw_dense(photo: Photo, faces: list[DenseFace], triangles: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """The photo with the meshes of points."""
    count = int(triangles.max()) + 1
    points, sigma = (
        np.array([getattr(face, name) for face in faces]).reshape(len(faces), count, 2) / photo.scale
        for name in ("points", "sigma")
    )
    return draw_mesh(photo.pixels, points, triangles, sigma)
