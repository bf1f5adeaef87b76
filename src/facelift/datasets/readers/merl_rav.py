"""MERL-RAV (Kumar et al. 2020): 19,000 faces of AFLW with 68 points in three states of visibility.

Layout, as its script makes it, or as it is released beside AFLW's pictures:

    merl_rav_organized/POSE/{trainset,testset}/imageNNNNN[_K].{jpg,pts}
    merl_rav_labels/POSE/{trainset,testset}/labels/imageNNNNN[_K].pts and aflw/flickr/{0,2,3}/imageNNNNN.jpg

with POSE one of frontal, left, lefthalf, right, righthalf.

Traps: the signs are labels. (x, y) is seen; (-x, -y) is hidden by something else, at (x, y); (-1, -1) is hidden by the
head itself and has no place. The sign is that of x + y, so that a point just outside of the photo keeps its place.
Values count from 1, as in the files of 300-W that the format is taken from (px = value - 0.5, after the sign is taken
off); the authors do not say. K counts the labelled faces of one photo.
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int8

from facelift.boxes import tight_box
from facelift.datasets.readers.official_layout import require_files, require_folder
from facelift.datasets.readers.picture_files import picture_reader
from facelift.datasets.readers.pts import read_pts_values, require_count
from facelift.datasets.sample import OCCLUDED, SELF_OCCLUDED, VISIBLE, FaceSample

POSES = ("frontal", "left", "lefthalf", "right", "righthalf")
SPLITS = {"train": "trainset", "test": "testset"}


class MerlRav:
    """The faces of a split; iBUG-68 points with states, NaN where hidden by the head.

    `box` is the tight box of the labelled points: at profile poses it covers half of the face. `identity` is the AFLW
    photo; `attributes`: pose_group, one of `POSES`.
    """

    def __init__(self, root: Path, split: str = "test"):
        if split not in SPLITS:
            raise ValueError(f"split of MERL-RAV: expected one of {sorted(SPLITS)}, found {split!r}")
        root = require_folder(Path(root), "the folder with merl_rav_organized, or with merl_rav_labels and aflw")
        self.name = f"merl_rav_{split}"
        organized = root / "merl_rav_organized"
        ready = organized.is_dir()
        top = organized if ready else require_folder(root / "merl_rav_labels", "this or merl_rav_organized")
        folders = [top / pose / SPLITS[split] / ("" if ready else "labels") for pose in POSES]
        for folder in folders:
            require_folder(folder, f"the {split} labels of MERL-RAV's {folder.relative_to(top).parts[0]} faces")
        self._labels = [path for folder in folders for path in sorted(folder.glob("*.pts"))]
        if not self._labels:
            raise FileNotFoundError(f"{top}: expected .pts files of the {split} set, found none")
        if ready:
            self._pictures = [path.with_suffix(".jpg") for path in self._labels]
        else:
            photos = {path.stem: path for path in sorted((root / "aflw" / "flickr").glob("[023]/*.jpg"))}
            missing = root / "aflw" / "flickr" / "0"
            self._pictures = [photos.get(photo(path), missing / f"{photo(path)}.jpg") for path in self._labels]
        require_files(self._pictures, "the AFLW photo of every label (in folder 0, 2 or 3)")

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> FaceSample:
        labels = self._labels[index]
        points, state = read_labels(labels)
        return FaceSample(
            labels.stem,
            picture_reader(self._pictures[index]),
            tight_box(points),
            points,
            state,
            "ibug68",
            identity=photo(labels),
            attributes={"pose_group": next(part for part in labels.parts[::-1] if part in POSES)},
        )


def photo(labels: Path) -> str:
    """imageNNNNN of a label file imageNNNNN_K.pts."""
    return re.sub(r"_\d+$", "", labels.stem)


def read_labels(path: Path) -> tuple[Float[np.ndarray, "68 2"], Int8[np.ndarray, "68"]]:
    """(points in px, states) from the signs of a MERL-RAV file."""
    values = require_count(path, read_pts_values(path), 68)
    nowhere = (values == -1).all(-1)
    negative = values.sum(-1) < 0
    points = np.where(negative[:, None], -values, values) - 0.5
    points[nowhere] = np.nan
    state = np.select([nowhere, negative], [SELF_OCCLUDED, OCCLUDED], VISIBLE)
    return points, state.astype(np.int8)
