"""Pictures as they are stored: labels of data sets count the pixels of the file, whatever its EXIF orientation says."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from facelift.datasets.readers.official_layout import require_file


def read_picture(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """The picture, RGB. Raises FileNotFoundError, or ValueError for a file that does not decode."""
    require_file(path, "a picture")
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ValueError(f"{path}: expected a picture, found {path.stat().st_size} bytes that do not decode")
    return image


def picture_wh(path: Path) -> tuple[int, int]:
    """Stored width and height, from the header alone. Raises as `read_picture`."""
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: expected a picture, found nothing under this name") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path}: expected a picture, found {path.stat().st_size} bytes that are none") from None


def picture_reader(path: Path) -> Callable[[], np.ndarray]:
    """What a sample calls when its picture is asked for."""
    return partial(read_picture, path)
