"""`facelift predict --model dense.onnx`: dense landmarks of photos, with deviations and confidences."""

from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import UInt8

from facelift.commands.inputs import OVERLAY, Input
from facelift.commands.report import Report, say
from facelift.commands.targets import refuse_foreign
from facelift.dense_face import DenseFace
from facelift.dense_face_io import FORMATS, write_dense_faces
from facelift.dense_predictor import DensePredictor
from facelift.images import Photo, load_photo

if TYPE_CHECKING:
    from facelift.commands.predict import PredictConfig

_SURE, _UNSURE = 0.0, 0.05
"""Deviation of points drawn green, and from which they are red; of the face's size."""


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
    """The photo with the mesh of points; from green where the network is sure to red where it is not."""
    canvas = np.ascontiguousarray(photo.pixels).copy()
    for face in faces:
        points = face.points / photo.scale
        if not np.isfinite(points).all():
            continue
        size = float(np.ptp(points, axis=0).max())
        unsure = np.linalg.norm(face.sigma, axis=-1) / photo.scale / max(size, 1e-9)
        share = np.clip((unsure - _SURE) / (_UNSURE - _SURE), 0, 1)[:, None]
        colours = share * [235, 60, 60] + (1 - share) * [70, 225, 90]
        fixed = np.round(16 * (points - 0.5)).astype(np.int32)  # to OpenCV's centres at integers
        lines = [fixed[triangle] for triangle in triangles]
        cv2.polylines(canvas, lines, True, (190, 190, 190), 1, cv2.LINE_AA, 4)
        radius = int(16 * max(1.0, size / 220))
        for place, colour in zip(fixed, colours, strict=True):
            cv2.circle(canvas, tuple(int(v) for v in place), radius, tuple(colour), -1, cv2.LINE_AA, 4)
    return canvas
