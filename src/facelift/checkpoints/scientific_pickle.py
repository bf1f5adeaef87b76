"""Arrays of Chumpy and sparse matrices of SciPy in pickles, as FLAME's files hold them; neither package is needed.

Their classes are stood in for by ones that only keep the state that the file gives them (`safe_pickle`).
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import numpy as np

from facelift.checkpoints.safe_pickle import Budget, Record, StandIn, read_pickle

_CHUMPY, _COLUMNS = "chumpy.ch.Ch", "scipy.sparse.csc_matrix"
_LARGEST = 1 << 22
"""Numbers that the sparse matrices of a file are written out to; FLAME's has 25,115."""


def _record(kind: str) -> StandIn:
    """Of an object that takes no arguments, only a state."""
    return StandIn(lambda: Record(kind))


def _reconstructed(kind: Any, base: Any, state: Any) -> Any:
    """What Python 2's protocols 0 and 1 make of an object before its state."""
    if kind not in _KINDS or base is not _OBJECT or state is not None:
        raise pickle.UnpicklingError("an object of another kind")
    return kind()


_OBJECT = StandIn()
_KINDS = (_record(_CHUMPY), _record(_COLUMNS))
NAMES: Mapping[tuple[str, str], Any] = {
    ("chumpy.ch", "Ch"): _KINDS[0],
    ("scipy.sparse.csc", "csc_matrix"): _KINDS[1],
    ("scipy.sparse._csc", "csc_matrix"): _KINDS[1],
    **{(module, "object"): _OBJECT for module in ("builtins", "__builtin__")},
    **{(module, "_reconstructor"): StandIn(_reconstructed) for module in ("copyreg", "copy_reg")},
}
"""For `SafeUnpickler`; `plain_array` makes arrays of what comes out."""


def read_scientific_pickle(path: Path | str, what: str) -> dict[str, Any]:
    """A pickled dictionary, its Chumpy arrays and sparse matrices as dense arrays.

    Raises as `read_pickle`, and ValueError for no dictionary, or a matrix whose parts do not fit each other.
    """
    held = read_pickle(path, what, more=NAMES)
    if not isinstance(held, dict):
        raise ValueError(f"{path}: expected {what} as a pickled dictionary, found {type(held).__name__}")
    numbers = written_out()
    try:
        return {_text(name): plain_array(value, numbers) for name, value in held.items()}
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: expected {what}, found {error}") from error


def _text(name: Any) -> str:
    return name.decode("latin1") if isinstance(name, bytes) else str(name)


def written_out() -> Budget:
    """The numbers that sparse matrices of one file may have together."""
    return Budget(_LARGEST, f"sparse matrices of more than {_LARGEST:,} numbers")


def plain_array(value: Any, numbers: Budget) -> Any:
    """The numbers of a Chumpy array or sparse matrix; any other value as it is. Raises pickle.UnpicklingError for one
    whose parts do not fit each other, or for more than `numbers`."""
    if not isinstance(value, Record) or value.kind not in (_CHUMPY, _COLUMNS):
        return value
    state = value.state if isinstance(value.state, dict) else {}
    if value.kind == _COLUMNS:
        return _dense(state, numbers)
    if not isinstance(state.get("x"), np.ndarray):
        raise pickle.UnpicklingError("an array of Chumpy without its numbers")
    return np.asarray(state["x"])


def _dense(state: dict[str, Any], numbers: Budget) -> np.ndarray:
    """Columns one after the other: `indptr` says where each begins, `indices` the rows, `data` the values; entries that
    are named twice add up."""
    shape: Any = state.get("_shape", state.get("shape"))
    parts = [state.get(name) for name in ("data", "indices", "indptr")]
    pair = type(shape) is tuple and len(shape) == 2 and all(isinstance(side, int | np.integer) for side in shape)
    kinds = ["iuf", "iu", "iu"]
    if not pair or not all(_flat(part, kind) for part, kind in zip(parts, kinds, strict=True)) or min(shape) < 0:
        raise pickle.UnpicklingError(f"a sparse matrix of shape {brief(shape)} whose parts do not fit")
    rows, columns = map(int, shape)
    data, indices, starts = map(np.asarray, parts)
    numbers.spend(rows * columns)
    starts = starts.astype(np.int64)
    counts = np.diff(starts)
    fits = len(starts) == columns + 1 and starts[0] == 0 and (counts >= 0).all() and starts[-1] == len(data)
    if not fits or len(indices) != len(data):
        raise pickle.UnpicklingError(f"a sparse matrix of shape {shape} whose parts do not fit")
    if len(data) and not 0 <= indices.min() <= indices.max() < rows:
        raise pickle.UnpicklingError(f"a sparse matrix of shape {shape} with entries outside of it")
    dense = np.zeros((rows, columns), data.dtype)
    np.add.at(dense, (indices.astype(np.int64), np.repeat(np.arange(columns), counts)), data)
    return dense


def _flat(part: Any, kinds: str) -> bool:
    return isinstance(part, np.ndarray) and part.ndim == 1 and part.dtype.kind in kinds
