"""Files that appear whole or not at all, and folders whose files are of one run."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial-"
"""Start of the names of files that are being written."""


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name in the folder of `path`, with its suffix; renamed to `path` when the block ends without error.

    After an error (a full disk, a kill by exception) nothing is left under either name. Makes the folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=PARTIAL, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's files are private
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # "No space left on device" alone does not say where
        raise


def _umask() -> int:
    """The process's umask. It can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def require_settings(note: str, found: dict[str, Any], settings: dict[str, Any]) -> None:
    """Raises ValueError where a folder's `note` names other settings, whose files must not be mixed with new ones."""
    different = sorted(key for key in settings | found if settings.get(key) != found.get(key))
    if different:
        shown = "; ".join(f"{key}: {found.get(key)!r} there, {settings.get(key)!r} now" for key in different)
        raise ValueError(f"{note}: expected this run's settings, found others ({shown}); choose another folder")
