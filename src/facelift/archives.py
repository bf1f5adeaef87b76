"""Archives of arrays, read without pickle and with errors that name the file."""

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def read_npz(path: str | os.PathLike[str], what: str, keys: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """All arrays of an .npz file. `what` says in errors what the file should have been.

    Raises FileNotFoundError, or ValueError for another kind of file, a damaged one, or one without `keys`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected {what}, found no file")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, OSError, TypeError) as error:
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
    except (EOFError, ValueError, OSError, TypeError, SyntaxError) as error:
        raise ValueError(f"{path}: expected {what}, found a file that does not load: {error}") from error
