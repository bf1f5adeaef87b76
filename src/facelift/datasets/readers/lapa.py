"""LaPa (Liu et al. 2020): photos with 106 points and face parsing.

Layout, as released: LaPa/{train,val,test}/images/NAME.jpg and landmarks/NAME.txt (a line "106", then 106 lines x y);
labels/NAME.png, the parsing, is not read. 18,176, 2,000 and 2,000 pictures, one face each. Traps: there are two pairs
of points in the eyes, 74 and 83 at the centre of the opening, 104 and 105 the pupils; and 106 points of other sets come
in another order. The authors do not say where pixels are counted from: taken as indices from 0 (px = value + 0.5).
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from facelift.boxes import tight_box
from facelift.datasets.readers.official_layout import inner_folder, number_rows, require_files, require_folder
from facelift.datasets.readers.picture_files import picture_reader
from facelift.datasets.sample import UNKNOWN, FaceSample

SPLITS = ("train", "val", "test")


class LaPa:
    """The pictures of a split; scheme "lapa106", no visibility. `box` is the points' tight box."""

    def __init__(self, root: Path, split: str = "test"):
        if split not in SPLITS:
            raise ValueError(f"split of LaPa: expected one of {SPLITS}, found {split!r}")
        self._folder = require_folder(inner_folder(root, "LaPa") / split, f"the split {split!r} of LaPa")
        self.name = f"lapa_{split}"
        landmarks = require_folder(self._folder / "landmarks", "the points of LaPa")
        self._names = sorted(path.stem for path in landmarks.glob("*.txt"))
        if not self._names:
            raise FileNotFoundError(f"{landmarks}: expected NAME.txt, found none")
        require_files((self._picture(name) for name in self._names), "the picture of every file of points")

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> FaceSample:
        name = self._names[index]
        points = read_landmarks(self._folder / "landmarks" / f"{name}.txt")
        return FaceSample(
            name,
            picture_reader(self._picture(name)),
            tight_box(points),
            points,
            np.full(106, UNKNOWN, np.int8),
            "lapa106",
            identity=name,
        )

    def _picture(self, name: str) -> Path:
        return self._folder / "images" / f"{name}.jpg"


def read_landmarks(path: Path) -> Float[np.ndarray, "106 2"]:
    """The points in px with centres at integer + 0.5."""
    count, *points = number_rows(path, [1] + [2] * 106, "106 points after their number")
    if count[0] != 106:
        raise ValueError(f"{path}: expected the number 106 in the first line, found {count[0]:g}")
    return np.stack(points) + 0.5
