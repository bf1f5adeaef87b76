"""The one place that unpickles files which others wrote: nothing that such a file names is ever called.

A pickle is a program: it names functions and has them called. Here every name is looked up in a table of inert
stand-ins, and what is not in the table is refused by name. Even NumPy's own functions are not given out: a pickle can
make a dtype with false flags, and an array of it reads addresses from the file. Arrays are rebuilt from plain bytes.
"""

import math
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_REFUSALS = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    MemoryError,
    OverflowError,
    RecursionError,
    struct.error,
)
"""What the unpickler raises on files that ask for more, and on files of which bytes were changed or cut off."""
_PLAIN_DTYPE = re.compile(r"[?bBhHiIlLqQefdFD]|[biufcSU][1-9]\d{0,8}|O8?")


class StandIn:
    """Something a pickle may name, and call if `call` is given. Nothing can be set on it."""

    __slots__ = ("_call",)
    _call: Callable[..., Any] | None

    def __init__(self, call: Callable[..., Any] | None = None):
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: Any) -> Any:
        if self._call is None:
            raise pickle.UnpicklingError("a call of something that is only a name")
        return self._call(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError(f"a change of {name!r} in what others use")


class _Dtype:
    """numpy.dtype(code, ...) with the byte order that follows in its state."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_flags: Any):
        if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
            raise pickle.UnpicklingError(f"an array of {code!r}")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        order, parts = state[1], state[2:5]
        if order not in tuple("<>|=") or any(part is not None for part in parts):
            raise pickle.UnpicklingError("an array with fields")
        self.order = order

    def numpy(self) -> np.dtype:
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


class _Array(np.ndarray):
    """An empty array that takes shape, dtype and elements from its state."""

    __slots__ = ()

    def __setstate__(self, state: tuple) -> None:  # type: ignore[override]
        _version, shape, dtype, fortran, data = state
        data, kind = _bytes(data), dtype.numpy() if isinstance(dtype, _Dtype) else None
        if kind is None or not all(isinstance(length, int) and length >= 0 for length in shape):
            raise pickle.UnpicklingError(f"an array of shape {shape!r} and of {dtype!r}")
        size = math.prod(shape) * (1 if kind.hasobject else kind.itemsize)
        if not isinstance(data, list if kind.hasobject else bytes) or len(data) != size:
            raise pickle.UnpicklingError(f"an array of shape {shape!r} with elements of another number")
        super().__setstate__((1, tuple(shape), kind, bool(fortran), data))  # type: ignore[arg-type]


def _from_bytes(data: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    """The array of a buffer; NumPy's ValueError where their sizes differ, or for objects."""
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("an array without a dtype")
    return np.frombuffer(_bytes(data), dtype.numpy()).reshape(shape, order=order)


def _bytes(data: Any) -> Any:
    """Byte strings of Python 2, which come as text, and buffers as bytes; the rest as it is."""
    if isinstance(data, str):
        return data.encode("latin1")
    return bytes(data) if isinstance(data, bytearray) else data


def _scalar(dtype: Any, data: Any) -> Any:
    return _from_bytes(data, dtype, ())[()]


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them into pickles of protocol 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in {encoding!r}")
    return text.encode("latin1")


def _numpy_names() -> dict[tuple[str, str], Any]:
    """NumPy's names before and since its version 2, of Python 2 and 3."""
    array = StandIn(lambda *_: np.ndarray.__new__(_Array, (0,), "b"))
    names: dict[tuple[str, str], Any] = {("numpy", "ndarray"): StandIn(), ("numpy", "dtype"): StandIn(_Dtype)}
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = array
        names[f"{core}.multiarray", "scalar"] = StandIn(_scalar)
        names[f"{core}.numeric", "_frombuffer"] = StandIn(_from_bytes)
    return names


ALLOWED: Mapping[tuple[str, str], Any] = {
    **_numpy_names(),
    ("_codecs", "encode"): StandIn(_latin1),
    ("collections", "OrderedDict"): StandIn(dict),
    **{(module, "set"): StandIn(set) for module in ("builtins", "__builtin__")},
    **{(module, "bytes"): StandIn(lambda: b"") for module in ("builtins", "__builtin__")},
}
"""(module, name) -> stand-in, for arrays of numbers and plain containers."""


class SafeUnpickler(pickle.Unpickler):
    """Looks names up in `ALLOWED` and `more`, exactly; raises pickle.UnpicklingError with the name of anything else.

    `more` serves formats with classes of their own: it maps their names to `StandIn`s that keep what they are given. A
    format that stores tensors outside of the pickle overrides `persistent_load`, which refuses here. `encoding`: of
    Python 2's strings.
    """

    def __init__(self, file: BinaryIO, *, more: Mapping[tuple[str, str], Any] | None = None, encoding: str = "latin1"):
        super().__init__(file, encoding=encoding)
        self._names = {**ALLOWED, **(more or {})}

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in."""
        if (module, name) not in self._names:
            raise pickle.UnpicklingError(f"a call of {module}.{name}")
        return self._names[module, name]


def read_pickle(path: Path | str, what: str, *, more: Mapping[tuple[str, str], Any] | None = None) -> Any:
    """Numbers, text, plain containers and NumPy arrays of a pickle, of Python 2 or 3. `what` says in errors what the
    file should have been.

    Raises FileNotFoundError, or ValueError for another kind of file, a damaged one, or one that names anything else,
    with the name; nothing of such a file is called.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected {what}, found no such file")
    try:
        with path.open("rb") as file:
            return SafeUnpickler(file, more=more).load()
    except _REFUSALS as error:
        raise ValueError(
            f"{path}: expected {what} as a pickle of arrays and plain containers, found {error or type(error).__name__}"
        ) from error


def read_pickled_arrays(path: Path | str, what: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The named arrays of a pickled dictionary. Raises as `read_pickle`, and ValueError where one is missing."""
    held = read_pickle(path, what)
    if not isinstance(held, dict) or not all(isinstance(held.get(name), np.ndarray) for name in names):
        found = ", ".join(map(str, held)) if isinstance(held, dict) else type(held).__name__
        raise ValueError(f"{path}: expected {what} with arrays {', '.join(names)}, found {found}")
    return {name: np.asarray(held[name]) for name in names}
