"""Arrays as pickles of body and face models hold them (FLAME, SMPL): chumpy's, which no longer builds, and SciPy's
sparse matrices, whose module has another name by now."""

import pickle
from functools import partial
from reprlib import repr as brief
from typing import Any

import numpy as np

from facelift.checkpoints.safe_pickle import Record, StandIn

_CHUMPY = [("chumpy.ch", "Ch")]
_SPARSE = [(module, "csc_matrix") for module in ("scipy.sparse.csc", "scipy.sparse._csc")]
_LARGEST = 1 << 27
"""Numbers of a sparse matrix that is written out."""

OLD_ARRAYS = {
    **{name: StandIn(partial(Record, ".".join(name))) for name in (*_CHUMPY, *_SPARSE)},
    **{(module, "object"): StandIn() for module in ("builtins", "__builtin__")},
    **{(module, "_reconstructor"): StandIn(lambda kind, _of, _state: kind()) for module in ("copyreg", "copy_reg")},
}
"""For `SafeUnpickler`; `plain_array` makes arrays of what comes out."""


def plain_array(value: Any) -> Any:
    """The numbers of a chumpy array or sparse matrix; any other value as it is. Raises pickle.UnpicklingError for a
    matrix that does not add up."""
    if not isinstance(value, Record) or not isinstance(value.state, dict):
        return value
    if value.kind == "chumpy.ch.Ch" and isinstance(value.state.get("x"), np.ndarray):
        return np.asarray(value.state["x"])
    return _dense(value.state) if value.kind.endswith(".csc_matrix") else value


def _dense(state: dict) -> np.ndarray:
    """Columns one after the other: `indptr` says where each begins, `indices` the rows, `data` the values."""
    shape: Any = state.get("_shape", state.get("shape"))
    data, rows, starts = (np.asarray(state.get(name)) for name in ("data", "indices", "indptr"))
    fits = (
        isinstance(shape, tuple)
        and len(shape) == 2
        and all(isinstance(side, int) and side >= 0 for side in shape)
        and shape[0] * shape[1] <= _LARGEST
        and all(part.ndim == 1 and part.dtype.kind in "iuf" for part in (data, rows, starts))
    )
    if not fits or len(starts) != shape[1] + 1 or len(rows) != len(data):
        raise pickle.UnpicklingError(f"a sparse matrix of shape {brief(shape)} that does not add up")
    counts = np.diff(starts)
    if len(data) != starts[-1] or (counts < 0).any() or (len(rows) and not 0 <= rows.min() <= rows.max() < shape[0]):
        raise pickle.UnpicklingError(f"a sparse matrix of shape {shape} with entries outside of it")
    dense = np.zeros(shape, data.dtype)
    np.add.at(dense, (rows.astype(int), np.repeat(np.arange(shape[1]), counts)), data)
    return dense
