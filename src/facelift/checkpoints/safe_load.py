"""The one place that reads torch files which others wrote: nothing in such a file is ever executed."""

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from facelift.archives import check_sizes
from facelift.checkpoints.printable import printable

_REFUSALS = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    MemoryError,
    OSError,
    struct.error,
    zipfile.BadZipFile,
)
"""What torch.load raises on files that ask for code, and on files of which bytes were changed or cut off."""


def read_torch(path: Path | str | bytes, *, name: str | None = None) -> Any:
    """What `torch.save` put into the file: tensors and plain containers only, on the CPU.

    The file may come as its bytes, with a `name` for errors. Raises FileNotFoundError, or ValueError for a file that is
    damaged, of another kind, or that asks for code to be run (any class or function besides torch's own tensors).
    """
    if not isinstance(path, bytes) and not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected a torch checkpoint, found no such file")
    try:
        with io.BytesIO(path) if isinstance(path, bytes) else Path(path).open("rb") as file:
            _check_archive(file)
            return torch.load(file, map_location="cpu", weights_only=True)
    except _REFUSALS as error:
        called = name or (len(path) if isinstance(path, bytes) else path)
        raise ValueError(
            f"{called}: expected a torch file of tensors alone, found one that torch refuses ({_reason(error)})"
        ) from error


def _check_archive(file: BinaryIO | io.BytesIO) -> None:
    """Raises ValueError for an archive whose members unpack to far more than it. Old files of torch are none."""
    if file.read(2) == b"PK":
        with zipfile.ZipFile(file) as archive:
            check_sizes(archive, file.seek(0, io.SEEK_END))
    file.seek(0)


def _reason(error: BaseException) -> str:
    """One line; torch's own refusal opens with advice to load unsafely, which is left out."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line.partition(" Please ")[0] for line in lines if "Weights only load failed" not in line]
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def read_state(path: Path | str, *, inside: str | None = None) -> dict[str, Tensor]:
    """The state dict of a checkpoint, or the one it holds under the key `inside`. Raises as `read_torch`, and
    ValueError where there is no dictionary of tensors."""
    loaded = read_torch(path)
    if inside is not None:
        if not isinstance(loaded, dict) or inside not in loaded:
            found = sorted(map(str, loaded))[:8] if isinstance(loaded, dict) else type(loaded).__name__
            raise ValueError(f"{path}: expected a dictionary with {inside!r}, found {found}")
        loaded = loaded[inside]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ValueError(f"{path}: expected a dictionary of tensors, found {_describe(loaded)}")
    return loaded


def fill(
    module: nn.Module, state: dict[str, Tensor], *, path: Path | str, names: Mapping[str, str] | None = None
) -> None:
    """Copies `state` into `module`, names and shapes exactly; changes nothing if they differ.

    `names`: what the file calls a tensor, by the module's name for it, where the two differ. Batch counters of old
    files may be missing. Raises ValueError that names the file and the first differences.
    """
    called = {name: (names or {}).get(name, name) for name in module.state_dict()}
    expected = {called[name]: tensor for name, tensor in module.state_dict().items()}
    counters = {name for name in expected if name.endswith(".num_batches_tracked")}
    missing = sorted(expected.keys() - state.keys() - counters)
    surplus = sorted(state.keys() - expected.keys())
    if missing or surplus:
        raise ValueError(
            f"{path}: expected the {len(expected)} tensors of {type(module).__name__}, found {len(state)}; "
            f"missing: {_first(missing)}; unknown: {_first(surplus)}"
        )
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{path}: expected {name} of shape {tuple(expected[name].shape)}, found {tuple(tensor.shape)}"
            )
    filled = expected | state
    module.load_state_dict({name: filled[called[name]] for name in called})


def _first(names: list[str]) -> str:
    return ", ".join(map(printable, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "none"


def _describe(loaded: Any) -> str:
    if not isinstance(loaded, dict):
        return type(loaded).__name__
    odd = next(name for name, value in loaded.items() if not isinstance(value, Tensor))
    return f"{type(loaded[odd]).__name__} under {odd!r}"
