"""The one place that unpickles files which others wrote: nothing that such a file names is ever called.

A pickle is a program: it names functions and has them called. Here every name is looked up in a table of inert
stand-ins, and what is not in the table is refused by name. Even NumPy's own functions are not given out: a pickle can
make a dtype with false flags, and an array of it reads addresses from the file. Arrays are rebuilt from plain bytes.

The interpreter of opcodes is Python's own in Python, not the one in C: that one takes 64 GB for a six-byte number of a
memo, hashes nested tuples without end, and sets the state of whatever object lies on its stack.
"""

import io
import math
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from reprlib import repr as brief
from typing import Any, BinaryIO, ClassVar

import numpy as np

from facelift.checkpoints.printable import printable

REFUSALS = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    MemoryError,
    OverflowError,
    RecursionError,
    struct.error,
)
"""What the unpickler raises on files that ask for more, and on files of which bytes were changed or cut off."""
_NAME = re.compile(r"[A-Za-z_][\w.]*", re.ASCII)
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

    def __repr__(self) -> str:
        return "a name"


class Record:
    """What a file says of an object whose class is never imported: the class's name and what was set on it."""

    __slots__ = ("arguments", "kind", "state")

    def __init__(self, kind: str, *arguments: Any):
        self.kind, self.arguments = kind, arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __repr__(self) -> str:
        return f"a {self.kind}"


class Budget:
    """Counts what is looked at: a list of two of the list before, a hundred times, has no end."""

    def __init__(self, left: int = 50_000, found: str = "a structure without end"):
        self.left, self.found = left, found

    def spend(self, count: int = 1) -> None:
        """So many items. Raises pickle.UnpicklingError when all are spent."""
        self.left -= count
        if self.left < 0:
            raise pickle.UnpicklingError(self.found)


def bytes_of(length: int) -> Budget:
    """For what a file of so many bytes may make. Nothing is packed in it: what is far larger names one part often."""
    return Budget(8 * length + (64 << 20), f"more arrays and text than a file of {length:,} bytes holds")


def _weight(made: Any) -> int:
    """About the bytes of what a stand-in made; those of a tensor even where it shares them."""
    size = getattr(made, "nbytes", None)
    if isinstance(size, int):
        return 64 + size
    each = 1 if isinstance(made, bytes | str) else 64
    return 64 + each * len(made) if isinstance(made, bytes | str | dict | list | tuple | set) else 64


class _Dtype:
    """numpy.dtype(code, ...) with the byte order that follows in its state."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_flags: Any):
        if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
            raise pickle.UnpicklingError(f"an array of {brief(code)}")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        order, parts = state[1], state[2:5]
        if order not in tuple("<>|=") or any(part is not None for part in parts):
            raise pickle.UnpicklingError("an array with fields")
        self.order = order

    def numpy(self) -> np.dtype:
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


class _Array(np.ndarray):
    """An empty array that takes shape, dtype and elements from its state, once: a second state would free memory that
    may be in use."""

    __slots__ = ("filled",)

    def __setstate__(self, state: tuple) -> None:  # type: ignore[override]
        if hasattr(self, "filled"):
            raise pickle.UnpicklingError("a second state for an array")
        self.filled = True
        _version, shape, dtype, fortran, data = state
        data, kind = _bytes(data), dtype.numpy() if isinstance(dtype, _Dtype) else None
        if kind is None or not all(isinstance(length, int) and length >= 0 for length in shape):
            raise pickle.UnpicklingError(f"an array of shape {brief(shape)} and of {brief(dtype)}")
        size = math.prod(shape) * (1 if kind.hasobject else kind.itemsize)
        if not isinstance(data, list if kind.hasobject else bytes) or len(data) != size:
            raise pickle.UnpicklingError(f"an array of shape {brief(shape)} with elements of another number")
        super().__setstate__((1, tuple(shape), kind, bool(fortran), data))  # type: ignore[arg-type]


def _from_bytes(data: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    """The array over bytes, which nothing can change or free; NumPy's ValueError where their sizes differ, or for
    objects. No other buffer: one of objects would show addresses."""
    data = _bytes(data)
    if not isinstance(dtype, _Dtype) or type(data) is not bytes:
        raise pickle.UnpicklingError(f"an array of {brief(dtype)} over {brief(data)}")
    return np.frombuffer(data, dtype.numpy()).reshape(shape, order=order)


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
        raise pickle.UnpicklingError(f"text in {brief(encoding)}")
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


def _set(items: Any = ()) -> set:
    return {plain_key(item) for item in items}


def plain_key(key: Any) -> Any:
    """The key itself. Tuples within tuples are refused: to hash a hundred of them, each twice in the next, takes
    for ever."""
    parts = key if type(key) is tuple else (key,)
    if len(parts) > 16 or not all(isinstance(part, (str, bytes, int, float, type(None))) for part in parts):
        raise pickle.UnpicklingError(f"a key {brief(key)}")
    return key


ALLOWED: Mapping[tuple[str, str], Any] = {
    **_numpy_names(),
    ("_codecs", "encode"): StandIn(_latin1),
    ("collections", "OrderedDict"): StandIn(dict),
    **{(module, "set"): StandIn(_set) for module in ("builtins", "__builtin__")},
    **{(module, "bytes"): StandIn(lambda: b"") for module in ("builtins", "__builtin__")},
}
"""(module, name) -> stand-in, for arrays of numbers and plain containers."""


_Interpreter: Any = pickle._Unpickler  # type: ignore[attr-defined]


class SafeUnpickler(_Interpreter):
    """Looks names up in `ALLOWED` and `more`, exactly; raises pickle.UnpicklingError with the name of anything else.

    `more` serves formats with classes of their own: it maps their names to `StandIn`s that keep what they are given.
    Every name of one of the packages `records` becomes a `Record`, data without behaviour, whatever it is called. A
    format that stores tensors outside of the pickle overrides `persistent_load`, which refuses here. `encoding`: of
    Python 2's strings. Nothing but a stand-in is called, nothing but an array, a dtype or a record is given a state.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_Interpreter.dispatch)

    def __init__(
        self,
        file: BinaryIO | io.BytesIO,
        *,
        more: Mapping[tuple[str, str], Any] | None = None,
        records: tuple[str, ...] = (),
        encoding: str = "latin1",
    ):
        data = file.read()
        super().__init__(io.BytesIO(data), encoding=encoding)  # a length beyond the end takes no memory there
        self._length, self._records, self._allowed = len(data), records, {**ALLOWED, **(more or {})}
        self.made = bytes_of(len(data))

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in."""
        if (module, name) in self._allowed:
            return self._allowed[module, name]
        kind = f"{module}.{name}"
        inside = any(f"{module}.".startswith(f"{package}.") for package in self._records)
        if inside and _NAME.fullmatch(kind):
            return StandIn(lambda *arguments: Record(kind, *arguments))
        raise pickle.UnpicklingError(f"a call of {printable(kind)}")

    def get_extension(self, code: int) -> None:
        """Refused: what a number means is up to the process that reads."""
        raise pickle.UnpicklingError(f"a registered extension {code}")

    def _call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, StandIn) or type(arguments) is not tuple:
            raise pickle.UnpicklingError(f"a call of {brief(function)} with {brief(arguments)}")
        made = function(*arguments)
        self.made.spend(_weight(made))
        self.stack.append(made)

    def _instantiate(self, function: Any, arguments: Any) -> None:
        self._call(function, tuple(arguments))

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        self._call(self.stack.pop(), arguments)

    def _new_with_names(self) -> None:
        if self.stack.pop() != {}:
            raise pickle.UnpicklingError("a call with named arguments")
        self._reduce()

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, (_Array, _Dtype, Record)):
            raise pickle.UnpicklingError(f"a state for {brief(target)}")
        target.__setstate__(state)
        self.made.spend(_weight(target))

    def _set_items(self, items: list, target: Any) -> None:
        if type(target) is not dict or len(items) % 2:
            raise pickle.UnpicklingError(f"items for {brief(target)}")
        target.update(zip(map(plain_key, items[::2]), items[1::2], strict=True))

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value], self.stack[-1])

    def _setitems(self) -> None:
        items = self.pop_mark()
        self._set_items(items, self.stack[-1])

    def _dict(self) -> None:
        items: list = self.pop_mark()
        held: dict = {}
        self._set_items(items, held)
        self.stack.append(held)

    def _extend(self, items: list, target: Any) -> None:
        if type(target) is not list:
            raise pickle.UnpicklingError(f"items for {brief(target)}")
        target.extend(items)

    def _append(self) -> None:
        value = self.stack.pop()
        self._extend([value], self.stack[-1])

    def _appends(self) -> None:
        items = self.pop_mark()
        self._extend(items, self.stack[-1])

    def _additems(self) -> None:
        items = self.pop_mark()
        if type(self.stack[-1]) is not set:
            raise pickle.UnpicklingError(f"items for {brief(self.stack[-1])}")
        self.stack[-1].update(map(plain_key, items))

    def _frozenset(self) -> None:
        self.stack.append(frozenset(map(plain_key, self.pop_mark())))

    def _bytearray(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        if length > self._length:
            raise pickle.UnpicklingError("bytes beyond the end of the file")
        self.stack.append(bytearray(self.read(length)))

    for _code, _handler in {
        pickle.REDUCE: _reduce,
        pickle.NEWOBJ: _reduce,
        pickle.NEWOBJ_EX: _new_with_names,
        pickle.BUILD: _build,
        pickle.SETITEM: _setitem,
        pickle.SETITEMS: _setitems,
        pickle.DICT: _dict,
        pickle.APPEND: _append,
        pickle.APPENDS: _appends,
        pickle.ADDITEMS: _additems,
        pickle.FROZENSET: _frozenset,
        pickle.BYTEARRAY8: _bytearray,
    }.items():
        dispatch[_code[0]] = _handler


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
    except REFUSALS as error:
        raise ValueError(
            f"{path}: expected {what} as a pickle of arrays and plain containers, found {error or type(error).__name__}"
        ) from error


def read_pickled_array(path: Path | str, what: str) -> Any:
    """What the one object of an .npy file of objects is, as NumPy saves a dictionary. Raises as `read_pickle`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected {what}, found no such file")
    try:
        with path.open("rb") as file:
            _skip_npy_header(file)
            array = SafeUnpickler(file).load()
        return array.item()
    except REFUSALS as error:
        raise ValueError(
            f"{path}: expected {what} as an .npy file of one dictionary, found {error or type(error).__name__}"
        ) from error


def _skip_npy_header(file: BinaryIO) -> None:
    """Raises ValueError for another kind of file."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    _, _, kind = read(file)
    if not kind.hasobject:
        raise ValueError(f"numbers of {kind}")


def read_pickled_arrays(path: Path | str, what: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The named arrays of a pickled dictionary. Raises as `read_pickle`, and ValueError where one is missing."""
    held = read_pickle(path, what)
    if not isinstance(held, dict) or not all(isinstance(held.get(name), np.ndarray) for name in names):
        found = ", ".join(map(str, held)) if isinstance(held, dict) else type(held).__name__
        raise ValueError(f"{path}: expected {what} with arrays {', '.join(names)}, found {found}")
    return {name: np.asarray(held[name]) for name in names}
