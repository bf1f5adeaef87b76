"""The packed w300_full: whole photos of 300-W's training part, shrunk, with all their labelled faces."""

from functools import partial
from pathlib import Path

import numpy as np

from facelift.datasets.packed import decode_jpeg, read_packed
from facelift.datasets.sample import UNKNOWN, FaceSample

_FACE_KEYS = ("face_image_index", "face_box", "face_pts68")


class W300Full:
    """Every labelled face of w300_full.tar and .npz; iBUG-68 points, no visibility.

    A face's name is PHOTO#K, its K-th label; `box` is the tight box of its points, `identity` the photo, `attributes`:
    source.
    """

    def __init__(self, root: Path):
        self.name = "w300_full"
        self._labels, self._files = read_packed(Path(root), "w300_full", ("name", "source", *_FACE_KEYS))
        photos = self._labels["face_image_index"]
        counts = [int((photos[:row] == photo).sum()) for row, photo in enumerate(photos)]
        self._names = [f"{self._labels['name'][photo]}#{k}" for photo, k in zip(photos, counts, strict=True)]

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> FaceSample:
        photo = int(self._labels["face_image_index"][index])
        file = str(self._labels["name"][photo])
        return FaceSample(
            self._names[index],
            partial(decode_jpeg, self._files[file], file),
            self._labels["face_box"][index].astype(np.float64),
            self._labels["face_pts68"][index].astype(np.float64),
            np.full(68, UNKNOWN, np.int8),
            "ibug68",
            identity=Path(file).stem,
            attributes={"source": str(self._labels["source"][photo])},
        )
