"""`facelift predict`: photos, folders and videos in; landmarks, pose and drawings out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from PIL import Image

from facelift.atomic import written_whole
from facelift.commands.inputs import OVERLAY, Input, expand
from facelift.commands.predict_dense import check_options as check_dense
from facelift.commands.predict_dense import dense_work
from facelift.commands.predict_mesh import MeshOptions, check_options, mesh_work
from facelift.commands.report import Report, progress, run_over, say, tell
from facelift.commands.targets import refuse_foreign
from facelift.drawing import draw_photo
from facelift.faces.face import Face
from facelift.faces.face_io import pts_paths, write_faces
from facelift.images import load_photo
from facelift.onnx_models.dense import is_dense
from facelift.onnx_models.m3lrn import is_m3lrn
from facelift.predictors.dense_predictor import DensePredictor
from facelift.predictors.mesh_predictor import MeshPredictor
from facelift.predictors.predictor import Predictor
from facelift.video import predict_video


@dataclass(frozen=True)
class PredictConfig:
    """Find the faces of photos and videos: 98 3D landmarks, their 2D uncertainty and visibility, and head pose.

    Prints one line a face (angles in degrees, lengths in px of the photo) and writes a file per photo. A video becomes
    one table with a row a face (csv, or npz if asked for) and, with --draw, one annotated video.
    """

    inputs: tyro.conf.Positional[tuple[str, ...]]
    """Photos, videos, folders, or globs in quotes."""
    out: Path = Path("facelift-out")
    """Folder for the results."""
    draw: bool = False
    """Also write NAME.faces.jpg (or .mp4), the photo (or video) with the landmarks drawn in."""
    format: tuple[Literal["json", "csv", "npz", "pts"], ...] = ("json",)
    """Files to write per photo; pts holds iBUG's 68 points. An m3lrn and a dense model write json and npz."""
    scheme: Literal["wflw98", "ibug68", "aflw21"] = "wflw98"
    """Landmarks to write for photos; the other models have their own."""
    model: str = "small"
    """small (98 3D landmarks), m3lrn (68 and a mesh) or dense (202 points), which come with the package, or an .onnx
    file of `facelift export`."""
    finder: Literal["auto", "mediapipe"] = "auto"
    """What finds the faces; auto is our own network."""
    boxes: Annotated[tuple[tuple[float, float, float, float], ...], tyro.conf.arg(metavar="X0 Y0 X1 Y1")] = ()
    """Face boxes in px, brows to chin, instead of a finder; the same for every input."""
    threads: int | None = None
    """Threads of the network; without it, this machine's CPUs, at most 4."""
    refine: bool = True
    """Look twice: the second crop is framed and turned upright by the first look."""
    mirror: bool = True
    """Average the last look with that at the mirrored crop; a lifter's."""
    surface: MeshOptions = field(default_factory=MeshOptions)
    """What an M3-LRN writes besides."""


def predict(config: PredictConfig) -> int:
    """Runs the command; returns the exit code."""
    if not config.inputs:
        raise ValueError("expected at least one photo, video or folder, found none")
    work = _work(config)
    inputs = expand(config.inputs)
    if not inputs:
        raise ValueError(f"{' '.join(config.inputs)}: expected photos or videos, found none")
    report = run_over(inputs, work)
    say(report.summary(config.out))
    return report.exit_code


def _work(config: PredictConfig) -> Callable[[Input, Report], int]:
    """What is done with each file, by the kind of model. Raises ValueError for options of the other kind."""
    if is_m3lrn(config.model):
        meshes = MeshPredictor(config.model, finder=config.finder, threads=config.threads, refine=config.refine)
        check_options(config, meshes)
        return lambda entry, report: mesh_work(entry, config, meshes, report)
    if is_dense(config.model):
        check_dense(config)
        dense = DensePredictor(config.model, finder=config.finder, threads=config.threads, refine=config.refine)
        return lambda entry, report: dense_work(entry, config, dense, report)
    if config.surface.wanted:
        raise ValueError(f"--surface: expected an M3-LRN, found --model {config.model}, which makes no mesh")
    predictor = Predictor(
        config.model, finder=config.finder, threads=config.threads, refine=config.refine, mirror=config.mirror
    )
    return lambda entry, report: (_video if entry.is_video else _photo)(entry, config, predictor, report)


def _photo(entry: Input, config: PredictConfig, predictor: Predictor, report: Report) -> int:
    photo = load_photo(entry.path)
    faces = predictor.predict_photo(photo, np.array(config.boxes) if config.boxes else None)
    base = config.out / entry.stem
    for kind in config.format:
        converted = faces if kind == "pts" else [face.to(config.scheme) for face in faces]
        target = base.with_name(f"{base.name}.{kind}")
        for path in pts_paths(target, len(faces)) if kind == "pts" else [target]:
            refuse_foreign(path, entry.path)
        report.written += write_faces(target, converted, image=str(entry.path), image_wh=photo.original_wh)
    if config.draw:
        report.written.append(write_picture(base.with_name(f"{base.name}{OVERLAY}.jpg"), draw_photo(photo, faces)))
    for index, face in enumerate(faces):
        say(_line(entry.path, index, face))
    if not faces:
        say(f"{entry.path}: no face")
    return len(faces)


def _video(entry: Input, config: PredictConfig, predictor: Predictor, report: Report) -> int:
    if config.boxes:
        raise ValueError(f"{entry.path}: expected a photo with --boxes, found a video, whose faces move")
    base = config.out / entry.stem
    table = base.with_name(f"{base.name}.{'npz' if 'npz' in config.format else 'csv'}")
    refuse_foreign(table, entry.path)
    summary = predict_video(
        predictor,
        entry.path,
        table=table,
        picture=base.with_name(f"{base.name}{OVERLAY}.mp4") if config.draw else None,
        progress=lambda done, total: progress(f"{entry.path}: frame {done}{f'/{total}' if total else ''}"),
    )
    report.written += summary.paths
    if summary.frames < 0.98 * summary.claimed:
        tell(f"{entry.path}: {summary.claimed} frames by its header, only {summary.frames} decode; is it cut off?")
    say(f"{entry.path}: {summary.frames} frames, {summary.with_faces} with a face, {summary.faces} faces")
    return summary.faces


def _line(path: Path, index: int, face: Face) -> str:
    pitch, yaw, roll = face.euler_deg
    box = " ".join(f"{value:.1f}" for value in face.box)
    return (
        f"{path}: face {index + 1}  box {box}  pitch {pitch:+.1f} yaw {yaw:+.1f} roll {roll:+.1f}  "
        f"sigma {face.sigmas.mean():.2f}  score {face.score:.2f}"
    )


def write_picture(path: Path, pixels: np.ndarray) -> Path:
    """Writes an RGB picture; returns its path."""
    with written_whole(path) as partial:
        Image.fromarray(pixels).save(partial, quality=92)
    return path
