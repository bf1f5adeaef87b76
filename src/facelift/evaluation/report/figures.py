"""Plots of a report as SVG text. Matplotlib is imported when one is drawn."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from facelift.evaluation.metrics.nme import cumulative_curve

_COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#edae49", "#6a4c93", "#555555")


def cumulative_curves(errors: Mapping[str, Float[np.ndarray, "n"]], threshold: float, unit: str) -> str:
    """Share of faces below each error, one line a system that has any; faces not found are infinite."""
    figure, axes = _figure()
    lines = {}
    for (system, values), colour in zip(errors.items(), _colours(len(errors)), strict=True):
        if not len(values):
            continue
        at = np.unique(np.concatenate([[0.0, threshold], values[np.isfinite(values)]]))
        (lines[system],) = axes.step(at, 100 * cumulative_curve(values, at), where="post", color=colour)
    axes.set(xlim=(0, threshold), ylim=(0, 100), xlabel=f"error, {unit}", ylabel="faces, %")
    _legend(axes, lines, loc="lower right")
    return _svg(figure)


def grouped_bars(groups: Mapping[str, Mapping[str, float]], ylabel: str) -> str:
    """Bars of each group (yaw bin, region), one colour a system: group -> system -> value."""
    figure, axes = _figure()
    systems = list(dict.fromkeys(system for values in groups.values() for system in values))
    width, bars = 0.8 / max(1, len(systems)), {}
    for index, (system, colour) in enumerate(zip(systems, _colours(len(systems)), strict=True)):
        heights = [values.get(system, np.nan) for values in groups.values()]
        middle = np.arange(len(groups)) + (index + 0.5) * width - 0.4
        bars[system] = axes.bar(middle, heights, width, color=colour)
    axes.set_xticks(np.arange(len(groups)), list(groups))
    axes.set_ylabel(ylabel)
    _legend(axes, bars, loc="best")
    return _svg(figure)


def reliability_plot(expected: Float[np.ndarray, "q"], observed: Mapping[str, Float[np.ndarray, "q"]]) -> str:
    """Share of points inside the ellipse that should hold `expected` of them (fractions), one line a system."""
    figure, axes = _figure()
    axes.plot([0, 100], [0, 100], color="#bbbbbb", linewidth=1)
    lines = {}
    for (system, values), colour in zip(observed.items(), _colours(len(observed)), strict=True):
        (lines[system],) = axes.plot(100 * expected, 100 * values, color=colour)
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="expected, %", ylabel="inside, %")
    _legend(axes, lines, loc="upper left")
    return _svg(figure)


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    return figure, axes


def _legend(axes: Any, artists: Mapping[str, Any], *, loc: str) -> None:
    """The names as they are: Matplotlib would set what stands between dollars and leave out a leading underscore."""
    legend = axes.legend(list(artists.values()), [str(i) for i in range(len(artists))], loc=loc, frameon=False)
    for text, name in zip(legend.get_texts(), artists, strict=True):
        text.set_parse_math(False)
        text.set_text(name)


def _colours(count: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(count)]


def _svg(figure: Any) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
