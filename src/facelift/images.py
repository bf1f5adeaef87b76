"""Pictures from files, bytes, PIL images and arrays: upright, RGB, 8 bit, of bounded size."""

import io
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from facelift.crops import shrink_by

ImageSource = str | os.PathLike[str] | bytes | Image.Image | np.ndarray
MAX_SIDE = 4096
"""Pictures with a longer side are shrunk by a whole factor while they are read."""
MAX_PIXELS = 600_000_000
"""More are refused: a PNG or TIFF has to be decoded whole before it can be shrunk. JPEG is shrunk while decoding."""
BACKGROUND = 255
"""Grey level behind transparent pixels."""

_DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, RuntimeError, MemoryError, OverflowError, TypeError, IndexError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow's readers raise on damaged files."""
_ORIENTATION = 0x0112
_limit_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright picture, perhaps shrunk, that knows the pixels of its original."""

    pixels: UInt8[np.ndarray, "h w 3"]
    """RGB."""
    name: str
    """The file's path, or what kind of object it came from; for messages."""
    scale: float
    """Original px per pixel."""
    original_wh: tuple[int, int]
    """Width and height of the upright original."""


def load_photo(source: ImageSource, *, max_side: int = MAX_SIDE) -> Photo:
    """The picture, turned upright by its EXIF orientation (files, bytes and PIL images that carry one).

    Grey, grey + alpha, RGBA, palette, CMYK, 16-bit (full range 0..65535) and float (0..1; of a file also 0..255)
    become 8-bit RGB; transparent parts turn white. Of an animation, the first frame.

    Raises FileNotFoundError for a path to nothing, ValueError for anything that is not a whole picture; both name the
    source, what was expected and what was found.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_side)
    if isinstance(source, Image.Image):
        return _from_pil(source, "PIL image", max_side)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_stream(io.BytesIO(source), f"{len(source)} bytes", max_side)
    if not isinstance(source, str | os.PathLike):
        raise ValueError(f"picture: expected a path, bytes, a PIL image or an array, found {type(source).__name__}")
    path = Path(source)
    if path.is_dir():
        raise ValueError(f"{path}: expected an image file, found a folder")
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected an image file, found nothing under this name")
    with path.open("rb") as stream:
        return _from_stream(stream, str(path), max_side)


def _from_stream(stream: io.BufferedReader | io.BytesIO, name: str, max_side: int) -> Photo:
    head = stream.read(16)
    stream.seek(0)
    if not head:
        raise ValueError(f"{name}: expected an image, found an empty file (0 bytes)")
    try:
        with _no_size_limit():  # Pillow's own limit is far below MAX_PIXELS, and is for all threads
            image = Image.open(stream)
    except UnidentifiedImageError:
        raise ValueError(f"{name}: expected an image that Pillow reads, found {_guess(head)}") from None
    except _DAMAGE as error:
        raise ValueError(f"{name}: expected a readable image, found a damaged one: {error}") from error
    with image:
        return _from_pil(image, name, max_side)


def _from_pil(image: Image.Image, name: str, max_side: int) -> Photo:
    width, height = image.size
    try:
        drafted = 1
        if getattr(image, "format", None) == "JPEG" and max(width, height) >= 2 * max_side:
            drafted = _draft(image, max_side)
        if width * height > MAX_PIXELS * drafted**2:
            found = f"{width} x {height}"
            raise ValueError(f"expected at most {MAX_PIXELS // 10**6} million pixels, found {found}")
        image.load()
        factor = max(1, -(-max(image.size) // max_side))
        pixels = _reduced(image, factor)
        orientation = _orientation(image)
    except _DAMAGE as error:
        raise ValueError(f"{name}: expected a whole {image.format or 'image'}, found: {error}") from error
    upright = _turn_upright(pixels, orientation)
    wh = (height, width) if orientation >= 5 else (width, height)
    return Photo(upright, name, float(drafted * factor), wh)


def _draft(image: Image.Image, max_side: int) -> int:
    """Tells the JPEG decoder to shrink by 2, 4 or 8, never below `max_side`; returns the factor."""
    width, height = image.size
    factor = max(f for f in (1, 2, 4, 8) if max(width, height) >= f * max_side)
    image.draft(None, (max(1, width // factor), max(1, height // factor)))
    return round(max(width, height) / max(image.size))


def _reduced(image: Image.Image, factor: int) -> UInt8[np.ndarray, "h w 3"]:
    """8-bit RGB, each pixel the mean of factor x factor; converted by bands, so that only the result is in memory."""
    width, height = image.size
    if factor == 1:
        return _rgb_of_pil(image)
    if image.mode == "F":  # the range of its values is that of the whole picture, not of a band
        return shrink_by(_rgb_of_pil(image), factor)
    out = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    rows = max(factor, 2**24 // max(width, 1) // factor * factor)
    for top in range(0, height, rows):
        band = _rgb_of_pil(image.crop((0, top, width, min(top + rows, height))))
        out[top // factor : -(-(top + len(band)) // factor)] = shrink_by(band, factor)
    return out


def _rgb_of_pil(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _rgb_of_array(_deep(np.asarray(image)))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _rgb_of_array(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def _deep(values: np.ndarray) -> np.ndarray:
    """Grey values of Pillow's deep modes as uint16 or as float in 0..1."""
    if np.issubdtype(values.dtype, np.integer):
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise ValueError(f"expected grey values in 0..65535, found {low}..{high}")
        return values.astype(np.uint16)
    if values.size and np.isfinite(values).all() and values.min() >= 0 and 1 < values.max() <= 255:
        return values / 255
    return values


def _from_array(values: np.ndarray, max_side: int) -> Photo:
    name = f"array {values.shape} {values.dtype}"
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 2, 3, 4)):
        raise ValueError(f"{name}: expected (h, w) or (h, w, 1 to 4 channels)")
    if values.size == 0:
        raise ValueError(f"{name}: expected at least one pixel")
    try:
        pixels = _rgb_of_array(values)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    factor = max(1, -(-max(pixels.shape[:2]) // max_side))
    height, width = pixels.shape[:2]
    return Photo(shrink_by(pixels, factor) if factor > 1 else pixels, name, float(factor), (width, height))


def _rgb_of_array(values: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """(h, w), (h, w, 1), grey + alpha, RGB or RGBA of any accepted type -> contiguous 8-bit RGB."""
    values = _eight_bit(values)
    if values.ndim == 2:
        values = values[..., None]
    channels = values.shape[2]
    if channels in (2, 4):
        alpha = values[..., -1:].astype(np.uint16)
        blended = values[..., :-1] * alpha + BACKGROUND * (255 - alpha)
        values = ((blended + 127) // 255).astype(np.uint8)
    if channels <= 2:
        values = np.repeat(values, 3, axis=2)
    return np.ascontiguousarray(values)


def _eight_bit(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    if values.dtype == np.uint16:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if np.issubdtype(values.dtype, np.floating):
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ValueError(f"expected floats in 0..1, found {values.min():.4g}..{values.max():.4g}")
        return np.rint(values * 255).astype(np.uint8)
    raise ValueError(f"expected uint8, uint16, bool or float in 0..1, found {values.dtype}")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where there is none or it is damaged."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _DAMAGE:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation (EXIF 2.3, tag 274)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


@contextmanager
def _no_size_limit() -> Iterator[None]:
    """Lifts Pillow's limit of pixels, a global, for the moment in which a header is read."""
    with _limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _guess(head: bytes) -> str:
    """What a file that is no image looks like."""
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return "HEIC (install and register pillow-heif, or convert it to JPEG)"
    if head[4:8] == b"ftyp" or head[:4] in (b"\x1aE\xdf\xa3", b"RIFF"):
        return "a video or audio file"
    if head.startswith(b"%PDF"):
        return "a PDF"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return f"text ({head.decode('ascii')!r})"
    return f"unknown bytes {head[:8].hex(' ')}"
