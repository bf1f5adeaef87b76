"""300W-LP (Zhu et al. 2016): 300-W photos turned in depth by a fitted face model, and their mirror images.

Layout, as released: 300W_LP/{AFW,HELEN,IBUG,LFPW}/NAME_K.jpg (450 x 450) and NAME_K.mat with pt2d (2, 68), Pose_Para
(1, 7) and model parameters; the mirrored pictures under the same names in AFW_Flip, ... 122,450 pictures with them.
K = 0 is the photo itself, the others are turned further and further.

Traps: points count from 1 (px = value - 0.5). In LFPW `pt2d` counts y from the bottom, as users of the set found; and
whether the points of mirrored pictures were put in order again is documented nowhere. So this reader looks: y is
turned over where the eyes would lie below the mouth against the labelled pose, and the order is mirrored where the
outlines of face and lips run the wrong way round.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from facelift.boxes import tight_box
from facelift.datasets.readers.mat_files import read_mat
from facelift.datasets.readers.official_layout import inner_folder, require_files, require_folder
from facelift.datasets.readers.picture_files import picture_reader
from facelift.datasets.sample import UNKNOWN, FaceSample
from facelift.geometry.euler import AFLW2000, rotation_from_euler
from facelift.landmarks import IBUG68

SOURCES = ("AFW", "HELEN", "IBUG", "LFPW")
SIZE_PX = 450
_FACE_OUTLINE = np.array([*range(17, 27), *range(16, -1, -1)])
"""Clockwise in the picture, as the outer lip."""
_LIPS = np.arange(48, 60)
_EYES, _MOUTH = np.arange(36, 48), np.arange(48, 68)


class W300LP:
    """The pictures of `sources`, and their mirror images where `flips`; iBUG-68 points, no visibility.

    `rotation` is cam_from_head in the frame of the Basel face model; `attributes`: pitch, yaw, roll in degrees
    (AFLW2000-3D's convention), source, flipped ("yes" or "no"). `identity` is the 300-W photo: all its turns and its
    mirror images share it. `box` is the points' tight box.
    """

    def __init__(self, root: Path, *, sources: tuple[str, ...] = SOURCES, flips: bool = True):
        unknown = [source for source in sources if source not in SOURCES]
        if unknown or not sources:
            raise ValueError(f"sources of 300W-LP: expected some of {SOURCES}, found {sources}")
        root = require_folder(inner_folder(root, "300W_LP"), "the folder 300W_LP")
        self.name = "300w_lp"
        folders = [root / f"{source}{ending}" for source in sources for ending in ("", "_Flip")[: 1 + flips]]
        for folder in folders:
            require_folder(folder, f"the pictures of 300W-LP's {folder.name}")
        self._pictures = [picture for folder in folders for picture in sorted(folder.glob("*.jpg"))]
        if not self._pictures:
            raise FileNotFoundError(f"{root}: expected pictures NAME_K.jpg in {', '.join(sources)}, found none")
        require_files((picture.with_suffix(".mat") for picture in self._pictures), "the .mat of every picture")

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def names(self) -> list[str]:
        """FOLDER/NAME_K of each picture."""
        return [f"{picture.parent.name}/{picture.stem}" for picture in self._pictures]

    def __getitem__(self, index: int) -> FaceSample:
        picture = self._pictures[index]
        held = read_mat(picture.with_suffix(".mat"), {"pt2d": (2, 68), "Pose_Para": (1, 7)})
        pose_deg = np.degrees(held["Pose_Para"][0, :3])
        rotation = rotation_from_euler(pose_deg, AFLW2000)
        points = in_order(held["pt2d"].T - 0.5, rotation)
        source = picture.parent.name.removesuffix("_Flip")
        pitch, yaw, roll = pose_deg.tolist()
        return FaceSample(
            f"{picture.parent.name}/{picture.stem}",
            picture_reader(picture),
            tight_box(points),
            points,
            np.full(68, UNKNOWN, np.int8),
            "ibug68",
            rotation=rotation,
            identity=f"{source}/{picture.stem.rpartition('_')[0] or picture.stem}",
            attributes={
                "yaw": yaw,
                "pitch": pitch,
                "roll": roll,
                "source": source,
                "flipped": "yes" if picture.parent.name.endswith("_Flip") else "no",
            },
        )

    def parameters(self, index: int, *, shape: int, expression: int) -> tuple[np.ndarray, np.ndarray]:
        """[sR | t] (3, 4) from the Basel model to px of the picture, y down, z away from the camera, t_z = 0; and the
        first coefficients of shape and expression, one array.

        Released: (x, y) from 1, y from the bottom, of s Rx Ry Rz v + t. Raises ValueError for a file without them.
        """
        names = {"Pose_Para": (1, 7), "Shape_Para": (199, 1), "Exp_Para": (29, 1)}
        held = read_mat(self._pictures[index].with_suffix(".mat"), names)
        pitch_yaw_roll, (x, y), scale = held["Pose_Para"][0, :3], held["Pose_Para"][0, 3:5], held["Pose_Para"][0, 6]
        turned = scale * rotation_from_euler(np.degrees(pitch_yaw_roll), AFLW2000)
        pose = np.column_stack([turned, [x - 0.5, SIZE_PX + 0.5 - y, 0]])
        return pose, np.concatenate([held["Shape_Para"][:shape, 0], held["Exp_Para"][:expression, 0]])


def in_order(points: Float[np.ndarray, "68 2"], rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "68 2"]:
    """px from above and in iBUG's order, whichever of the two mirrorings the file has."""
    up_px = points[_EYES].mean(0) - points[_MOUTH].mean(0)
    up_pose = rotation[:2, 1]
    if up_px[1] * up_pose[1] < 0:
        points = points * [1, -1] + [0, SIZE_PX]
    if turning_area(points[_FACE_OUTLINE]) + turning_area(points[_LIPS]) < 0:
        points = points[IBUG68.mirror]
    return points


def turning_area(polygon: Float[np.ndarray, "n 2"]) -> float:
    """Area of a polygon, positive where it runs clockwise in the picture (Gauss's formula)."""
    following = np.roll(polygon, -1, axis=0)
    return float((polygon[:, 0] * following[:, 1] - polygon[:, 1] * following[:, 0]).sum() / 2)
