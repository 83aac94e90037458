"""Shows a comparison of bench results as a table on the terminal, as CSV and as Markdown."""

from dataclasses import dataclass

from rich.console import Console

from edgecifar.bench.results.comparison import ComparedRow, Comparison, Measured
from edgecifar.bench.results.names import machine_text, model_names
from edgecifar.errors import escaped
from edgecifar.metrics.latency import milliseconds
from edgecifar.report.cells import (
    listed,
    number,
    percent,
    points,
    points_interval,
    ratio,
    ratio_interval,
)
from edgecifar.report.pairs_table import pairs_markdown, pairs_table, time_verdict
from edgecifar.report.tables import (
    Column,
    Table,
    csv_of_records,
    markdown_lines,
    print_line,
    print_table,
    where_different,
    where_present,
)

CAPTION = (
    "ratio: the median time divided by that of {first}; top-1 points: the difference from {first}; "
    "their 95 % intervals are wide, because the runs were measured apart. One call of `edgecifar "
    "bench` with both files gives paired ratios and McNemar's test"
)


@dataclass(frozen=True)
class ComparisonEntry:
    """A row in one result.

    Attributes:
        row: in all results.
        measured: in this one.
        model: the file's name, or its path where several files have that name.
    """

    row: ComparedRow
    measured: Measured
    model: str

    @property
    def name(self) -> str:
        """Of the row, and the result that it is in."""
        return f"{self.row.name} in {self.measured.result}"


IDENTITY: tuple[Column[ComparisonEntry], ...] = (
    Column("model", lambda entry: entry.model),
    Column("runtime", lambda entry: entry.row.runtime, left=True, below="model"),
    Column("threads", lambda entry: entry.row.threads, shown=where_different, below="model"),
    Column(
        "scenario",
        lambda entry: entry.row.scenario,
        left=True,
        shown=where_different,
        below="model",
    ),
    Column(
        "options",
        lambda entry: entry.row.options,
        left=True,
        shown=where_different,
        fold=1,
        below="model",
    ),
    Column("host", lambda entry: entry.row.host, left=True, shown=where_different, below="model"),
    Column("result", lambda entry: entry.measured.result, left=True, below="model"),
    Column("p50", lambda entry: entry.measured.p50_ms, milliseconds, "ms"),
    Column("p90", lambda entry: entry.measured.p90_ms, milliseconds, "ms", priority=2),
)
THROUGHPUT: Column[ComparisonEntry] = Column(
    "images/s", lambda entry: entry.measured.row.images_per_s, number(0), priority=3
)
DIFFERENCES: tuple[Column[ComparisonEntry], ...] = (
    Column("ratio", lambda entry: entry.measured.ratio, ratio, shown=where_present),
    Column(
        "95 % interval",
        lambda entry: entry.measured.ratio_interval,
        ratio_interval,
        shown=where_present,
        below="ratio",
    ),
    Column(
        "time",
        lambda entry: time_verdict(entry.measured.ratio_interval, entry.measured.both_marks),
        left=True,
        shown=where_present,
        below="ratio",
    ),
    Column("top-1", lambda entry: entry.measured.row.top1, percent, "%", shown=where_present),
    Column(
        "top-1 points",
        lambda entry: entry.measured.top1_difference,
        points,
        priority=1,
        shown=where_present,
        below="top-1 %",
    ),
    Column(
        "95 % points",
        lambda entry: entry.measured.top1_difference_interval,
        points_interval,
        priority=4,
        shown=where_present,
        below="top-1 %",
    ),
    Column(
        "size",
        lambda entry: entry.measured.row.size_bytes,
        number(2, 1e6),
        "MB",
        priority=5,
        shown=where_present,
    ),
)
MODEL_MEMORY: Column[ComparisonEntry] = Column(
    "model",
    lambda entry: entry.measured.row.model_rss_mib,
    number(1),
    "MiB",
    priority=6,
    shown=where_present,
)
PEAK_MEMORY: Column[ComparisonEntry] = Column(
    "peak",
    lambda entry: entry.measured.row.peak_rss_mib,
    number(1),
    "MiB",
    priority=6,
    shown=where_present,
)
DOUBTS: tuple[Column[ComparisonEntry], ...] = (
    Column(
        "marks",
        lambda entry: entry.measured.row.marks,
        listed,
        left=True,
        shown=where_present,
        fold=1,
    ),
    Column(
        "error",
        lambda entry: entry.measured.row.error,
        left=True,
        shown=where_present,
        aside=True,
    ),
)


def comparison_table(comparison: Comparison, console: Console, wide: bool | None = None) -> None:
    """Print each row in every result, the warnings, and the paired ratios.

    Args:
        comparison: see `edgecifar.bench.results.comparison`.
        console: where to print.
        wide: see `print_table`.
    """
    print_table(console, _table(comparison), wide)
    for line in _caption(comparison):
        print_line(console, line)
    if comparison.pairs:
        print_line(console, "")
        pairs_table(comparison.pairs, console, wide)


def markdown(comparison: Comparison) -> str:
    """The tables and captions of `comparison_table` as GitHub Markdown."""
    lines = [*markdown_lines(_table(comparison)), ""]
    for line in _caption(comparison):
        lines += [escaped(line), ""]
    if comparison.pairs:
        lines += pairs_markdown(comparison.pairs)
    return "\n".join(lines).rstrip() + "\n"


def csv_text(comparison: Comparison) -> str:
    """A comparison as CSV (RFC 4180).

    Several results give a line for each row in each result; a single result gives its pairs. Names
    carry their units as in the JSON; what is None there is empty here.
    """
    if len(comparison.results) == 1:
        pairs = [pair | {"marks": listed(pair["marks"])} for pair in comparison.pairs]
        return csv_of_records([_flat(pair, "ratio_interval") for pair in pairs])
    lines = []
    for entry in _entries(comparison):
        identity = {name: getattr(entry.row, name) for name in ("model", "runtime", "threads")}
        identity |= {name: getattr(entry.row, name) for name in ("scenario", "options", "host")}
        figures = entry.measured.as_dict() | {"marks": listed(entry.measured.row.marks)}
        lines.append(identity | _flat(figures, "ratio_interval", "top1_difference_interval"))
    return csv_of_records(lines)


def _table(comparison: Comparison) -> Table[ComparisonEntry]:
    entries = _entries(comparison)
    offline = any(entry.row.scenario == "offline" for entry in entries)
    measured = [entry.measured.row for entry in entries]
    known = all(row.error or row.model_rss_mib is not None for row in measured)
    memory = MODEL_MEMORY if known else PEAK_MEMORY
    throughput = (THROUGHPUT,) if offline else ()
    columns = (*IDENTITY, *throughput, *DIFFERENCES, memory, *DOUBTS)
    return Table(columns, entries, name=lambda entry: entry.name)


def _entries(comparison: Comparison) -> list[ComparisonEntry]:
    names = model_names([vars(row) for row in comparison.rows])
    return [
        ComparisonEntry(row, measured, name)
        for row, name in zip(comparison.rows, names, strict=True)
        for measured in row.measured
        if measured
    ]


def _caption(comparison: Comparison) -> list[str]:
    results = comparison.results
    lines = [f"warning: {warning}" for warning in comparison.warnings]
    for result in results:
        parts = [machine_text(result["machine"]), result["started"]]
        lines.append(f"{result['name']}: {' · '.join(part for part in parts if part)}")
    if len(results) > 1:
        lines.append(CAPTION.format(first=results[0]["name"]))
    return lines


def _flat(entry: dict, *intervals: str) -> dict:
    """The entry with each interval as two fields, `_low` and `_high`."""
    flat = {}
    for name, value in entry.items():
        if name in intervals:
            flat[f"{name}_low"], flat[f"{name}_high"] = value or (None, None)
        else:
            flat[name] = value
    return flat
