"""Folders of shards: on a disk, or in an object store by a URL that fsspec knows (s3://, gs://, memory://)."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from facelift.atomic import PARTIAL, written_whole

_TYPED = PrimitiveConstructorSpec(
    nargs=1,
    metavar="PATH|URL",
    instance_from_str=lambda words: words[0] if "://" in words[0] else Path(words[0]),
    is_instance=lambda value: isinstance(value, str | Path),
    str_from_instance=lambda value: [str(value)],
)
Place = Annotated[str | Path, _TYPED]
"""A folder or file: a path, or a URL."""


class Store:
    """Files of one folder, that appear whole or not at all: by renaming on a disk, by their upload in object stores."""

    def __init__(self, place: Place):
        self.place = str(place)
        self.folder = local_path(place)
        """The folder on a disk; None in an object store."""
        if self.folder is None:
            self._files, self._root = _file_system(self.place)

    def __str__(self) -> str:
        return self.place

    def path(self, name: str) -> str:
        """Of a file, as errors show it."""
        return str(self.folder / name) if self.folder else f"{self.place.rstrip('/')}/{name}"

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, by name, in order; no file where there is no folder yet."""
        if self.folder:
            found = self.folder.iterdir() if self.folder.is_dir() else ()
            return {path.name: path.stat().st_size for path in sorted(found) if path.is_file()}
        self._files.invalidate_cache()
        if not self._files.isdir(self._root):
            return {}
        entries = [entry for entry in self._files.ls(self._root, detail=True) if entry["type"] == "file"]
        return {entry["name"].rsplit("/", 1)[-1]: entry["size"] for entry in sorted(entries, key=lambda e: e["name"])}

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return (self.folder / name).is_file() if self.folder else bool(self._files.isfile(f"{self._root}/{name}"))

    def read(self, name: str) -> bytes:
        """A file's content. Raises FileNotFoundError."""
        return (self.folder / name).read_bytes() if self.folder else self._files.cat_file(f"{self._root}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Raises OSError, that names the file, where it cannot be written; then no part of it is there."""
        if self.folder:
            with written_whole(self.folder / name) as partial:
                partial.write_bytes(content)
            return
        try:
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(f"{self._root}/{name}", content)
        except OSError as error:
            error.filename = error.filename or self.path(name)
            raise

    def remove(self, name: str) -> None:
        """Removes a file."""
        if self.folder:
            (self.folder / name).unlink()
        else:
            self._files.rm_file(f"{self._root}/{name}")

    def remove_partial(self) -> None:
        """Removes what killed runs have left half-written; for the only run in the folder."""
        for path in self.folder.glob(PARTIAL + "*") if self.folder else ():
            path.unlink(missing_ok=True)

    def on_disk(self, name: str) -> Path:
        """The file as one of this machine; one of an object store is fetched once, to FACELIFT_CACHE or a temporary
        folder, where all processes of the machine share it."""
        if self.folder:
            return self.folder / name
        info = self._files.info(f"{self._root}/{name}")
        version = [self.path(name), *(str(info.get(key)) for key in ("size", "ETag", "etag", "mtime", "created"))]
        digest = hashlib.sha256("\n".join(version).encode()).hexdigest()[:24]
        cached = _cache() / f"{digest}-{name}"
        if not cached.exists():
            with written_whole(cached) as partial:
                self._files.get_file(f"{self._root}/{name}", str(partial))
        return cached


def local_path(place: Place) -> Path | None:
    """The path of a place on a disk, None for one in an object store."""
    text = str(place)
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    return None if "://" in text else Path(place)


def shown(place: Place) -> Place:
    """The place as commands print it."""
    return local_path(place) or str(place)


def matching(pattern: str) -> list[str]:
    """URLs of the files of an object store behind a file's URL, a folder's (all below it) or a glob's."""
    files, root = _file_system(pattern)
    if any(sign in root for sign in "*?["):
        found = files.glob(root)
    else:
        found = [root] if files.isfile(root) else files.find(root)
    return [files.unstrip_protocol(name) for name in sorted(found)]


@contextmanager
def fetched(place: Place) -> Iterator[Path]:
    """A file as one on this machine: itself, or a copy that is gone after the block."""
    path = local_path(place)
    if path is not None:
        yield path
        return
    files, name = _file_system(str(place))
    with tempfile.TemporaryDirectory(prefix="facelift-") as folder:
        copy = Path(folder) / name.rsplit("/", 1)[-1]
        files.get_file(name, str(copy))
        yield copy


def fingerprint(place: Place, *, ends: int = 1 << 20) -> str:
    """16 hexadecimal digits that tell files apart wherever they lie: a digest of size, first and last MiB, so that a
    long video need not be read twice."""
    path = local_path(place)
    if path is not None:
        size = path.stat().st_size
        with path.open("rb") as file:
            parts = [file.read(ends)]
            file.seek(max(0, size - ends))
            parts.append(file.read(ends))
    else:
        files, name = _file_system(str(place))
        size = int(files.size(name))
        parts = [files.cat_file(name, 0, min(ends, size)), files.cat_file(name, max(0, size - ends), size)]
    return hashlib.sha256(b"".join([str(size).encode(), b":", *parts])).hexdigest()[:16]


def _file_system(url: str) -> tuple[Any, str]:
    import fsspec

    return fsspec.core.url_to_fs(url)


def _cache() -> Path:
    return Path(os.environ.get("FACELIFT_CACHE") or Path(tempfile.gettempdir()) / "facelift-cache")
