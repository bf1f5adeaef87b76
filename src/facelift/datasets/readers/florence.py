"""Florence 2D/3D faces (MICC; Bagdanov et al. 2011): 3D scans of 53 people, and the rendered views of the papers.

Layout: subject_NN/Model/{frontal1,frontal2,sidel,sider}/obj/NAME.obj. The set has no pictures that show the scans and
no landmarks. A nose tip that somebody picked in MeshLab is read from NAME_picked_points.pp beside the scan, where it is
named nose_tip or is the only point; the papers crop scan and reconstruction to 95 mm about it.

Papers (Jackson et al. 2017 and after) render each scan at pitch -15, 20, 25 and yaw -80, -40, 0, 40, 80 degrees and do
not give the camera, the signs or the scans' upright pose. Here: this project's signs (pitch up, yaw to the image's
right), a turn about the nose tip, a camera 1 m away whose picture is 300 mm wide there. Some users first turn the scans
about x, as they look down: that is `head_from_scan`. Lengths are in mm.
"""

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from facelift.boxes import tight_box
from facelift.datasets.readers.cameras import Camera
from facelift.datasets.readers.meshes import Mesh, MeshSample, loaded
from facelift.datasets.readers.official_layout import require_folder
from facelift.datasets.readers.picked_points import read_picked_points
from facelift.datasets.readers.picture_files import read_picture
from facelift.datasets.readers.wavefront import read_obj
from facelift.datasets.sample import UNKNOWN, FaceSample
from facelift.geometry.euler import rotation_from_euler

VIEWS_DEG = tuple((pitch, yaw) for pitch in (-15, 20, 25) for yaw in (-80, -40, 0, 40, 80))
"""(pitch, yaw) of the 15 rendered views of each scan."""
SCANS = ("frontal1", "frontal2", "sidel", "sider")
CROP_MM = 95.0
"""Radius of the papers' crop about the nose tip."""
SIZE_PX = 512
DISTANCE_MM = 1000.0
WIDTH_MM = 300.0
"""What the picture's width shows at the nose tip."""


class Florence:
    """Each scan in each of `VIEWS_DEG`; `missing` lists subjects without the scan.

    The mesh and the nose tip (`face.points_3d`, scheme "nose_tip") are in the scan's frame, mm; without a picked nose
    tip there are no points (scheme "none") and the view turns about the scan's mean. Pictures are
    RENDERS/subject_NN/pitch-15_yaw+40.png, `SIZE_PX` square, rendered with the sample's `camera`; without `renders`
    asking for a picture raises FileNotFoundError. `face.rotation` is cam_from_head; `face.box` is the tight box of the
    vertices within 95 mm of the nose tip (of all, without one). `face.attributes`: pitch, yaw in degrees.
    """

    def __init__(
        self,
        root: Path,
        *,
        scan: str = "frontal1",
        renders: Path | None = None,
        head_from_scan: Float[np.ndarray, "3 3"] | None = None,
    ):
        if scan not in SCANS:
            raise ValueError(f"scan of Florence: expected one of {SCANS}, found {scan!r}")
        self.name = "florence"
        self._renders = None if renders is None else require_folder(Path(renders), "rendered views of Florence")
        self._head_from_scan = np.eye(3) if head_from_scan is None else head_from_scan
        folders = sorted(require_folder(Path(root), "the folder of Florence's subjects").glob("subject_*"))
        self._scans: list[tuple[str, Path]] = []
        self.missing: list[str] = []
        for folder in folders:
            found = sorted((folder / "Model" / scan / "obj").glob("*.obj"))
            if len(found) > 1:
                raise ValueError(f"{found[0].parent}: expected one scan, found {len(found)} .obj files")
            if found:
                self._scans.append((folder.name, found[0]))
            else:
                self.missing.append(folder.name)
        if not self._scans:
            raise FileNotFoundError(
                f"{root}: expected scans subject_NN/Model/{scan}/obj/*.obj, found none in {len(folders)} subjects"
            )
        self._kept: tuple[Path, Mesh] | None = None

    def __len__(self) -> int:
        return len(self._scans) * len(VIEWS_DEG)

    def __getitem__(self, index: int) -> MeshSample:
        scan_index, view = divmod(range(len(self))[index], len(VIEWS_DEG))
        subject, path = self._scans[scan_index]
        pitch, yaw = VIEWS_DEG[view]
        mesh, nose = self._mesh(path), read_nose_tip(path)
        rotation = rotation_from_euler(np.array([pitch, yaw, 0.0]))
        centre = mesh.vertices.mean(0) if nose is None else nose
        camera = view_camera(rotation @ self._head_from_scan, centre)
        near = mesh.vertices if nose is None else mesh.vertices[np.linalg.norm(mesh.vertices - nose, axis=1) <= CROP_MM]
        points_3d = np.zeros((0, 3)) if nose is None else nose[None]
        face = FaceSample(
            f"{subject}/pitch{pitch:+d}_yaw{yaw:+d}",
            partial(_read_view, self._renders, subject, f"pitch{pitch:+d}_yaw{yaw:+d}.png"),
            tight_box(camera.project(near)),
            camera.project(points_3d),
            np.full(len(points_3d), UNKNOWN, np.int8),
            "none" if nose is None else "nose_tip",
            points_3d=points_3d,
            rotation=rotation,
            identity=subject,
            attributes={"pitch": float(pitch), "yaw": float(yaw)},
        )
        return MeshSample(face, loaded(mesh), camera)

    def _mesh(self, path: Path) -> Mesh:
        """The scan; the last one is kept, as its 15 views come one after the other."""
        if self._kept is None or self._kept[0] != path:
            self._kept = path, read_obj(path)
        return self._kept[1]


def view_camera(cam_from_scan: Float[np.ndarray, "3 3"], centre: Float[np.ndarray, "3"]) -> Camera:
    """The camera of a rendered view: turned by `cam_from_scan` about `centre`, which lies in the picture's middle."""
    focal = SIZE_PX * DISTANCE_MM / WIDTH_MM
    K = np.array([[focal, 0, SIZE_PX / 2], [0, focal, SIZE_PX / 2], [0, 0, 1.0]])
    return Camera(K, cam_from_scan, np.array([0, 0, DISTANCE_MM]) - cam_from_scan @ centre)


def read_nose_tip(scan: Path) -> Float[np.ndarray, "3"] | None:
    """The picked nose tip of a scan, mm; None where nobody picked one. ValueError where several points are unnamed."""
    path = scan.with_name(f"{scan.stem}_picked_points.pp")
    if not path.is_file():
        return None
    points = read_picked_points(path)
    if "nose_tip" in points:
        return points["nose_tip"]
    if len(points) == 1:
        return next(iter(points.values()))
    raise ValueError(f"{path}: expected a point named nose_tip, or one point, found {', '.join(points)}")


def _read_view(renders: Path | None, subject: str, name: str) -> np.ndarray:
    if renders is None:
        raise FileNotFoundError(
            f"{subject}/{name}: expected a rendered view, found no folder of them: Florence has no pictures; render "
            "its scans with the samples' cameras and give the folder as `renders`"
        )
    image = read_picture(renders / subject / name)
    if image.shape[:2] != (SIZE_PX, SIZE_PX):
        raise ValueError(f"{renders / subject / name}: expected {SIZE_PX} px square, found {image.shape[1::-1]}")
    return image
