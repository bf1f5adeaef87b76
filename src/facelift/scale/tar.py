"""WebDataset shards: tars of samples, a sample being the files that share a stem. The same samples give the same bytes."""

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

META = "__meta__/"
"""Files below it belong to the shard, not to a sample; readers of WebDataset skip them."""


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


def members(path: Path, what: str) -> list[Member]:
    """The files of a tar, in order. Raises ValueError for a file that is no whole tar; `what` says in errors what it
    should have been."""
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            found = [Member(info.name, info.offset_data, info.offset_data + info.size) for info in tar]
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path}: expected {what}, found a file that does not load: {error}") from error
    if any(member.stop > size for member in found) or size % tarfile.RECORDSIZE:
        raise ValueError(f"{path}: expected {what}, found one that is cut off at {size} bytes")
    return found


def record_bytes(values: Mapping[str, np.ndarray]) -> bytes:
    """A sample's numbers as one .npy file: a record with these fields."""
    arrays = {name: np.asarray(value) for name, value in values.items()}
    record = np.zeros((), [(name, value.dtype.str, value.shape) for name, value in arrays.items()])
    for name, value in arrays.items():
        record[name] = value
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, record, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def read_record(content: bytes) -> np.ndarray:
    """The record of `record_bytes`: a structured array of shape ()."""
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def stack_records(records: Iterator[np.ndarray] | list[np.ndarray]) -> np.ndarray:
    """Records of one type as one structured array (n,)."""
    return np.stack(list(records))
