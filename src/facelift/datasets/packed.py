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

LABELLED = ("merl_train", "merl_test", "w300_train")


class PackedSet:
    """Photos with iBUG-68 labels, kept in memory as JPEG bytes and decoded when asked for."""

    def __init__(self, root: Path, name: str):
        self.name = name
        labels_path, tar_path = Path(root) / f"{name}.npz", Path(root) / f"{name}.tar"
        self.labels = read_npz(labels_path, f"the labels of the packed set {name!r}", ("name", "pts68"))
        if not tar_path.is_file():
            raise FileNotFoundError(f"{tar_path}: expected the pictures of the packed set {name!r}, found no file")
        self._jpeg = tar_files(tar_path)
        missing = [file for file in self.labels["name"] if str(file) not in self._jpeg]
        if missing:
            raise ValueError(f"{tar_path}: expected a picture for every label, found none for {missing[0]}")

    def __len__(self) -> int:
        return len(self.labels["name"])

    def __getitem__(self, index: int) -> FaceSample:
        name = str(self.labels["name"][index])
        read = partial(_decode, self._jpeg[name], name)
        points = self.labels["pts68"][index].astype(np.float64)
        state = self.labels["state"][index] if "state" in self.labels else np.full(len(points), UNKNOWN)
        box = box_of_crop(np.array([0.0, 0.0, *_size(self._jpeg[name])]))
        return FaceSample(name, read, box, points, state.astype(np.int8), "ibug68")


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


def _decode(jpeg: bytes, name: str) -> np.ndarray:
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
