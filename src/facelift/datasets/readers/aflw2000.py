"""AFLW2000-3D (Zhu et al. 2016): the first 2,000 photos of AFLW with a fitted 3D face model, and their re-annotation.

Layout, as released:

    AFLW2000/imageNNNNN.jpg              450 x 450
    AFLW2000/imageNNNNN.mat              pt3d_68 (3, 68), Pose_Para (1, 7) = pitch, yaw, roll (rad), tx, ty, tz, s
    AFLW2000-3D-Reannotated.pts68.npy    (2000, 2 or more, 68) of Bulat et al. 2017, as 3DDFA publishes it, in the
                                         folder or beside it, in the order of the sorted picture names

Traps: there are two annotations, and papers often do not say which they score. `pt3d_68` comes from model fitting and
is many px off in some pictures; the re-annotation has 2D points only. No paper says where pixels are counted from;
both are taken as indices from 0 (px = value + 0.5), as the released Python code of 3DDFA and its followers compares
them with predictions, and as lies nearer to human labels of the same faces. The file's z points to the viewer.
31 faces have an angle beyond 99 degrees: errors of pose leave them out.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from facelift.boxes import tight_box
from facelift.crops import box_of_crop
from facelift.datasets.readers.mat_files import read_mat
from facelift.datasets.readers.official_layout import inner_folder, require_files, require_folder
from facelift.datasets.readers.picture_files import picture_reader
from facelift.datasets.sample import UNKNOWN, FaceSample
from facelift.geometry.euler import AFLW2000, rotation_from_euler

ANNOTATIONS = ("original", "reannotated")
REANNOTATED = "AFLW2000-3D-Reannotated.pts68.npy"
ORIGIN_PX = 0.5
"""What is added to the files' coordinates, which count pixel centres from 0."""


class AFLW2000Faces:
    """The photos in the order of their names; iBUG-68 points, no visibility (state unknown).

    `points` follow `annotation`. `points_3d` is `pt3d_68` in px of the picture, OpenCV axes (its z negated).
    `rotation` is cam_from_head in the frame of the Basel face model, from Pose_Para; `attributes` pitch, yaw, roll are
    its angles in degrees, AFLW2000-3D's convention. `box` is the face box of `tddfa_crop` of the original points,
    whatever `annotation` is.
    """

    def __init__(self, root: Path, annotation: str = "reannotated"):
        check_annotation(annotation)
        root = Path(root)
        self._folder = require_folder(inner_folder(root, "AFLW2000"), "the folder AFLW2000")
        self.name = "aflw2000" if annotation == "reannotated" else "aflw2000_original"
        self._names = sorted(path.stem for path in self._folder.glob("image*.jpg"))
        if not self._names:
            raise FileNotFoundError(f"{self._folder}: expected photos imageNNNNN.jpg, found none")
        require_files((self._folder / f"{name}.mat" for name in self._names), "the .mat of every photo")
        self._reannotated = None if annotation == "original" else self._read_reannotated(root)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> FaceSample:
        index = range(len(self))[index]
        name = self._names[index]
        path = self._folder / f"{name}.mat"
        held = read_mat(path, {"pt3d_68": (3, 68), "Pose_Para": (1, 7)})
        original = held["pt3d_68"].T
        scored = original[:, :2] if self._reannotated is None else self._reannotated[index]
        _check_same_face(scored, original[:, :2], f"{path}: {REANNOTATED}")
        pose_deg = np.degrees(held["Pose_Para"][0, :3])
        return aflw2000_face(name, picture_reader(self._folder / f"{name}.jpg"), original, scored, pose_deg)

    def _read_reannotated(self, root: Path) -> Float[np.ndarray, "n 68 2"]:
        places = [root / REANNOTATED, self._folder / REANNOTATED, self._folder.parent / REANNOTATED]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise FileNotFoundError(f"{places[0]}: expected the re-annotation, found nothing here or beside AFLW2000")
        try:
            points = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path}: expected an array, found: {error}") from None
        count = len(self._names)
        if points.ndim != 3 or len(points) != count or points.shape[1] < 2 or points.shape[2] != 68:
            raise ValueError(
                f"{path}: expected ({count}, 2 or more, 68) for the {count} photos of {self._folder}, "
                f"found {points.shape}"
            )
        return points[:, :2].transpose(0, 2, 1).astype(np.float64)


def aflw2000_face(
    name: str,
    read: Callable[[], np.ndarray],
    original: Float[np.ndarray, "68 3"],
    scored: Float[np.ndarray, "68 2"],
    pose_deg: Float[np.ndarray, "3"],
) -> FaceSample:
    """A sample from the files' numbers: `original` x y z, `scored` the points to score, (pitch, yaw, roll)."""
    pitch, yaw, roll = pose_deg.tolist()
    points_3d = original * [1, 1, -1] + [ORIGIN_PX, ORIGIN_PX, 0]
    return FaceSample(
        name,
        read,
        box_of_crop(tddfa_crop(points_3d[:, :2])),
        scored + ORIGIN_PX,
        np.full(68, UNKNOWN, np.int8),
        "ibug68",
        points_3d=points_3d,
        rotation=rotation_from_euler(pose_deg, AFLW2000),
        identity=name,
        attributes={
            "yaw": yaw,
            "pitch": pitch,
            "roll": roll,
        },
    )


def tddfa_crop(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "4"]:
    """The square that 3DDFA crops about labelled points: sqrt(2) times the longer side of their tight box."""
    box = tight_box(points)
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() / np.sqrt(2)
    return np.concatenate([centre - half, centre + half])


def check_annotation(annotation: str) -> None:
    """ValueError for anything but one of `ANNOTATIONS`."""
    if annotation not in ANNOTATIONS:
        raise ValueError(f"annotation of AFLW2000-3D: expected one of {ANNOTATIONS}, found {annotation!r}")


def _check_same_face(scored: np.ndarray, original: np.ndarray, where: str) -> None:
    """Rows in another order than the pictures would score every face against a stranger's labels."""
    size = np.sqrt(np.ptp(original, axis=0).prod())
    apart = np.linalg.norm(scored.mean(0) - original.mean(0))
    if not apart < size / 2:
        raise ValueError(
            f"{where}: expected points of the face that pt3d_68 labels, found them {apart:.0f} px away "
            f"(face size {size:.0f} px); are its rows in the order of the sorted names?"
        )
