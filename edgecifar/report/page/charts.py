"""Draws the charts of the page with matplotlib, as SVG images that follow the reader's colors.

Matplotlib draws the pictures of a run already, its images need no script in the page, and they
print as they are shown.
"""

import contextlib
import io
import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgecifar.errors import escaped
from edgecifar.report.page.parts import Chart, data_uri

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES = 4.6
ROW_INCHES = 0.32
MOST_LINES = 10
STYLES = ("solid", "dashed", "dashdot", "dotted")
QUANTILES = ("min", "p50", "p90", "p99", "p999")
NAME_LENGTH = 28  # characters

# Matplotlib's colors, and what stands for them in a page that may be light or dark.
INK, PAPER = "#000000", "#ffffff"
THEMED = {
    INK: "currentColor",
    PAPER: "var(--paper)",
    "#404040": "currentColor",
    "#8c8c8c": "var(--gray)",
    "#b0b0b0": "var(--faint)",
    "#cccccc": "var(--faint)",
    "#e5e5e5": "var(--faint)",
}
# The image has its own style sheet: that of the page does not reach into it. What has no color of
# its own, as letters have none, is filled with the text color.
STYLE_SHEET = Path(__file__).parent / "chart.css"


def chart(figure: "Figure", alt: str, caption: str = "") -> Chart:
    """A figure as an image that is dark where the reader's screen is."""
    from matplotlib import rc_context

    for axes in figure.axes:
        axes.patch.set_alpha(0)
    file = io.StringIO()
    with rc_context({"svg.hashsalt": "page", "svg.fonttype": "path"}), any_letters():
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    for drawn, themed in THEMED.items():
        svg = svg.replace(drawn, themed)
    opening = svg.index(">") + 1
    style = f"<style>{STYLE_SHEET.read_text('utf-8')}</style>"
    svg = svg[:opening] + style + svg[opening:]
    return Chart(data_uri("image/svg+xml", svg.encode("utf-8")), alt, caption)


@contextlib.contextmanager
def any_letters() -> Iterator[None]:
    """Draw names in letters that the font lacks as boxes, without a warning for each.

    The table beside the chart has them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


def latency_quantiles(names: Sequence[str], latencies: Sequence[dict]) -> "Figure":
    """Draw the spread of each row's latencies: from the fastest call to the slowest in a thousand.

    Args:
        names: of the rows.
        latencies: of each row, milliseconds by the names of `QUANTILES`; None where there is none.
    """
    figure, axes = _figure(1.1 + ROW_INCHES * len(names))
    axes.set_xscale("log")
    for y, of_row in enumerate(latencies):
        known = {name: of_row[name] for name in QUANTILES if of_row.get(name)}
        if not known:
            continue
        axes.plot([min(known.values()), max(known.values())], [y, y], color="tab:blue", lw=1.5)
        if "p50" in known and "p90" in known:
            axes.plot([known["p50"], known["p90"]], [y, y], color="tab:blue", lw=6, alpha=0.5)
        for name, marker in (("p50", "o"), ("p99", "|"), ("p999", "|")):
            if name in known:
                axes.plot(known[name], y, marker, color=INK, markersize=6)
    axes.set_yticks(range(len(names)), [_short(name) for name in names], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("latency of a call, ms (logarithmic)")
    _plain_numbers(axes)
    return figure


def latency_drift(names: Sequence[str], blocks: Sequence[Sequence[float | None]]) -> "Figure":
    """Draw the median latency of each row's rounds, in their order.

    Args:
        names: of the rows; the first `MOST_LINES` are drawn.
        blocks: median latency of each round, milliseconds; None where a row took no part.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(3.6)
    styles = itertools.cycle(STYLES)
    for name, of_row in zip(names[:MOST_LINES], blocks, strict=False):
        rounds = [i + 1 for i, value in enumerate(of_row) if value is not None]
        values = [value for value in of_row if value is not None]
        label = _short(name)
        axes.plot(rounds, values, linestyle=next(styles), lw=1.3, label=label)
    axes.set_xlabel("round")
    axes.set_ylabel("median latency, ms")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _explain(figure, columns=2)
    return figure


def class_changes(changes: Mapping[str, Sequence[tuple[str, float, float]]]) -> "Figure":
    """Draw the accuracy of each class before and after a change.

    Args:
        changes: for each file, of each class its name, and its top-1 in the checkpoint and in the
            file, 0 to 1. The classes are the same in all files.
    """
    classes = [label for label, _, _ in next(iter(changes.values()))]
    figure, axes = _figure(1.3 + ROW_INCHES * len(classes))
    markers = itertools.cycle("osD^v")
    step = 0.5 / max(len(changes), 1)
    for number, (file, rows) in enumerate(changes.items()):
        places = [y + (number - (len(changes) - 1) / 2) * step for y in range(len(rows))]
        before = [100 * share for _, share, _ in rows]
        after = [100 * share for _, _, share in rows]
        axes.hlines(places, before, after, color="tab:gray", lw=1.2)
        label = None if number else "checkpoint"  # once in the legend
        axes.plot(before, places, "|", color=INK, markersize=10, label=label)
        axes.plot(after, places, next(markers), linestyle="", markersize=5, label=_short(file))
    axes.set_yticks(range(len(classes)), [_short(label) for label in classes], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("top-1 of the class, %")
    _explain(figure, columns=3)
    return figure


def _figure(height: float) -> "tuple[Figure, Axes]":
    """A figure with axes and a grid, `height` inches high."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.grid(alpha=0.4)
    axes.set_axisbelow(True)
    return figure, axes


def _explain(figure: "Figure", columns: int) -> None:
    """Put a legend above the drawing; a name with dollar signs is no formula."""
    legend = figure.legend(loc="outside upper center", ncols=columns, frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _plain_numbers(axes: "Axes") -> None:
    """Write 0.5, 1, 2, 5, 10 on a logarithmic axis of x, however short it is."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _short(name: str) -> str:
    """A name that leaves room for the drawing: its end says more than its beginning."""
    name = escaped(name)
    return name if len(name) <= NAME_LENGTH else "…" + name[1 - NAME_LENGTH :].lstrip(".")
