"""WebDataset shards: tars of samples, a sample being the files that share a stem. The same samples give the same bytes.

A shard is read through a memory map: pictures stay on the disk until they are asked for, and processes share them.
"""

import io
import tarfile
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

META = "__meta__/"
"""Files below it belong to the shard, not to a sample; readers of WebDataset skip them."""
_BLOCK = 512
_DAMAGE = (ValueError, KeyError, IndexError, TypeError, OverflowError, SyntaxError, EOFError, tokenize.TokenError)
"""What tables and .npy files raise where bytes are wrong."""


@dataclass(frozen=True)
class Member:
    """A file in a tar."""

    name: str
    start: int
    """Of its content in the tar, bytes."""
    stop: int


def tar_bytes(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar of these files, in this order, owned by nobody at no time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def map_tar(path: Path, what: str) -> tuple[UInt8[np.ndarray, "bytes"], list[Member]]:
    """The mapped bytes of a tar by `tar_bytes`, and its files in order.

    Raises FileNotFoundError, or ValueError for a file that is no whole tar; `what` says what it should have been.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected {what}, found no file")
    size = path.stat().st_size
    if not size or size % tarfile.RECORDSIZE:
        raise ValueError(f"{path}: expected {what}, found {size} bytes, no whole tar")
    content = np.memmap(path, np.uint8, mode="r")
    found: list[Member] = []
    at = 0
    while at + _BLOCK <= size:
        header = content[at : at + _BLOCK].tobytes()
        if header == bytes(_BLOCK):
            return content, found
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            raise ValueError(f"{path}: expected {what}, found no tar at byte {at}: {error}") from error
        member = Member(info.name, at + _BLOCK, at + _BLOCK + info.size)
        found.append(member)
        at = member.stop + -info.size % _BLOCK
    raise ValueError(f"{path}: expected {what}, found one that is cut off at {size} bytes")


@contextmanager
def whole_shard(path: Path, what: str) -> Iterator[None]:
    """Turns what damaged tables and records raise in the block into a ValueError that names the file."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: expected {what}, found a damaged one: {error!r}") from error


def record_bytes(values: Mapping[str, np.ndarray]) -> bytes:
    """A sample's numbers as one .npy file: a record with these fields."""
    record = np.zeros((), [(name, value.dtype.str, value.shape) for name, value in values.items()])
    for name, value in values.items():
        record[name] = value
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, record, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def read_records(content: UInt8[np.ndarray, "bytes"], members: Sequence[Member]) -> np.ndarray:
    """The records (n,) of these .npy files of a tar, all of one type; at least one.

    Raises ValueError for files that hold no record, or others than the first one's.
    """
    first = content[members[0].start : members[0].stop].tobytes()
    record = np.lib.format.read_array(io.BytesIO(first), allow_pickle=False)
    if record.shape != () or record.dtype.names is None:
        raise ValueError(f"{members[0].name}: expected a record, found {record.dtype} of shape {record.shape}")
    head = len(first) - record.nbytes
    files = [content[member.start : member.stop].tobytes() for member in members]
    for member, file in zip(members, files, strict=True):
        if len(file) != len(first) or file[:head] != first[:head]:
            raise ValueError(f"{member.name}: expected a record like {members[0].name}, found another")
    return np.frombuffer(b"".join(file[head:] for file in files), record.dtype)
