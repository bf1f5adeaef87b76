"""The table of paired differences between two systems."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float

from facelift.evaluation.tables import cells
from facelift.evaluation.tables.table import Row, Table

NOTE = "Below 0: the first is better. Over the faces that both found; an interval without 0 is a difference."
BOTH_FOUND = "on the faces that both found"
"""What the rows of the two systems' own means are called."""


@runtime_checkable
class _Named(Protocol):
    @property
    def system(self) -> str: ...


E = TypeVar("E", bound=_Named)


def chosen(entries: Sequence[E], names: tuple[str, str]) -> tuple[E, E]:
    """The two entries of these names. Raises ValueError for a name that no entry has."""
    by_name = {entry.system: entry for entry in entries}
    for name in names:
        if name not in by_name:
            raise ValueError(f"compare: expected one of {', '.join(by_name)}, found {name!r}")
    return by_name[names[0]], by_name[names[1]]


def comparison_table(
    names: tuple[str, str],
    errors: Mapping[str, tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]],
    identity: np.ndarray,
    *,
    digits: int = 2,
) -> Table:
    """Column -> errors of both systems; a row of first - second, and one of each system's means.

    All three rows are over the faces in which both errors of the column are finite.
    """
    pair = " - ".join(names)
    rows = [Row(pair, {column: cells.difference(a, b, identity) for column, (a, b) in errors.items()})]
    for which, name in enumerate(names):
        means = {column: cells.mean(_of_both(*both)[which], identity) for column, both in errors.items()}
        rows.append(Row(f"{name}, {BOTH_FOUND}", means))
    return Table(f"{pair}, paired", tuple(errors), tuple(rows), (NOTE,), digits=digits)


def _of_both(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    both = np.isfinite(a) & np.isfinite(b)
    return np.where(both, a, np.nan), np.where(both, b, np.nan)
