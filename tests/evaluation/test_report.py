"""The report: well-formed, self-contained, escaped, with every number of its tables."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from facelift.evaluation.report.figures import cumulative_curves, grouped_bars, reliability_plot
from facelift.evaluation.report.page import Picture, Report
from facelift.evaluation.tables.table import Measured, Row, Table


class Tags(HTMLParser):
    """Collects tags and outside references."""

    def __init__(self):
        super().__init__()
        self.tags, self.outside = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        links = [value for key, value in attrs if key in ("src", "href") and value]
        self.outside += [link for link in links if not link.startswith(("data:", "#"))]


def test_report_holds_everything_and_needs_nothing(tmp_path):
    rows = (Row("a < b", {"all": Measured(3.14159, 10, 3.0, 3.3)}), Row("theirs", {"all": 2.0}, source="a paper"))
    figures = [
        ("curves", cumulative_curves({"a": np.array([1.0, 2.0, np.inf])}, 10, "%")),
        ("bars", grouped_bars({"0-30": {"a": 1.0, "b": 2.0}, "30-60": {"a": 3.0}}, "NME, %")),
        ("reliability", reliability_plot(np.linspace(0, 1, 5), {"a": np.linspace(0, 1, 5) ** 2})),
    ]
    picture = Picture(np.full((8, 8, 3), (200, 10, 10), np.uint8), 'face "1" & co')
    report = Report("Title & more", [Table("NME", ("all",), rows, ("a note",))], figures, [("Worst faces", [picture])])
    path = report.write(tmp_path / "r.html")
    text = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.tags.count("svg") == 3 and tags.tags.count("img") == 1 and not tags.outside
    assert "3.14" in text and "[3.00, 3.30]" in text and "published: a paper" in text and "a &lt; b" in text
    assert "<td>10</td></tr>" in text and "<td>-</td></tr>" in text  # N, of the measured row alone
    assert "<li>a note</li>" in text and "face &quot;1&quot; &amp; co" in text
    data = re.search(r"data:image/jpeg;base64,([^\"]+)", text).group(1)
    pixel = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))[4, 4]
    np.testing.assert_allclose(pixel, (200, 10, 10), atol=6)


def test_a_curve_ends_below_all_where_faces_were_not_found():
    """The SVG's path of the curve reaches two thirds of the height, not all of it."""
    reached = [_highest(cumulative_curves({"a": np.array(e)}, 10, "%")) for e in ([1.0, 2.0, np.inf], [1.0, 2.0, 3.0])]
    assert reached[1] < reached[0]  # y grows downwards


@pytest.mark.parametrize("name", ["a$b$c", "$\\frac", "_hidden", "a_b & <c>"])
def test_names_are_drawn_as_they_are(name, recwarn):
    """Every name is drawn as glyphs: as many of them as a name of plain letters of that length."""
    plots = (
        lambda system: cumulative_curves({system: np.array([1.0, 2])}, 10, "%"),
        lambda system: grouped_bars({"x": {system: 1.0}}, "y"),
        lambda system: reliability_plot(np.linspace(0, 1, 5), {system: np.linspace(0, 1, 5)}),
    )
    for plot in plots:
        assert _glyphs(plot(name)) == _glyphs(plot("x" * len(name)))
        assert _glyphs(plot(name)) > _glyphs(plot("x"))
    assert not recwarn.list


def _glyphs(svg: str) -> int:
    return svg.count('<use xlink:href="#DejaVuSans-')


def _highest(svg: str) -> float:
    path = re.search(r'<path d="([^"]+)"[^>]*style="[^"]*stroke: #1b6ca8', svg).group(1)
    return min(float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", path))
