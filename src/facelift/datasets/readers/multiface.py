"""Multiface (Wuu et al. 2022): heads in a dome of calibrated cameras, with tracked meshes.

Layout of one entity, as the release has it:

    m--DATE--TIME--ID--GHS/frame_list.txt                        lines "SEGMENT FRAME"
    m--DATE--TIME--ID--GHS/KRT                                   per camera: name, 3 rows K, distortion, 3 rows [R|t]
    m--DATE--TIME--ID--GHS/images/SEGMENT/CAMERA/FRAME.png       2048 high, 1334 wide
    m--DATE--TIME--ID--GHS/tracked_mesh/SEGMENT/FRAME.obj, FRAME.bin (float32 7306 x 3), FRAME_transform.txt (3 x 4)

Traps: the vertices of the .bin are head-stabilised and need the transform (x_world = R_f v + t_f); the .obj is read for
its faces alone, as the release's own code does. Frame names are no positions: released frames are 3 apart, and
frame_list.txt is not in their order. Its renderer counts pixels from the picture's edge, as this project does, and
leaves out the distortion, which this reader applies where KRT has one.

FaceLift's protocol: six sequences, six cameras left out, every 15th frame. Not known: whether "every 15th" counts
released frames (as here, after sorting) or recorded ones (`every=5` then), and which box it takes. Lengths are in mm,
as users of the set report; the authors do not say. Entities recorded by script V2 (some 160 cameras) have none of the
six by name: the authors call their "EXP neutral peak" the same as the first, "EXP eyes closed mouth open peak" as the
second.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from facelift.boxes import tight_box
from facelift.datasets.readers.cameras import Camera
from facelift.datasets.readers.meshes import Mesh, MeshSample, loaded, points_on, vertex_indices
from facelift.datasets.readers.official_layout import (
    number_rows,
    require_file,
    require_files,
    require_folder,
    require_rotation,
)
from facelift.datasets.readers.picture_files import read_picture
from facelift.datasets.readers.wavefront import read_obj
from facelift.datasets.sample import UNKNOWN, FaceSample

SEQUENCES = (
    "E001_Neutral_Eyes_Open",
    "E004_Relaxed_Mouth_Open",
    "E013_Open_Lips_Mouth_Stretch_Nose_Wrinkled",
    "E042_Mouth_Nose_Left",
    "E043_Mouth_Open_Jaw_Right_Show_Teeth",
    "E056_Suck_Cheeks_In",
)
"""FaceLift's six, by their folders in the release's script V1. Entities of script V2 have other names: pass those."""
EXCLUDED_CAMERAS = ("400055", "400010", "400067", "400025", "400008", "400070")
PICTURE_WH = (1334, 2048)
VERTICES = 7306


@dataclass(frozen=True)
class View:
    """One frame from one camera."""

    entity: Path
    sequence: str
    frame: str
    camera: str

    @property
    def picture(self) -> Path:
        """Its file."""
        return self.entity / "images" / self.sequence / self.camera / f"{self.frame}.png"

    def mesh_file(self, ending: str) -> Path:
        """FRAME + `ending` in tracked_mesh."""
        return self.entity / "tracked_mesh" / self.sequence / f"{self.frame}{ending}"


class Multiface:
    """All views of the sequences; `missing` lists the pictures that the release left out, `missing_sequences` as
    ENTITY/SEQUENCE those of which an entity's frame_list.txt has no frame.

    The mesh is in the head-stabilised frame, mm (its axes are the set's own, not canonical). `camera` and
    `face.rotation` are of that frame: R_c R_f and R_c t_f + t_c. `face.points` are all vertices in px (scheme
    "multiface7306"), or those of `landmarks` (vertex indices, or weights of the vertices) under the name `scheme`,
    `face.points_3d` the same in the mesh; `face.box` is their tight box. `face.attributes`: sequence, camera, frame;
    `face.identity`: the entity. Raises FileNotFoundError where no entity holds any of the sequences.
    """

    def __init__(
        self,
        root: Path,
        *,
        sequences: tuple[str, ...] = SEQUENCES,
        excluded_cameras: tuple[str, ...] = EXCLUDED_CAMERAS,
        every: int = 15,
        landmarks: Int[np.ndarray, "l"] | Float[np.ndarray, "l v"] | None = None,
        scheme: str = "multiface7306",
    ):
        if every < 1:
            raise ValueError(f"every: expected at least 1, found {every}")
        self.name = "multiface"
        self._landmarks, self._scheme = landmarks, scheme
        root = require_folder(Path(root), "an entity m--DATE--TIME--ID--GHS of Multiface or a folder of them")
        entities = [root] if (root / "KRT").is_file() else sorted(root.glob("m--*--GHS"))
        if not entities:
            raise FileNotFoundError(f"{root}: expected folders m--DATE--TIME--ID--GHS, found none")
        self._cameras = {entity: read_krt(entity / "KRT") for entity in entities}
        listed = {entity: _frames(entity, sequences) for entity in entities}
        self.missing_sequences = [
            f"{entity.name}/{sequence}"
            for entity, frames in listed.items()
            for sequence in sequences
            if sequence not in frames
        ]
        expected = [
            View(entity, sequence, frame, camera)
            for entity in entities
            for sequence, frames in listed[entity].items()
            for frame in frames[::every]
            for camera in self._cameras[entity]
            if camera not in excluded_cameras
        ]
        if not expected:
            raise FileNotFoundError(f"{root}: expected frames of {', '.join(sequences)}, found none in frame_list.txt")
        for ending in (".bin", ".obj", "_transform.txt"):
            require_files(dict.fromkeys(view.mesh_file(ending) for view in expected), "the tracked mesh of every frame")
        self._views = [view for view in expected if view.picture.is_file()]
        self.missing = [view.picture for view in expected if not view.picture.is_file()]
        if not self._views:
            raise FileNotFoundError(f"{expected[0].picture}: expected pictures, found none of {len(expected)}")
        self._topology: dict[Path, np.ndarray | None] = {}

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> MeshSample:
        view = self._views[index]
        mesh = Mesh(read_vertices(view.mesh_file(".bin")), self._faces(view), vertex_indices(self._landmarks))
        R, t = read_transform(view.mesh_file("_transform.txt"))
        camera = self._cameras[view.entity][view.camera].of_moved(R, t)
        points_3d = points_on(mesh.vertices, self._landmarks)
        points = camera.project(points_3d)
        face = FaceSample(
            f"{view.entity.name}/{view.sequence}/{view.camera}/{view.frame}",
            partial(_read_picture, view.picture),
            tight_box(points),
            points,
            np.full(len(points), UNKNOWN, np.int8),
            self._scheme,
            points_3d=points_3d,
            rotation=camera.R,
            identity=view.entity.name,
            attributes={"sequence": view.sequence, "camera": view.camera, "frame": view.frame},
        )
        return MeshSample(face, loaded(mesh), camera)

    def _faces(self, view: View) -> Int[np.ndarray, "f 3"] | None:
        """All meshes of an entity share one topology: that of its first .obj asked for."""
        if view.entity not in self._topology:
            self._topology[view.entity] = read_obj(view.mesh_file(".obj")).faces
        return self._topology[view.entity]


def read_krt(path: Path) -> dict[str, Camera]:
    """Cameras by name. Raises FileNotFoundError, or ValueError that names the camera whose block is not right."""
    require_file(path, "the cameras of a Multiface entity")
    lines = [line.split() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    cameras: dict[str, Camera] = {}
    for first in range(0, len(lines), 8):
        block = lines[first : first + 8]
        name, widths = " ".join(block[0]), [len(row) for row in block[1:]]
        if widths != [3, 3, 3, 5, 4, 4, 4] or name in cameras:
            raise ValueError(f"{path}, camera {name!r}: expected, once, rows of 3 3 3 5 4 4 4 numbers, found {widths}")
        try:
            rows = [np.array(row, np.float64) for row in block[1:]]
            if not all(np.isfinite(row).all() for row in rows):
                raise ValueError("NaN or infinity")
            pose = np.stack(rows[4:])
            cameras[name] = Camera(np.stack(rows[:3]), pose[:, :3], pose[:, 3], rows[3])
        except ValueError as error:
            raise ValueError(f"{path}, camera {name!r}: expected numbers and a K, found: {error}") from None
        require_rotation(cameras[name].R, path, f"[R|t] of camera {name!r}")
    if not cameras:
        raise ValueError(f"{path}: expected cameras, found an empty file")
    return cameras


def read_vertices(path: Path) -> Float[np.ndarray, "7306 3"]:
    """Head-stabilised vertices of a .bin file, mm. Raises ValueError for another size, NaN or infinity."""
    size = path.stat().st_size
    if size != VERTICES * 12:
        raise ValueError(f"{path}: expected {VERTICES} x 3 float32 ({VERTICES * 12} bytes), found {size} bytes")
    vertices = np.fromfile(path, "<f4").reshape(VERTICES, 3).astype(np.float64)
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices)).any(1).sum())
        raise ValueError(f"{path}: expected finite vertices, found {bad} that are not")
    return vertices


def read_transform(path: Path) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """(R_f, t_f), world_from_head. Raises ValueError where R_f is no rotation."""
    pose = np.stack(number_rows(path, [4, 4, 4], "a head pose [R|t]"))
    return require_rotation(pose[:, :3], path, "a head pose [R|t]"), pose[:, 3]


def _frames(entity: Path, sequences: tuple[str, ...]) -> dict[str, list[str]]:
    """Frames of the wanted sequences that the list has, sorted."""
    path = require_file(entity / "frame_list.txt", "the frames of a Multiface entity")
    frames: dict[str, set[str]] = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        words = line.split()
        if words and len(words) != 2:
            raise ValueError(f"{path}, line {number}: expected 'SEGMENT FRAME', found {line[:60]!r}")
        if words and words[0] in sequences:
            frames.setdefault(words[0], set()).add(words[1])
    return {sequence: sorted(frames[sequence]) for sequence in sequences if sequence in frames}


def _read_picture(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    image = read_picture(path)
    if image.shape[1::-1] != PICTURE_WH:
        raise ValueError(f"{path}: expected {PICTURE_WH} px, which the cameras are of, found {image.shape[1::-1]}")
    return image
