"""Arrays of Chumpy and sparse matrices of SciPy in pickles, as FLAME's files hold them; neither package is needed.

Their classes are stood in for by ones that only keep the state that the file gives them (`safe_pickle`).
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facelift.checkpoints.safe_pickle import Record, StandIn, read_pickle

_CHUMPY, _COLUMNS = "chumpy.ch.Ch", "scipy.sparse.csc_matrix"


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


def read_scientific_pickle(path: Path | str, what: str) -> dict[str, Any]:
    """A pickled dictionary, its Chumpy arrays and sparse matrices as dense arrays.

    Raises as `read_pickle`, and ValueError for no dictionary, or a matrix whose parts do not fit each other.
    """
    held = read_pickle(path, what, more=NAMES)
    if not isinstance(held, dict):
        raise ValueError(f"{path}: expected {what} as a pickled dictionary, found {type(held).__name__}")
    try:
        return {_text(name): _array(value) for name, value in held.items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, MemoryError) as error:
        raise ValueError(f"{path}: expected {what}, found an array in it that does not fit: {error!r}") from error


def _text(name: Any) -> str:
    return name.decode("latin1") if isinstance(name, bytes) else str(name)


def _array(value: Any) -> Any:
    if not isinstance(value, Record):
        return value
    return np.asarray(value.state["x"]) if value.kind == _CHUMPY else _dense(value.state)


def _dense(state: dict[str, Any]) -> np.ndarray:
    """The matrix of its columns' parts; entries that are named twice add up."""
    shape = state["_shape"] if "_shape" in state else state["shape"]
    rows, columns = (int(length) for length in shape)
    data, indices, starts = (np.asarray(state[name]) for name in ("data", "indices", "indptr"))
    starts = starts.astype(np.int64)
    counts = starts[1:] - starts[:-1]
    fits = len(starts) == columns + 1 and starts[0] == 0 and (counts >= 0).all() and counts.sum() == len(data)
    if not fits or len(indices) != len(data) or (len(data) and not 0 <= indices.min() <= indices.max() < rows):
        raise ValueError(f"a sparse matrix of {rows} x {columns} whose parts do not fit")
    dense = np.zeros((rows, columns), data.dtype)
    np.add.at(dense, (indices, np.repeat(np.arange(columns), counts)), data)
    return dense
