"""`facelift predict --model m3lrn`: refined landmarks, 3DMM parameters, meshes, depth, PNCC and textures of photos."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from facelift.commands.inputs import OVERLAY, Input
from facelift.commands.report import Report, say
from facelift.commands.targets import refuse_foreign
from facelift.crops import crop_transform, cut
from facelift.drawing import draw_points
from facelift.faces.mesh_face import MeshFace
from facelift.faces.mesh_face_io import FORMATS, write_mesh_faces
from facelift.images import Photo, load_photo
from facelift.landmarks import SCHEMES
from facelift.predictors.mesh_predictor import MeshPredictor

if TYPE_CHECKING:
    from facelift.commands.predict import PredictConfig
    from facelift.meshes.coloured_mesh import ColouredMesh

TEXTURE_PX = 512
"""Side of a texture."""


@dataclass(frozen=True)
class MeshOptions:
    """What a model with a mesh writes besides; nothing of it for landmarks alone."""

    mesh: tuple[Literal["obj", "ply", "glb"], ...] = ()
    """Meshes of the faces, NAME.face1.obj and so on: px of the photo, y up, z towards the camera, textured."""
    depth: bool = False
    """NAME.depth.png: the faces' depth in grey, the nearest white."""
    pncc: bool = False
    """NAME.pncc.png: the mean shape's coordinates as colours (Zhu et al. 2016)."""
    texture: bool = False
    """NAME.face1.texture.png: what the photo shows of the mesh, completed, on its texture square."""
    completion: Path | None = None
    """An exported texture GAN, which completes textures instead of the face's other side and smooth colours."""

    @property
    def wanted(self) -> bool:
        """Whether anything is."""
        return bool(self.mesh) or self.depth or self.pncc or self.texture or self.completion is not None


def check_options(config: "PredictConfig", predictor: MeshPredictor) -> None:
    """Raises ValueError for what this model cannot write, before any photo is looked at."""
    for kind in config.format:
        if kind not in FORMATS:
            raise ValueError(f"--format: expected {' or '.join(FORMATS)} of an M3-LRN, found {kind}")
    if config.scheme not in ("wflw98", "ibug68"):  # the default stands for the model's own
        raise ValueError(f"--scheme: expected ibug68, which an M3-LRN gives, found {config.scheme}")
    options = config.surface
    if options.completion is not None and not (options.texture or options.mesh):
        raise ValueError("--surface.completion: expected --surface.texture or --surface.mesh to complete, found none")
    if options.completion is not None and not options.completion.is_file():
        raise FileNotFoundError(f"{options.completion}: expected a texture GAN in ONNX format, found no such file")
    if (options.texture or options.completion) and "uv" not in predictor.network.mesh:
        raise ValueError(f"{predictor.network.path}: expected texture coordinates, found a mesh without")
    if options.wanted:
        predictor.network.mesh  # noqa: B018 (says what is missing)


def mesh_work(entry: Input, config: "PredictConfig", predictor: MeshPredictor, report: Report) -> int:
    """One photo; returns the number of its faces. Raises ValueError for a video and for formats of other models."""
    if entry.is_video:
        raise ValueError(f"{entry.path}: expected a photo with --model m3lrn, found a video")
    photo = load_photo(entry.path)
    boxes = np.array(config.boxes) if config.boxes else None
    faces = predictor.predict_photo(photo, boxes, vertices=config.surface.wanted)
    base = config.out / entry.stem
    for kind in config.format:
        target = base.with_name(f"{base.name}.{kind}")
        refuse_foreign(target, entry.path)
        model = predictor.network.path.stem
        written = write_mesh_faces(target, faces, image=str(entry.path), image_wh=photo.original_wh, model=model)
        report.written.append(written)
    if config.draw:
        report.written.append(_write(base, f"{OVERLAY}.jpg", _drawn(photo, faces)))
    if config.surface.wanted and faces:
        report.written += _surfaces(base, photo, faces, predictor, config.surface)
    for index, face in enumerate(faces):
        pitch, yaw, roll = face.euler_deg
        box = " ".join(f"{value:.1f}" for value in face.box)
        say(
            f"{entry.path}: face {index + 1}  box {box}  pitch {pitch:+.1f} yaw {yaw:+.1f} roll {roll:+.1f}  "
            f"score {face.score:.2f}"
        )
    if not faces:
        say(f"{entry.path}: no face")
    return len(faces)


def _drawn(photo: Photo, faces: list[MeshFace]) -> np.ndarray:
    points = np.array([face.landmarks[:, :2] / photo.scale for face in faces]).reshape(-1, 68, 2)
    return draw_points(photo.pixels, points, SCHEMES["ibug68"], np.ones(points.shape[:2]))


def _surfaces(
    base: Path, photo: Photo, faces: list[MeshFace], predictor: MeshPredictor, options: MeshOptions
) -> list[Path]:
    """Meshes, pictures of depth and PNCC, and textures, in px of the photo as loaded for what is a picture."""
    from facelift.rendering.maps import depth_picture, normalised_coordinates, pncc
    from facelift.rendering.mesh_view import MeshView

    mesh, written = predictor.network.mesh, []
    meshes = [face.vertices / photo.scale for face in faces if face.vertices is not None]
    hw = photo.pixels.shape[:2]
    everything = MeshView(*_joined(meshes, mesh["faces"]), hw)
    if options.depth:
        written.append(_write(base, ".depth.png", depth_picture(everything.depth())))
    if options.pncc:
        codes = np.tile(normalised_coordinates(mesh["mean"]), (len(meshes), 1))
        written.append(_write(base, ".pncc.png", pncc(everything, codes)))
    for number, (face, vertices) in enumerate(zip(faces, meshes, strict=True), 1):
        if options.mesh or options.texture:
            written += _one_surface(base, number, photo, face, vertices, mesh, options)
    return written


def _joined(meshes: list[np.ndarray], faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All meshes as one."""
    shifts = len(meshes[0]) * np.arange(len(meshes))[:, None, None]
    return np.concatenate(meshes), (faces + shifts).reshape(-1, 3)


def _one_surface(
    base: Path,
    number: int,
    photo: Photo,
    face: MeshFace,
    vertices: np.ndarray,
    mesh: dict[str, np.ndarray],
    options: MeshOptions,
) -> list[Path]:
    from facelift.meshes.coloured_mesh import ColouredMesh, y_up
    from facelift.rendering.uv_textures import UvLayout, uv_texture

    name, uv, texture, written = f".face{number}", mesh.get("uv"), None, []
    if uv is not None:
        texture, seen = uv_texture(photo.pixels, vertices, UvLayout(mesh["faces"], uv, TEXTURE_PX))
        if options.completion is not None:
            texture = _completed(texture, seen, photo, face, options.completion)
    if options.texture:
        assert texture is not None  # checked
        written.append(_write(base, f"{name}.texture.png", texture))
    assert face.vertices is not None  # asked for
    coloured = ColouredMesh(y_up(face.vertices).astype(np.float32), mesh["faces"], uv, texture)
    for kind in options.mesh:
        target = base.with_name(f"{base.name}{name}.{kind}")
        write_mesh(target, coloured)
        written.append(target)
    return written


def _completed(texture: np.ndarray, seen: np.ndarray, photo: Photo, face: MeshFace, network: Path) -> np.ndarray:
    """The texture where the photo shows it, fading into the network's elsewhere."""
    from facelift.onnx_models.texture import OnnxTexture
    from facelift.rendering.uv_textures import RIM, faded

    gan = OnnxTexture(network)
    crop = cut(photo.pixels, crop_transform(face.box / photo.scale, size=gan.input_size))
    (made,) = gan.run(crop[None])
    made = cv2.resize(made, texture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    share = faded(seen, RIM * len(seen))[..., None]
    return np.rint(share * texture + (1 - share) * made).astype(np.uint8)


def write_mesh(path: Path, mesh: "ColouredMesh") -> None:
    """By the suffix, .obj, .ply or .glb."""
    from facelift.meshes.glb import write_glb
    from facelift.meshes.obj import write_obj
    from facelift.meshes.ply import write_ply

    {".obj": write_obj, ".ply": write_ply, ".glb": write_glb}[path.suffix](path, mesh)


def _write(base: Path, end: str, pixels: np.ndarray) -> Path:
    from facelift.commands.predict import write_picture

    return write_picture(base.with_name(f"{base.name}{end}"), pixels)
