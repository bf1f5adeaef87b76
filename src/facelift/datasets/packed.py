"""Reader of the project's packed sets: NAME.tar of JPEG files beside NAME.npz of labels."""

import io
import os
import tarfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from facelift.archives import read_npz
from facelift.crops import box_of_crop
from facelift.datasets.sample import UNKNOWN, FaceSample

GROUPS = ("yaw", "pose_group", "source")
"""Arrays of labels that become attributes of a sample."""
_ROWS: dict[str, tuple[int, ...]] = {"pts68": (68, 2), "state": (68,), **dict.fromkeys(GROUPS, ())}
"""Shape of one face's row in the arrays that a sample is made of."""


class PackedSet:
    """Photos with iBUG-68 labels, kept in memory as JPEG bytes and decoded when asked for.

    `box` is the face box whose crop is the whole picture, NaN where the picture's header cannot be read (then reading
    `image` raises the ValueError that names it). `attributes`: those of `GROUPS` that the set has (yaw in
    degrees, rough, positive where the nose points to the image's left; merl: pose_group; w300: source). `identity` is
    the name without its ending: one photo is one draw.
    """

    def __init__(self, root: Path, name: str):
        self.name = name
        self.labels, self._jpeg = read_packed(Path(root), name, {"pts68": (68, 2)})
        self._boxes: dict[int, np.ndarray] = {}
        path = Path(root) / f"{name}.npz"
        check_rows(path, self.labels, {key: _ROWS.get(key, a.shape[1:]) for key, a in self.labels.items()}, len(self))
        for key in ("pts68", "state"):
            if key in self.labels and self.labels[key].dtype.kind not in "fiu":
                raise ValueError(f"{path}: expected {key} of numbers, found {self.labels[key].dtype}")

    def __len__(self) -> int:
        return len(self.labels["name"])

    def __getitem__(self, index: int) -> FaceSample:
        name = str(self.labels["name"][index])
        read = partial(decode_jpeg, self._jpeg[name], name)
        points = self.labels["pts68"][index].astype(np.float64)
        state = self.labels["state"][index] if "state" in self.labels else np.full(len(points), UNKNOWN)
        return FaceSample(
            name,
            read,
            self._box(index, name),
            points,
            state.astype(np.int8),
            "ibug68",
            identity=Path(name).stem,
            attributes={key: self.labels[key][index].item() for key in GROUPS if key in self.labels},
        )

    def _box(self, index: int, name: str) -> np.ndarray:
        """The face box; headers of pictures are read once."""
        if index not in self._boxes:
            self._boxes[index] = box_of_crop(np.array([0.0, 0.0, *_size(self._jpeg[name])]))
        return self._boxes[index]


def read_packed(
    root: Path, name: str, rows: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, np.ndarray], dict[str, bytes]]:
    """(arrays of NAME.npz, files of NAME.tar by name); `rows`: shape of one picture's row in each array needed.

    Raises FileNotFoundError for a missing file; ValueError for a missing array or picture, for arrays that do not fit
    the names, and for a name that comes twice.
    """
    labels_path, tar_path = root / f"{name}.npz", root / f"{name}.tar"
    labels = read_npz(labels_path, f"the labels of the packed set {name!r}", ("name", *rows))
    names = labels["name"]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(f"{labels_path}: expected name as a list of texts, found {names.shape} of {names.dtype}")
    unique, counts = np.unique(names, return_counts=True)
    if (counts > 1).any():
        twice = str(unique[counts > 1][0])
        raise ValueError(f"{labels_path}: expected every name once, found {twice!r} {counts.max()} times")
    check_rows(labels_path, labels, rows, len(names))
    if not tar_path.is_file():
        raise FileNotFoundError(f"{tar_path}: expected the pictures of the packed set {name!r}, found no file")
    files = tar_files(tar_path)
    missing = [file for file in names if str(file) not in files]
    if missing:
        raise ValueError(f"{tar_path}: expected a picture for every label, found none for {missing[0]}")
    return labels, files


def check_rows(path: Path, labels: Mapping[str, np.ndarray], rows: Mapping[str, tuple[int, ...]], count: int) -> None:
    """Raises ValueError, naming the file, where an array is not `count` rows of its shape in `rows`."""
    for key, row in rows.items():
        if labels[key].shape != (count, *row):
            raise ValueError(f"{path}: expected {key} of shape {(count, *row)}, found {labels[key].shape}")


def tar_files(path: Path) -> dict[str, bytes]:
    """Contents of all files of a tar by name."""
    contents = {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is not None:
                    contents[member.name] = file.read()
    except tarfile.TarError as error:
        raise ValueError(f"{path}: expected a whole tar of pictures, found: {error}") from error
    return contents


def decode_jpeg(jpeg: bytes, name: str) -> np.ndarray:
    """The picture, RGB. Raises ValueError that names it."""
    try:
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # no bytes, or a header of more pixels than OpenCV takes
        image = None
    if image is None:
        raise ValueError(f"{name}: expected a JPEG picture, found {len(jpeg)} bytes that do not decode")
    return image


def _size(jpeg: bytes) -> tuple[float, float]:
    """Width and height, from the header alone; NaN where it cannot be read."""
    try:
        return Image.open(io.BytesIO(jpeg)).size
    except (OSError, ValueError, Image.DecompressionBombError):
        return float("nan"), float("nan")


def data_root(given: Path | None) -> Path:
    """The data folder: the option, else FACELIFT_DATA. ValueError if there is neither."""
    found = given or os.environ.get("FACELIFT_DATA")
    if not found:
        raise ValueError("no data folder: expected --data or the variable FACELIFT_DATA, found neither")
    return Path(found)
