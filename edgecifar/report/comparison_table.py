"""Shows a comparison of bench results as a table on the terminal, as CSV and as Markdown."""

from typing import TYPE_CHECKING

from rich.console import Console

from edgecifar.bench.results.names import machine_text, model_names
from edgecifar.metrics.latency import milliseconds
from edgecifar.report.pairs_table import pairs_markdown, pairs_table, time_verdict
from edgecifar.report.tables import (
    csv_lines,
    fits,
    lines_of,
    markdown_table,
    merge,
    name_in_one_column,
    number,
    percent,
    points,
    print_line,
    print_table,
    ratio,
    ratio_interval,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgecifar.bench.results.comparison import ComparedRow, Comparison, Measured

LEFT = ("runtime", "scenario", "options", "host", "result", "time", "marks", "error")
# In a narrow terminal the second column goes below the first.
NARROW = (
    ("ratio", "95 % interval"),
    ("ratio", "time"),
    ("top-1 %", "top-1 points"),
    ("top-1 %", "95 % points"),
)
CAPTION = (
    "ratio: the median time by that of {first}; top-1 points: more or less than {first}; both with "
    "95 % intervals of runs that were measured apart, which are wide. One call of `edgecifar "
    "bench` with both files gives paired ratios and McNemar's test"
)


def comparison_table(comparison: "Comparison", console: Console) -> None:
    """Print each row in every result, the warnings, and the paired ratios.

    Args:
        comparison: see `edgecifar.bench.results.comparison`.
        console: where to.
    """
    columns = _columns(comparison.rows)
    if console.is_terminal:
        columns.pop("error", None)  # below, where there is room
    if console.is_terminal and not fits(console, list(columns), lines_of(columns), left=LEFT):
        _narrow(columns)
    print_table(console, list(columns), lines_of(columns), left=LEFT)
    if console.is_terminal:
        for row, measured in _entries(comparison.rows):
            if measured.error:
                print_line(console, f"{row.name} in {measured.result}: {measured.error}")
    for line in _caption(comparison):
        print_line(console, line)
    if comparison.pairs:
        print_line(console, "")
        pairs_table(comparison.pairs, console)


def markdown(comparison: "Comparison") -> str:
    """The tables and captions of `comparison_table` as GitHub Markdown."""
    columns = _columns(comparison.rows)
    lines = [*markdown_table(list(columns), lines_of(columns), left=LEFT), ""]
    for line in _caption(comparison):
        lines += [line, ""]
    if comparison.pairs:
        lines += pairs_markdown(comparison.pairs)
    return "\n".join(lines).rstrip() + "\n"


def csv_text(comparison: "Comparison") -> str:
    """A comparison as CSV (RFC 4180).

    Several results give a line for each row in each result; a single result gives its pairs. Names
    carry their units as in the JSON; what is None there is empty here.
    """
    if len(comparison.results) == 1:
        return csv_lines([_flat(pair, "ratio_interval") for pair in comparison.pairs])
    lines = []
    for row, measured in _entries(comparison.rows):
        identity = {name: getattr(row, name) for name in ("model", "runtime", "threads")}
        identity |= {name: getattr(row, name) for name in ("scenario", "options", "host")}
        figures = vars(measured) | {"marks": ", ".join(measured.marks)}
        lines.append(identity | _flat(figures, "ratio_interval", "top1_difference_interval"))
    return csv_lines(lines)


def _columns(rows: "Sequence[ComparedRow]") -> dict[str, list[str]]:
    """Headings and their cells; an empty optional column is left out."""
    entries = _entries(rows)
    identity = {
        "threads": [str(row.threads) for row, _ in entries],
        "scenario": [row.scenario for row, _ in entries],
        "options": [row.options for row, _ in entries],
        "host": [row.host or "" for row, _ in entries],
    }
    measured = [measured for _, measured in entries]
    offline = any(row.scenario == "offline" for row in rows)
    told = all(one.error or one.model_rss_mib is not None for one in measured)
    memory = "model_rss_mib" if told else "peak_rss_mib"
    optional = {
        "ratio": [ratio(one.ratio) for one in measured],
        "95 % interval": [ratio_interval(one.ratio_interval) for one in measured],
        "time": [time_verdict(one.ratio_interval) for one in measured],
        "top-1 %": [percent(one.top1) for one in measured],
        "top-1 points": [points(one.top1_difference) for one in measured],
        "95 % points": [_points_interval(one) for one in measured],
        "size MB": [number(one.size_bytes, 2, unit=1e6) for one in measured],
        memory.split("_")[0] + " MiB": [number(getattr(one, memory), 1) for one in measured],
        "marks": [", ".join(one.marks) for one in measured],
        "error": [one.error or "" for one in measured],
    }
    return {
        "model": model_names([vars(row) for row, _ in entries]),
        "runtime": [row.runtime for row, _ in entries],
        **{heading: cells for heading, cells in identity.items() if len(set(cells)) > 1},
        "result": [one.result for one in measured],
        "p50 ms": [milliseconds(one.p50_ms) for one in measured],
        "p90 ms": [milliseconds(one.p90_ms) for one in measured],
        **({"images/s": [number(one.images_per_s, 0) for one in measured]} if offline else {}),
        **{heading: cells for heading, cells in optional.items() if any(cells)},
    }


def _narrow(columns: dict[str, list[str]]) -> None:
    """Put each interval below its figure, and everything that identifies a row in one column."""
    name_in_one_column(columns)
    for figure, lower in NARROW:
        if figure in columns and lower in columns:
            merge(columns, figure, lower)


def _caption(comparison: "Comparison") -> list[str]:
    results = comparison.results
    lines = [f"warning: {warning}" for warning in comparison.warnings]
    for result in results:
        parts = [machine_text(result["machine"]), result["started"]]
        lines.append(f"{result['name']}: {' · '.join(part for part in parts if part)}")
    if len(results) > 1:
        lines.append(CAPTION.format(first=results[0]["name"]))
    return lines


def _entries(rows: "Sequence[ComparedRow]") -> "list[tuple[ComparedRow, Measured]]":
    return [(row, measured) for row in rows for measured in row.measured if measured]


def _points_interval(measured: "Measured") -> str:
    ends = measured.top1_difference_interval
    return f"{100 * ends[0]:+.2f} to {100 * ends[1]:+.2f}" if ends else ""


def _flat(entry: dict, *intervals: str) -> dict:
    """The entry with each interval as two fields, `_low` and `_high`."""
    flat = {}
    for name, value in entry.items():
        if name in intervals:
            flat[f"{name}_low"], flat[f"{name}_high"] = value or (None, None)
        else:
            flat[name] = value
    return flat
