"""Reader of the project's packed sets: NAME.tar of JPEG files beside NAME.npz of labels."""

import io
import os
import tarfile
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


class PackedSet:
    """Photos with iBUG-68 labels, kept in memory as JPEG bytes and decoded when asked for.

    `box` is the face box whose crop is the whole picture. `attributes`: those of `GROUPS` that the set has (yaw in
    degrees, rough, positive where the nose points to the image's left; merl: pose_group; w300: source). `identity` is
    the name without its ending: one photo is one draw.
    """

    def __init__(self, root: Path, name: str):
        self.name = name
        self.labels, self._jpeg = read_packed(Path(root), name, ("name", "pts68"))

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
            box_of_crop(np.array([0.0, 0.0, *_size(self._jpeg[name])])),
            points,
            state.astype(np.int8),
            "ibug68",
            identity=Path(name).stem,
            attributes={key: self.labels[key][index].item() for key in GROUPS if key in self.labels},
        )


def read_packed(root: Path, name: str, keys: tuple[str, ...]) -> tuple[dict[str, np.ndarray], dict[str, bytes]]:
    """(arrays of NAME.npz, files of NAME.tar by name).

    Raises FileNotFoundError for a missing file, ValueError for a missing array or picture.
    """
    labels_path, tar_path = root / f"{name}.npz", root / f"{name}.tar"
    labels = read_npz(labels_path, f"the labels of the packed set {name!r}", keys)
    if not tar_path.is_file():
        raise FileNotFoundError(f"{tar_path}: expected the pictures of the packed set {name!r}, found no file")
    files = tar_files(tar_path)
    missing = [file for file in labels["name"] if str(file) not in files]
    if missing:
        raise ValueError(f"{tar_path}: expected a picture for every label, found none for {missing[0]}")
    return labels, files


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
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ValueError(f"{name}: expected a JPEG picture, found {len(jpeg)} bytes that do not decode")
    return image


def _size(jpeg: bytes) -> tuple[int, int]:
    """Width and height, from the header alone."""
    return Image.open(io.BytesIO(jpeg)).size


def data_root(given: Path | None) -> Path:
    """The data folder: the option, else FACELIFT_DATA. ValueError if there is neither."""
    found = given or os.environ.get("FACELIFT_DATA")
    if not found:
        raise ValueError("no data folder: expected --data or the variable FACELIFT_DATA, found neither")
    return Path(found)
