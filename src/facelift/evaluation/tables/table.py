"""Result tables: systems down, measures across, as text, CSV, JSON and Markdown."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from facelift.evaluation.metrics.bootstrap import Interval


@dataclass(frozen=True)
class Measured:
    """A number with what it stands on."""

    value: float
    count: int
    """Faces that it is over."""
    low: float | None = None
    """Lower end of the bootstrap's 95 % interval; NaN where it is not known."""
    high: float | None = None


def measured(interval: Interval) -> Measured:
    """A cell of a bootstrap's result."""
    return Measured(interval.value, interval.count, interval.low, interval.high)


@dataclass(frozen=True)
class Row:
    """One system."""

    system: str
    cells: Mapping[str, Measured | float | int]
    """By column; a bare number is published, or (int) a count."""
    source: str = "measured"
    """"measured", or where a published row comes from."""

    @property
    def over(self) -> str:
        """N: what the cells are over, one number or the smallest and the largest; CSV and JSON hold each cell's."""
        counts = [cell.count for cell in self.cells.values() if isinstance(cell, Measured)]
        if not counts:
            return "-"
        return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"


@dataclass(frozen=True)
class Table:
    """One benchmark, one question."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    """Every choice of the protocol, a sentence each."""
    digits: int = 2

    def text(self) -> str:
        """Aligned columns for a terminal. N is what the row's numbers are over."""
        lines = [("system", *self.columns, "N", ""), *(self._line(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        body = [
            "  ".join([line[0].ljust(widths[0]), *(v.rjust(w) for v, w in zip(line[1:-1], widths[1:-1], strict=True))])
            + (f"  {line[-1]}" if line[-1] else "")
            for line in lines
        ]
        return "\n".join([self.title, *body, *(f"- {note}" for note in self.notes)])

    def markdown(self) -> str:
        """GitHub's table; a bar in a name is escaped."""
        lines = [("system", *self.columns, "N", "source"), ("---",) * (len(self.columns) + 3)]
        lines += [(*self._line(row)[:-1], row.source) for row in self.rows]
        body = ["| " + " | ".join(part.replace("|", "\\|") for part in line) + " |" for line in lines]
        return "\n".join([f"### {self.title}", "", *body, "", *(f"- {note}" for note in self.notes)])

    def csv(self) -> str:
        """One line a cell: table, system, source, column, value, count, low, high."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["table", "system", "source", "column", "value", "count", "low", "high"])
        for row in self.rows:
            for column in self.columns:
                if column in row.cells:
                    writer.writerow([self.title, row.system, row.source, column, *_parts(row.cells[column])])
        return stream.getvalue()

    def json(self) -> str:
        """The same, with the notes; a value that is not finite is null."""
        return json.dumps(self.document(), indent=2, ensure_ascii=False, allow_nan=False)

    def document(self) -> dict[str, Any]:
        """What `json` writes."""
        names = ("value", "count", "low", "high")
        rows = [
            {
                "system": row.system,
                "source": row.source,
                "cells": {
                    column: dict(zip(names, (_finite(v) for v in _parts(cell)), strict=True))
                    for column, cell in row.cells.items()
                },
            }
            for row in self.rows
        ]
        return {"title": self.title, "columns": list(self.columns), "rows": rows, "notes": list(self.notes)}

    def _line(self, row: Row) -> tuple[str, ...]:
        mark = "" if row.source == "measured" else f"published: {row.source}"
        return row.system, *(self._cell(row.cells.get(column)) for column in self.columns), row.over, mark

    def cell_text(self, cell: Measured | float | int | None) -> tuple[str, str]:
        """A cell's value and its interval, each "-" where it is not known; the interval "" where a cell has none."""
        if cell is None or isinstance(cell, int):
            return "-" if cell is None else str(cell), ""
        if not isinstance(cell, Measured):
            return self._number(cell), ""
        if cell.low is None or cell.high is None or np.isnan(cell.value):
            return self._number(cell.value), ""
        known = np.isfinite([cell.low, cell.high]).all()
        return self._number(cell.value), f"{self._number(cell.low)}, {self._number(cell.high)}" if known else "-"

    def _cell(self, cell: Measured | float | int | None) -> str:
        value, interval = self.cell_text(cell)
        return f"{value} [{interval}]" if interval else value

    def _number(self, value: float) -> str:
        return "-" if np.isnan(value) else f"{value:.{self.digits}f}"


def _parts(cell: Measured | float) -> tuple[float, int | None, float | None, float | None]:
    if isinstance(cell, Measured):
        return cell.value, cell.count, cell.low, cell.high
    return cell, None, None, None


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) < float("inf") else None
