"""Tables: the same numbers in every form, published ones marked."""

import csv
import io
import json

from facelift.evaluation.report.page import Report
from facelift.evaluation.tables.table import Measured, Row, Table

TABLE = Table(
    "NME, percent",
    ("all", "profile"),
    (
        Row("ours", {"all": Measured(3.456, 100, 3.1, 3.9), "profile": Measured(float("nan"), 0)}),
        Row("theirs", {"all": 2.5}, source="their paper"),
    ),
    ("divided by sqrt(w h)",),
)


def test_text_is_aligned_and_marks_what_is_published():
    title, head, ours, theirs, note = TABLE.text().splitlines()
    assert title == "NME, percent" and note == "- divided by sqrt(w h)"
    assert head.index("all") + 3 == ours.index("]") + 1 == theirs.index("2.50") + 4
    assert head.index("N") + 1 == ours.index("0-100") + 5
    assert "3.46 [3.10, 3.90]" in ours and "published" not in ours
    assert theirs.endswith("published: their paper") and " -  " in theirs


def test_markdown_has_a_cell_for_every_column():
    rows = [line for line in TABLE.markdown().splitlines() if line.startswith("|")]
    assert [row.count("|") for row in rows] == [6] * 4
    assert rows[3] == "| theirs | 2.50 | - | - | their paper |"


def test_csv_and_json_hold_counts_and_intervals():
    lines = list(csv.DictReader(io.StringIO(TABLE.csv())))
    assert lines[0] == {
        **{"table": "NME, percent", "system": "ours", "source": "measured", "column": "all"},
        **{"value": "3.456", "count": "100", "low": "3.1", "high": "3.9"},
    }
    assert len(lines) == 3 and lines[2]["count"] == "" and lines[2]["source"] == "their paper"
    document = json.loads(TABLE.json())
    assert document["rows"][0]["cells"]["profile"] == {"value": None, "count": 0, "low": None, "high": None}
    assert document["notes"] == ["divided by sqrt(w h)"]


def test_what_is_not_known_is_a_dash():
    nan = float("nan")
    row = Row("s", {"one person": Measured(1.234, 5, nan, nan), "nobody": Measured(nan, 0, nan, nan)})
    table = Table("t", ("one person", "nobody"), (row,))
    assert table.markdown().splitlines()[4] == "| s | 1.23 [-] | - | 0-5 | measured |"
    assert table.text().splitlines()[2].split() == ["s", "1.23", "[-]", "-", "0-5"]
    assert '<span title="over 5">1.23</span> <small>[-]</small>' in Report("t", [table], [], []).html()
    cell = table.document()["rows"][0]["cells"]["one person"]
    assert cell == {"value": 1.234, "count": 5, "low": None, "high": None}


def test_a_bar_in_a_name_does_not_end_a_cell_of_markdown():
    table = Table("t", ("||I - R||",), (Row("a|b", {"||I - R||": 1.0}, source="x"),))
    _, _, head, _, row = table.markdown().splitlines()[:5]
    assert head == r"| system | \|\|I - R\|\| | N | source |" and row == r"| a\|b | 1.00 | - | x |"
