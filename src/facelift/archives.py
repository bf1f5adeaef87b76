"""Archives of arrays, read without pickle and with errors that name the file."""

import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
    RuntimeError,  # members that are encrypted; as NotImplementedError, compressed by other methods
)
"""What zipfile and NumPy raise on archives of which bytes were changed or cut off."""
_RATIO, _FLOOR = 100, 256 << 20


def check_sizes(archive: zipfile.ZipFile, packed: int) -> None:
    """Raises ValueError where the members of an archive of `packed` bytes say that they hold far more."""
    total = sum(member.file_size for member in archive.infolist())
    if total > _RATIO * packed + _FLOOR:
        raise ValueError(f"{total:,} bytes packed into {packed:,}")


def read_member(archive: zipfile.ZipFile, name: str, most: int | None = None) -> bytes:
    """The first `most` bytes, or all, and never more than the member says: `ZipFile.read` unpacks to the end first."""
    with archive.open(name) as file:
        size = archive.getinfo(name).file_size
        return file.read(size if most is None else min(size, most))


def read_npz(path: str | os.PathLike[str], what: str, keys: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """All arrays of an .npz file. `what` says in errors what the file should have been.

    Raises FileNotFoundError, or ValueError for another kind of file, a damaged one, or one without `keys`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected {what}, found no file")
    try:
        with np.load(path, allow_pickle=False) as file:
            check_sizes(file.zip, path.stat().st_size)
            arrays = dict(file)
    except DAMAGED as error:
        raise ValueError(f"{path}: expected {what}, found a file that does not load: {error}") from error
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise ValueError(f"{path}: expected {what} with {', '.join(keys)}, found {', '.join(sorted(arrays)) or 'none'}")
    return arrays


def read_npy(path: str | os.PathLike[str], what: str) -> np.ndarray:
    """The array of an .npy file; `what` as in `read_npz`.

    Raises FileNotFoundError, or ValueError for another kind of file, a damaged one, or one of objects.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected {what}, found no file")
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except DAMAGED as error:
        raise ValueError(f"{path}: expected {what}, found a file that does not load: {error}") from error
