"""Results beside a photo must not replace what somebody else put there, labels above all."""

import zipfile
from pathlib import Path

_OURS = {".json": (b'{"format": "facelift-',), ".csv": (b"face,score,box_x0,", b"frame,time_s,face,")}
"""How a file begins that these commands wrote, by suffix."""


def refuse_foreign(target: Path, source: Path) -> None:
    """Raises ValueError if `target` lies in the folder of `source`, exists, and was not written by these commands.

    A .pts file does not say who wrote it, so none is replaced there.
    """
    if target.exists() and target.resolve().parent == source.resolve().parent and not _is_ours(target):
        raise ValueError(f"{target}: expected no other file of this name beside the photo, found one; choose --out")


def _is_ours(path: Path) -> bool:
    if path.suffix == ".npz":
        return zipfile.is_zipfile(path) and "format.npy" in zipfile.ZipFile(path).namelist()
    with path.open("rb") as file:
        return file.read(64).startswith(_OURS.get(path.suffix, ()))
