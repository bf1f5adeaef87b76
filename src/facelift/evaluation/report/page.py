"""The report: one HTML file that holds everything, for a browser without a network."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from facelift.atomic import written_whole
from facelift.evaluation.tables.table import Measured, Row, Table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 96rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid #e5e5e5; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td small { color: #777; }
tr.published td { color: #777; font-style: italic; } tr.published td:first-child small { display: block; }
ul { color: #555; } .figures, .faces { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; } .figures figure { flex: 1 1 26rem; max-width: 31rem; } .figures svg { width: 100%; height: auto; }
.faces figure { width: 10.5rem; } .faces img { width: 100%; display: block; }
figcaption { color: #555; font-size: .85rem; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Picture:
    """A drawn face with what is said about it."""

    pixels: UInt8[np.ndarray, "h w 3"]
    caption: str


@dataclass(frozen=True)
class Report:
    """What a report shows, in this order."""

    title: str
    tables: Sequence[Table]
    figures: Sequence[tuple[str, str]]
    """(caption, SVG)."""
    galleries: Sequence[tuple[str, Sequence[Picture]]]
    """(heading, drawn faces)."""

    def write(self, path: Path) -> Path:
        """Writes the file whole or not at all."""
        with written_whole(path) as partial:
            partial.write_text(self.html(), encoding="utf-8")
        return path

    def html(self) -> str:
        """The document."""
        figures = "".join(f"<figure>{svg}{_caption(text)}</figure>" for text, svg in self.figures)
        parts = [
            "<!doctype html>",
            f'<html lang="en"><meta charset="utf-8"><title>{html.escape(self.title)}</title><style>{_STYLE}</style>',
            f"<h1>{html.escape(self.title)}</h1>",
            *(_table(table) for table in self.tables),
            f'<h2>Figures</h2><div class="figures">{figures}</div>' if figures else "",
            *(_gallery(heading, pictures) for heading, pictures in self.galleries),
            "</html>",
        ]
        return "\n".join(part for part in parts if part)


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("system", *table.columns, "N"))
    rows = "".join(_row(table, row) for row in table.rows)
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
    return f"<h2>{html.escape(table.title)}</h2><table><tr>{head}</tr>{rows}</table><ul>{notes}</ul>"


def _row(table: Table, row: Row) -> str:
    published = row.source != "measured"
    name = html.escape(row.system) + (f" <small>published: {html.escape(row.source)}</small>" if published else "")
    cells = "".join(f"<td>{_cell(table, row, column)}</td>" for column in table.columns)
    return f"<tr{' class=published' if published else ''}><td>{name}</td>{cells}<td>{row.over}</td></tr>"


def _cell(table: Table, row: Row, column: str) -> str:
    cell = row.cells.get(column)
    value, interval = table.cell_text(cell)
    if isinstance(cell, Measured):
        value = f'<span title="over {cell.count}">{value}</span>'
    return f"{value} <small>[{interval}]</small>" if interval else value


def _gallery(heading: str, pictures: Sequence[Picture]) -> str:
    faces = "".join(_face(picture) for picture in pictures)
    return f'<h2>{html.escape(heading)}</h2><p>Truth green, prediction red.</p><div class="faces">{faces}</div>'


def _face(picture: Picture) -> str:
    stream = io.BytesIO()
    Image.fromarray(picture.pixels).save(stream, "JPEG", quality=85)
    data = base64.b64encode(stream.getvalue()).decode()
    image = f'<img alt="{html.escape(picture.caption)}" src="data:image/jpeg;base64,{data}">'
    return f"<figure>{image}{_caption(picture.caption)}</figure>"


def _caption(text: str) -> str:
    return f"<figcaption>{html.escape(text)}</figcaption>"
