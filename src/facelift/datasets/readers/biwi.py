"""BIWI Kinect Head Pose (Fanelli et al. 2013): 24 recordings with head poses, without landmarks.

Layout: NN/rgb.cal, NN/frame_NNNNN_rgb.png (640 x 480) and NN/frame_NNNNN_pose.txt: three rows R and one row T, the
head's centre in mm, in the frame of the depth camera. rgb.cal: three rows K, one row of distortion, three rows R_c, one
row T_c (x_rgb = R_c x_depth + T_c), width and height. Depth maps and head templates are not read.

Traps: the matrix of the file is the head's rotation in OpenCV axes, the identity for a frontal face; the formulas of
the papers (Hopenet's and all after it) first transpose it and then negate two angles, which comes to the angles of
AFLW2000-3D's convention of the matrix as it stands. Papers score these, without the turn R_c (about 1 degree) of the
colour camera, and so does this reader. K counts pixels from the centre of the first or from the edge, the set does not
say; 0.5 px matters nowhere here.
"""

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from facelift.datasets.readers.cameras import Camera
from facelift.datasets.readers.official_layout import number_rows, require_files, require_folder, require_rotation
from facelift.datasets.readers.picture_files import read_picture
from facelift.datasets.sample import FaceSample
from facelift.geometry.euler import AFLW2000, FRONTAL, euler_deg

TWICE = {"15": "03", "18": "05", "21": "02", "22": "07"}
"""Recordings of somebody who is in an earlier one: 20 people in 24 recordings."""
RECORDINGS = tuple(f"{recording:02d}" for recording in range(1, 25))
HEAD_MM = 200.0
"""Side of the square at the head's depth that stands for a face box; this project's choice, the set has none."""


class Biwi:
    """Every `every`-th frame of each recording; `missing` lists the recordings that are not there.

    No landmarks (scheme "none").

    `rotation` is cam_from_head, the head's axes as in the canonical frame, the camera's those of the depth camera, as
    the papers score it; `attributes`: pitch, yaw, roll in degrees, AFLW2000-3D's convention. `box` is a square of 200
    mm about the projected head centre: the set gives none, and papers take those of MTCNN. `identity` is the subject's
    first recording.
    """

    def __init__(self, root: Path, *, every: int = 1):
        if every < 1:
            raise ValueError(f"every: expected at least 1, found {every}")
        self.name = "biwi"
        root = require_folder(Path(root), "the folder of BIWI's recordings 01 .. 24")
        recordings = [root / name for name in RECORDINGS if (root / name).is_dir()]
        if not recordings:
            raise FileNotFoundError(f"{root}: expected recordings 01 .. 24, found none of them")
        self.missing = [name for name in RECORDINGS if not (root / name).is_dir()]
        require_files((recording / "rgb.cal" for recording in recordings), "the colour camera of every recording")
        self._cameras = {recording: read_calibration(recording / "rgb.cal") for recording in recordings}
        self._pictures = [
            picture for recording in recordings for picture in sorted(recording.glob("frame_*_rgb.png"))[::every]
        ]
        empty = set(recordings) - {picture.parent for picture in self._pictures}
        if empty:
            raise FileNotFoundError(f"{min(empty)}: expected pictures frame_NNNNN_rgb.png, found none")
        require_files((_pose_file(picture) for picture in self._pictures), "the pose of every frame")

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> FaceSample:
        picture = self._pictures[index]
        recording = picture.parent
        head, centre_mm = read_pose(_pose_file(picture))
        rotation = head @ FRONTAL
        pitch, yaw, roll = euler_deg(rotation, AFLW2000).tolist()
        return FaceSample(
            f"{recording.name}/{picture.stem.removesuffix('_rgb')}",
            partial(read_picture, picture),
            self._box(recording, centre_mm, picture),
            np.zeros((0, 2)),
            np.zeros(0, np.int8),
            "none",
            rotation=rotation,
            identity=TWICE.get(recording.name, recording.name),
            attributes={"pitch": pitch, "yaw": yaw, "roll": roll},
        )

    def camera(self, index: int) -> Camera:
        """The colour camera of a frame; its world is the depth camera's frame, mm."""
        return self._cameras[self._pictures[index].parent]

    def _box(self, recording: Path, centre_mm: np.ndarray, picture: Path) -> Float[np.ndarray, "4"]:
        camera = self._cameras[recording]
        depth_mm = float(camera.R[2] @ centre_mm + camera.t[2])
        if not depth_mm > 0:
            raise ValueError(f"{_pose_file(picture)}: expected a head before the camera, found depth {depth_mm} mm")
        centre = camera.project(centre_mm[None])[0]
        half = HEAD_MM / 2 * camera.K[0, 0] / depth_mm
        return np.concatenate([centre - half, centre + half])


def read_pose(path: Path) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """(rotation of the head, its centre in mm), OpenCV axes of the depth camera. Raises ValueError for no rotation."""
    rows = number_rows(path, [3, 3, 3, 3], "a pose (three rows R, one row T)")
    return require_rotation(np.stack(rows[:3]), path, "the first three rows"), rows[3]


def read_calibration(path: Path) -> Camera:
    """The colour camera; its world is the depth camera's frame, mm."""
    rows = number_rows(path, [3, 3, 3, 4, 3, 3, 3, 3, 2], "a calibration (K, distortion, R, T, size)")
    K, R = np.stack(rows[:3]), require_rotation(np.stack(rows[4:7]), path, "rows 5 to 7")
    if not np.array_equal(K[2], [0, 0, 1]):
        raise ValueError(f"{path}: expected K in the first three rows, its last 0 0 1, found {K[2].tolist()}")
    return Camera(K, R, rows[7], np.append(rows[3], 0.0))


def _pose_file(picture: Path) -> Path:
    return picture.with_name(picture.name.replace("_rgb.png", "_pose.txt"))
