"""Shows a bench result as a table on the terminal, as CSV and as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from edgecifar.bench.results.names import (
    host_name,
    machine_of,
    machine_text,
    model_names,
    named_pairs,
    options_text,
    row_names,
)
from edgecifar.bench.results.result import INTERVALS, LATENCIES, PARTS, Row, typed
from edgecifar.errors import escaped
from edgecifar.metrics.latency import milliseconds
from edgecifar.report.cells import interval, listed, number, percent
from edgecifar.report.contract_lines import contract_lines
from edgecifar.report.pairs_table import pairs_markdown, pairs_table
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

ALL_IMAGES = 10_000
OVERFLOW = ("images", "agreement", "kl_divergence")
# Fields of a row that a line of CSV holds as they are.
IDENTITY = ("model", "runtime", "runtime_version", "host", "threads", "scenario", "batch")
FIGURES = (
    "timed_inferences", "timed_s", "settled", "images_per_s", "import_ms", "load_ms", "first_ms",
    "peak_rss_mib", "runtime_rss_mib", "model_rss_mib", "energy_mj_per_image",
    "energy_source", "power_w", "idle_power_w", "size_bytes", "sha256",
)  # fmt: skip


@dataclass(frozen=True)
class BenchEntry:
    """A row of a result, and what it is called among the others.

    Attributes:
        row: as it was measured.
        model: the file's name, or its path where several files have that name.
        name: short and unique.
        host: name of the machine.
        options: of the runtime, in one text.
    """

    row: Row
    model: str
    name: str
    host: str
    options: str

    @property
    def scenario(self) -> str:
        """The scenario, with the batch size where it is not the usual one."""
        row = self.row
        alone = row.batch is None or (row.batch == 1 and row.scenario == "single-stream")
        return row.scenario if alone else f"{row.scenario}, {row.batch}"

    @property
    def half_width(self) -> float | None:
        """Half the width of the 95 % interval of p50, in percent of p50."""
        ends, p50 = self.row.latency_interval_ms["p50"], self.row.latency_ms["p50"]
        return 50 * (ends[1] - ends[0]) / p50 if ends and p50 else None


COLUMNS: tuple[Column[BenchEntry], ...] = (
    Column("model", lambda entry: entry.model),
    Column("runtime", lambda entry: entry.row.runtime, left=True, below="model"),
    Column("host", lambda entry: entry.host, left=True, shown=where_different, below="model"),
    Column("threads", lambda entry: entry.row.threads, shown=where_different, below="model"),
    Column(
        "options",
        lambda entry: entry.options,
        left=True,
        shown=where_different,
        fold=1,
        below="model",
    ),
    Column(
        "scenario", lambda entry: entry.scenario, left=True, shown=where_different, below="model"
    ),
    Column("top-1", lambda entry: entry.row.top1, percent, "%"),
    Column("95 % interval", lambda entry: entry.row.top1_interval, interval, priority=2),
    Column("p50", lambda entry: entry.row.latency_ms["p50"], milliseconds, "ms"),
    Column("±", lambda entry: entry.half_width, number(1), "%", priority=3, shown=where_present),
    Column("p90", lambda entry: entry.row.latency_ms["p90"], milliseconds, "ms"),
    Column("p99", lambda entry: entry.row.latency_ms["p99"], milliseconds, "ms", priority=4),
    Column("mean", lambda entry: entry.row.latency_ms["mean"], milliseconds, "ms", priority=8),
    Column("images/s", lambda entry: entry.row.images_per_s, number(0), priority=5),
    Column("load", lambda entry: entry.row.load_ms, number(1), "ms", priority=7),
    Column("peak", lambda entry: entry.row.peak_rss_mib, number(0), "MiB", priority=6),
    Column("size", lambda entry: entry.row.size_bytes, number(2, 1e6), "MB", priority=1),
    Column(
        "mJ/image",
        lambda entry: entry.row.energy_mj_per_image,
        number(2),
        priority=1,
        shown=where_present,
    ),
    Column("marks", lambda entry: entry.row.marks, listed, left=True, shown=where_present, fold=1),
    Column("error", lambda entry: entry.row.error, left=True, shown=where_present, aside=True),
)


def bench_table(result: dict, console: Console, wide: bool | None = None) -> None:
    """Print the rows of a bench result, and below them the machine and the number of images.

    A column with the same value in every row is left out; where it matters, the value is printed
    below the table. Errors are in a last column, or on a terminal below the table, where there is
    more room.

    Args:
        result: see `edgecifar.bench.results.result`.
        console: where to print.
        wide: see `print_table`.
    """
    print_table(console, rows_table(result), wide)
    for line in bench_caption(result):
        print_line(console, line)
    if pairs := first_pairs(result):
        print_line(console, "")
        pairs_table(pairs, console, wide)


def markdown(result: dict) -> str:
    """The tables and captions of `bench_table` as GitHub Markdown."""
    lines = [*markdown_lines(rows_table(result)), ""]
    for line in bench_caption(result):
        lines += [escaped(line), ""]
    if pairs := first_pairs(result):
        lines += pairs_markdown(pairs)
    return "\n".join(lines).rstrip() + "\n"


def csv_text(result: dict) -> str:
    """A result as CSV (RFC 4180): a heading, then one line for each row, with the machine in it.

    Names carry their units as in the JSON; what is None there is empty here. Lists of numbers
    (confusion matrix, classes, rounds) and the conditions of the machine are in the JSON only.
    """
    return csv_of_records([_flat(result, row) for row in result["rows"]])


def rows_table(result: dict) -> Table[BenchEntry]:
    """The rows of a result as a table."""
    return Table(COLUMNS, _entries(result["rows"]), name=lambda entry: entry.name)


def _entries(rows: Sequence[dict]) -> list[BenchEntry]:
    return [
        BenchEntry(typed(row), model, name, host_name(row), options_text(row))
        for row, model, name in zip(rows, model_names(rows), row_names(rows), strict=True)
    ]


def first_pairs(result: dict) -> list[dict]:
    """The pairs of the first row that is in any pair, see `named_pairs`."""
    pairs = result["pairs"]
    first = min((min(pair["a"], pair["b"]) for pair in pairs), default=None)
    return named_pairs(result, [pair for pair in pairs if first in (pair["a"], pair["b"])])


def bench_caption(result: dict) -> list[str]:
    """The machines, then the threads and how many images the accuracy is on."""
    entries, machines = _entries(result["rows"]), result["machines"]
    lines = [f"{host}: {machine_text(machine)}" for host, machine in machines.items()]
    parts = [] if lines else [machine_text(result["machine"])]
    threads = sorted({entry.row.threads for entry in entries})
    parts.append(f"threads: {', '.join(map(str, threads))}")
    options = {entry.options for entry in entries}
    if len(options) == 1 and (shared := options.pop()):
        parts.append(f"options: {shared}")
    if len(hosts := {entry.row.host for entry in entries}) == 1 and (host := hosts.pop()):
        parts.append(f"on {host}")
    images = sorted({entry.row.images for entry in entries if entry.row.images})
    if images:
        scenarios = {entry.scenario for entry in entries}
        if len(scenarios) == 1:  # else they have a column
            scenario = scenarios.pop()
            parts.append("one image at a time" if scenario == "single-stream" else scenario)
        parts.append(f"{', '.join(f'{count:,}' for count in images)} test images")
    if images and images[0] < ALL_IMAGES:
        parts.append(f"not all {ALL_IMAGES:,}: its interval is wider")
    return [*lines, " · ".join(parts), *contract_lines(result["rows"])]


def _flat(result: dict, row: dict) -> dict:
    """The fields of one line of CSV."""
    machine, taken = machine_of(result, row), row["input"] or {}
    shape = taken.get("shape")
    latency, ends = row["latency_ms"], row["latency_interval_ms"]
    return {
        "started": result["started"],
        "edgecifar": result["edgecifar"],
        **{name: machine.get(name) for name in ("board", "cpu", "architecture", "cores")},
        **{name: row[name] for name in IDENTITY},
        "options": options_text(row),
        "marks": ", ".join(row["marks"]),
        "input_dtype": taken.get("dtype"),
        "input_shape": _shape_text(shape) if isinstance(shape, list) else None,
        "input_layout": taken.get("layout"),
        "normalization": row["normalization"],
        "resize": row["resize"],
        "output": row["output"],
        "output_name": row["output_name"],
        "labels": ", ".join(row["labels"] or []),
        "images": row["images"],
        "top1": row["top1"],
        **_ends("top1", row["top1_interval"]),
        "top5": row["top5"],
        **_ends("top5", row["top5_interval"]),
        "ece": row["ece"],
        **{f"latency_{name}_ms": latency.get(name) for name in LATENCIES},
        **{
            f"{name}_ms": value
            for latency_name in INTERVALS
            for name, value in _ends(f"latency_{latency_name}", ends.get(latency_name)).items()
        },
        **{f"{name}_ms": row["parts_ms"].get(name) for name in PARTS},
        "warm_up_inferences": row["warm_up"].get("inferences"),
        "warm_up_s": row["warm_up"].get("seconds"),
        "warm_up_settled": row["warm_up"].get("settled"),
        **{name: row[name] for name in FIGURES},
        **{f"overflow_{name}": (row["overflow"] or {}).get(name) for name in OVERFLOW},
        "warning": row["warning"],
        "error": row["error"],
    }


def _shape_text(shape: list[int | None]) -> str:
    """The shape as `?x32x32x3`; a question mark stands for an open dimension."""
    return "x".join("?" if size is None else str(size) for size in shape)


def _ends(name: str, ends: Sequence[float] | None) -> dict[str, float | None]:
    low, high = ends or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}
