"""Shows a bench result as a table on the terminal, as CSV and as Markdown."""

from collections.abc import Sequence

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
from edgecifar.metrics.latency import milliseconds
from edgecifar.report.contract_lines import contract_lines
from edgecifar.report.pairs_table import pairs_markdown, pairs_table
from edgecifar.report.tables import (
    csv_lines,
    fits,
    interval,
    lines_of,
    markdown_table,
    merge,
    name_in_one_column,
    number,
    percent,
    print_line,
    print_table,
)

ALL_IMAGES = 10_000
OVERFLOW = ("images", "agreement", "kl_divergence")
LEFT = ("runtime", "host", "options", "scenario", "marks", "error")
# Fields of a row that a line of CSV holds as they are.
IDENTITY = ("model", "runtime", "runtime_version", "host", "threads", "scenario", "batch")
FIGURES = (
    "timed_inferences", "timed_s", "settled", "images_per_s", "import_ms", "load_ms", "first_ms",
    "peak_rss_mib", "runtime_rss_mib", "model_rss_mib", "energy_mj_per_image",
    "energy_source", "power_w", "idle_power_w", "size_bytes",
)  # fmt: skip
LATENCIES = ("p50", "p90", "p99", "p999", "min", "mean", "std")
INTERVALS = ("p50", "p90", "p99", "mean")
PARTS = ("set_input", "invoke", "get_output")


def bench_table(result: dict, console: Console) -> None:
    """Print the rows of a bench result, and below them the machine and the number of images.

    A column with the same value in every row is left out; where it matters, the value is printed
    below the table. Errors are in a last column, or on a terminal below the table, where there is
    more room.

    Args:
        result: see `edgecifar.bench.results.result`.
        console: where to.
    """
    rows = result["rows"]
    columns = _columns(rows)
    if not console.is_terminal:
        columns |= _errors(rows)
    elif not fits(console, list(columns), lines_of(columns), left=LEFT):
        _narrow(columns)
    print_table(console, list(columns), lines_of(columns), left=LEFT)
    if console.is_terminal:
        for name, row in zip(row_names(rows), rows, strict=True):
            if row["error"]:
                print_line(console, f"{name}: {row['error']}")
    for line in _caption(result):
        print_line(console, line)
    if first := _beside_the_first(result["pairs"]):
        print_line(console, "")
        pairs_table(named_pairs(result, first), console)


def markdown(result: dict) -> str:
    """The tables and captions of `bench_table` as GitHub Markdown."""
    rows = result["rows"]
    columns = _columns(rows) | _errors(rows)
    lines = [*markdown_table(list(columns), lines_of(columns), left=LEFT), ""]
    for line in _caption(result):
        lines += [line, ""]
    if first := _beside_the_first(result["pairs"]):
        lines += pairs_markdown(named_pairs(result, first))
    return "\n".join(lines).rstrip() + "\n"


def csv_text(result: dict) -> str:
    """A result as CSV (RFC 4180): a heading, then one line for each row, with the machine in it.

    Names carry their units as in the JSON; what is None there is empty here. Lists of numbers
    (confusion matrix, classes, rounds) and the conditions of the machine are in the JSON only.
    """
    return csv_lines([_flat(result, row) for row in result["rows"]])


def _columns(rows: Sequence[dict]) -> dict[str, list[str]]:
    """Headings and their cells; an empty optional column is left out."""
    optional = {
        "host": [host_name(row) for row in rows],
        "threads": [str(row["threads"]) for row in rows],
        "options": [options_text(row) for row in rows],
        "scenario": [_scenario(row) for row in rows],
    }
    halves = [_half_width(row) for row in rows]
    energy = [number(row["energy_mj_per_image"], 2) for row in rows]
    marks = [", ".join(row["marks"]) for row in rows]
    return {
        "model": model_names(rows),
        "runtime": [row["runtime"] for row in rows],
        **{heading: cells for heading, cells in optional.items() if len(set(cells)) > 1},
        "top-1 %": [percent(row["top1"]) for row in rows],
        "95 % interval": [interval(row["top1_interval"]) for row in rows],
        "p50 ms": [milliseconds(row["latency_ms"]["p50"]) for row in rows],
        **({"± %": halves} if any(halves) else {}),
        "p90 ms": [milliseconds(row["latency_ms"]["p90"]) for row in rows],
        "p99 ms": [milliseconds(row["latency_ms"]["p99"]) for row in rows],
        "mean ms": [milliseconds(row["latency_ms"]["mean"]) for row in rows],
        "images/s": [number(row["images_per_s"], 0) for row in rows],
        "load ms": [number(row["load_ms"], 1) for row in rows],
        "peak MiB": [number(row["peak_rss_mib"], 0) for row in rows],
        "size MB": [number(row["size_bytes"], 2, unit=1e6) for row in rows],
        **({"mJ/image": energy} if any(energy) else {}),
        **({"marks": marks} if any(marks) else {}),
    }


def _errors(rows: Sequence[dict]) -> dict[str, list[str]]:
    errors = [row["error"] or "" for row in rows]
    return {"error": errors} if any(errors) else {}


def _narrow(columns: dict[str, list[str]]) -> None:
    """Put each interval below its figure, and everything that identifies a row in one column."""
    name_in_one_column(columns)
    merge(columns, "top-1 %", "95 % interval")
    if "± %" in columns:
        columns["± %"] = [half and f"±{half}%" for half in columns["± %"]]
        merge(columns, "p50 ms", "± %")


def _beside_the_first(pairs: Sequence[dict]) -> list[dict]:
    """The pairs of the first row that is in any pair."""
    first = min((min(pair["a"], pair["b"]) for pair in pairs), default=None)
    return [pair for pair in pairs if first in (pair["a"], pair["b"])]


def _half_width(row: dict) -> str:
    """Half the width of the 95 % interval of p50, in percent of p50."""
    ends, p50 = row["latency_interval_ms"]["p50"], row["latency_ms"]["p50"]
    return f"{50 * (ends[1] - ends[0]) / p50:.1f}" if ends and p50 else ""


def _scenario(row: dict) -> str:
    """The scenario, with the batch size where it is not the usual one."""
    alone = row["batch"] is None or (row["batch"] == 1 and row["scenario"] == "single-stream")
    return row["scenario"] if alone else f"{row['scenario']}, {row['batch']}"


def _caption(result: dict) -> list[str]:
    """The machines, then the threads and how many images the accuracy is on."""
    rows, machines = result["rows"], result["machines"]
    lines = [f"{host}: {machine_text(machine)}" for host, machine in machines.items()]
    parts = [] if lines else [machine_text(result["machine"])]
    threads = sorted({row["threads"] for row in rows})
    parts.append(f"threads: {', '.join(map(str, threads))}")
    options = {options_text(row) for row in rows}
    if len(options) == 1 and (shared := options.pop()):
        parts.append(f"options: {shared}")
    if len(hosts := {row["host"] for row in rows}) == 1 and (host := hosts.pop()):
        parts.append(f"on {host}")
    images = sorted({row["images"] for row in rows if row["images"]})
    if images:
        if scenarios := _shared_scenario(rows):
            parts.append(scenarios)
        parts.append(f"{', '.join(f'{count:,}' for count in images)} test images")
    if images and images[0] < ALL_IMAGES:
        parts.append(f"not all {ALL_IMAGES:,}: its interval is wider")
    return [*lines, " · ".join(parts), *contract_lines(rows)]


def _shared_scenario(rows: Sequence[dict]) -> str:
    """The scenario that all rows have; empty when they differ, as a column then has it."""
    scenarios = {_scenario(row) for row in rows}
    if len(scenarios) > 1:
        return ""
    (scenario,) = scenarios
    return "one image at a time" if scenario == "single-stream" else scenario


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
