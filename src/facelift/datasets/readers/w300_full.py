"""The packed w300_full: whole photos of 300-W's training part, shrunk, with all their labelled faces."""

from functools import partial
from pathlib import Path

import numpy as np

from facelift.datasets.packed import check_rows, decode_jpeg, read_packed
from facelift.datasets.sample import UNKNOWN, FaceSample

_FACE_ROWS: dict[str, tuple[int, ...]] = {"face_box": (4,), "face_pts68": (68, 2)}


class W300Full:
    """Every labelled face of w300_full.tar and .npz; iBUG-68 points, no visibility.

    A face's name is PHOTO#K, its K-th label; `box` is the tight box of its points, `identity` the photo, `attributes`:
    source.
    """

    def __init__(self, root: Path):
        self.name = "w300_full"
        path = Path(root) / "w300_full.npz"
        self._labels, self._files = read_packed(Path(root), "w300_full", {"source": ()})
        photos = _photos_of_faces(self._labels, path)
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


def _photos_of_faces(labels: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """(faces,) int: the photo of each face. ValueError, naming the file, unless all arrays of faces fit it."""
    missing = [key for key in ("face_image_index", *_FACE_ROWS) if key not in labels]
    if missing:
        raise ValueError(f"{path}: expected the array {missing[0]}, found {', '.join(sorted(labels))}")
    photos, count = labels["face_image_index"], len(labels["name"])
    if photos.ndim != 1 or photos.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: expected face_image_index as a list of integers, found {photos.shape} {photos.dtype}"
        )
    if len(photos) and not 0 <= photos.min() <= photos.max() < count:
        raise ValueError(
            f"{path}: expected face_image_index among the photos 0..{count - 1}, found {photos.min()}..{photos.max()}"
        )
    check_rows(path, labels, _FACE_ROWS, len(photos))
    return photos
