"""The table of paired differences between two systems."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from facelift.evaluation.tables.table import Measured, Row, Table

NOTE = "Below 0: the first is better. Over the faces that both found; an interval without 0 is a difference."


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


def comparison_table(names: tuple[str, str], cells: Mapping[str, Measured], digits: int = 2) -> Table:
    """One row, first - second."""
    pair = " - ".join(names)
    return Table(f"{pair}, paired", tuple(cells), (Row(pair, cells),), (NOTE,), digits=digits)
