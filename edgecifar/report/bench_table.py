"""A bench result for people, for spreadsheets and for a README."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from edgecifar.report.tables import (
    fits,
    interval,
    markdown_table,
    milliseconds,
    number,
    percent,
    print_line,
    print_table,
)

ALL_IMAGES = 10_000
SIGNIFICANT_P = 0.05
# The machine that ran the command, in a result of several.
LOCAL = "local"
NO_DIFFERENCE = "no difference"
LEFT = ("runtime", "host", "options", "scenario", "marks", "error")
PAIR_LEFT = ("time", "top-1")
# What of a pair goes below what in a narrow terminal.
NARROW_PAIRS = (
    ("p50 ratio", "95 % interval"),
    ("p50 ratio", "time"),
    ("top-1 points", "McNemar p"),
    ("top-1 points", "top-1"),
)
PAIRS_CAPTION = (
    "a / b: the median time an image of a by that of b, paired by rounds; a difference is one "
    f"where the 95 % interval leaves out 1, or McNemar's p is at most {SIGNIFICANT_P}"
)
# Fields of a row that a line of CSV holds as they are.
IDENTITY = ("model", "runtime", "runtime_version", "host", "threads", "scenario", "batch")
FIGURES = (
    "timed_inferences", "timed_s", "settled", "images_per_s", "import_ms", "load_ms", "first_ms",
    "peak_rss_mib", "runtime_rss_mib", "model_rss_mib", "arena_bytes", "energy_mj_per_image",
    "energy_source", "power_w", "size_bytes",
)  # fmt: skip
LATENCIES = ("p50", "p90", "p99", "p999", "min", "mean", "std")
INTERVALS = ("p50", "p90", "p99", "mean")
PARTS = ("set_input", "invoke", "get_output")
# Columns of a row's identity that a narrow terminal shows below the model's name.
BELOW_THE_NAME = ("runtime", "threads", "scenario", "options", "host")


def bench_table(result: dict, console: Console) -> None:
    """Print the rows of a bench result, and below them where and on what they were measured.

    A column that says the same of every row is left out, and told below where it matters. Errors
    stand in their rows, in a last column; a drawn table has them below, where there is room.

    Args:
        result: see `edgecifar.bench.result`.
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


def named_pairs(result: dict, pairs: Sequence[dict]) -> list[dict]:
    """Pairs as they stand in a result, with the names of their rows as `a` and `b`.

    Each has `top1_difference` too, a's less b's, 0 to 1; None where one was not measured.
    """
    names = row_names(result["rows"])
    top1 = [row["top1"] for row in result["rows"]]
    return [
        pair
        | {"a": names[pair["a"]], "b": names[pair["b"]]}
        | {"top1_difference": _difference(top1[pair["a"]], top1[pair["b"]])}
        for pair in pairs
    ]


def pairs_table(pairs: Sequence[dict], console: Console) -> None:
    """Print pairs of rows: how much time the first takes of the second's, and what is noise.

    Args:
        pairs: see `named_pairs`.
        console: where to.
    """
    columns = _pair_columns(pairs)
    if console.is_terminal and not fits(console, list(columns), lines_of(columns), left=PAIR_LEFT):
        columns["pair"] = [f"{pair['a']} /\n{pair['b']}" for pair in pairs]
        for figure, lower in NARROW_PAIRS:
            merge(columns, figure, lower)
    print_table(console, list(columns), lines_of(columns), left=PAIR_LEFT)
    print_line(console, PAIRS_CAPTION)


def markdown(result: dict) -> str:
    """The tables of `bench_table` and their captions, as GitHub reads them."""
    rows = result["rows"]
    columns = _columns(rows) | _errors(rows)
    lines = [*markdown_table(list(columns), lines_of(columns), left=LEFT), ""]
    for line in _caption(result):
        lines += [line, ""]
    if first := _beside_the_first(result["pairs"]):
        lines += pairs_markdown(named_pairs(result, first))
    return "\n".join(lines).rstrip() + "\n"


def pairs_markdown(pairs: Sequence[dict]) -> list[str]:
    """The lines of `pairs_table`, as GitHub reads them."""
    columns = _pair_columns(pairs)
    return [
        *markdown_table(list(columns), lines_of(columns), left=PAIR_LEFT),
        "",
        PAIRS_CAPTION,
        "",
    ]


def csv_text(result: dict) -> str:
    """A result as CSV (RFC 4180): a heading, then one line a row, with the machine in each.

    Names carry their units as in the JSON; what is None there is empty. Lists of numbers
    (confusion matrix, classes, rounds) and the conditions are in the JSON only.
    """
    return csv_lines([_flat(result, row) for row in result["rows"]])


def csv_lines(rows: Sequence[dict]) -> str:
    """Rows of the same names as CSV (RFC 4180), the names as heading; None is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def machine_of(result: dict, row: dict) -> dict:
    """The machine that a row was measured on."""
    return result["machines"].get(host_name(row), result["machine"])


def model_names(rows: Sequence[dict]) -> list[str]:
    """File names where they tell the models apart, else whole paths."""
    paths = {row["model"] for row in rows}
    names = {Path(path).name for path in paths}
    told_apart = len(names) == len(paths)
    return [Path(row["model"]).name if told_apart else row["model"] for row in rows]


def row_names(rows: Sequence[dict]) -> list[str]:
    """Short names, each row's its own: the model and as much as it takes to tell them apart."""
    names = model_names(rows)
    for cells in (
        [f" in {row['runtime']}" for row in rows],
        [f", {_threads(row)}" for row in rows],
        [f", {row['scenario']}" for row in rows],
        [f", {text}" if (text := options_text(row)) else "" for row in rows],
        [f" on {host_name(row)}" for row in rows],
    ):
        named = list(zip(names, cells, strict=True))
        said: dict[str, set[str]] = {}
        for name, cell in named:
            said.setdefault(name, set()).add(cell)
        names = [name + cell if len(said[name]) > 1 else name for name, cell in named]
    return [  # the same file may be given twice
        f"{name} #{names[: i + 1].count(name)}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def host_name(row: dict) -> str:
    """By which a result's `machines` know where the row was measured."""
    return row["host"] or LOCAL


def options_text(row: dict) -> str:
    """`graph=all, xnnpack=off`; empty where nothing was asked for."""
    return ", ".join(f"{name}={row['options'][name]}" for name in sorted(row["options"]))


def time_verdict(ratio_interval: Sequence[float] | None) -> str:
    """What the 95 % interval of a ratio of times says."""
    if ratio_interval is None:
        return ""
    low, high = ratio_interval
    return "faster" if high < 1 else "slower" if low > 1 else NO_DIFFERENCE


def machine_text(machine: dict) -> str:
    """Board, processor and cores, with the governor where the machine tells."""
    names = [machine.get("board"), machine.get("cpu"), machine.get("architecture")]
    parts = [", ".join(str(name) for name in names if name) or "unknown machine"]
    if machine.get("cores"):
        parts.append(f"{machine['cores']} cores")
    if machine.get("governor"):
        parts.append(f"governor {machine['governor']}")
    return " · ".join(parts)


def ratio_text(ratio: float | None) -> str:
    """A cell: what a noisy machine can tell of a ratio; empty for None."""
    return number(ratio, 3 if ratio is None or ratio < 10 else 1)


def ratio_interval_text(ends: Sequence[float] | None) -> str:
    """A cell: two ratios, from the lower to the upper; empty for None."""
    return "" if ends is None else f"{ratio_text(ends[0])} to {ratio_text(ends[1])}"


def name_in_one_column(columns: dict[str, list[str]]) -> None:
    """Put what tells rows apart below the model's name, to fit a narrow terminal."""
    if "threads" in columns:
        columns["threads"] = [f"threads: {count}" for count in columns["threads"]]
    for heading in BELOW_THE_NAME:
        if heading in columns:
            merge(columns, "model", heading)


def points(difference: float | None) -> str:
    """A cell: the difference of two shares in percentage points; empty for None."""
    return "" if difference is None else f"{100 * difference:+.2f}"


def _columns(rows: Sequence[dict]) -> dict[str, list[str]]:
    """Headings and their cells; a column is left out where it says nothing."""
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
    """Put what belongs to a figure below it, and all that names a row into one column."""
    name_in_one_column(columns)
    merge(columns, "top-1 %", "95 % interval")
    if "± %" in columns:
        columns["± %"] = [half and f"±{half}%" for half in columns["± %"]]
        merge(columns, "p50 ms", "± %")


def merge(columns: dict[str, list[str]], upper: str, lower: str) -> None:
    """Put the cells of a column below those of another, and leave the column out."""
    pairs = zip(columns[upper], columns.pop(lower), strict=True)
    columns[upper] = [f"{above}\n{below}".strip() for above, below in pairs]


def lines_of(columns: dict[str, list[str]]) -> list[tuple[str, ...]]:
    """The rows of a table that is given as headings and their cells."""
    return list(zip(*columns.values(), strict=True))


def _beside_the_first(pairs: Sequence[dict]) -> list[dict]:
    """The pairs that the first row takes part in, of those rows that are in pairs."""
    first = min((min(pair["a"], pair["b"]) for pair in pairs), default=None)
    return [pair for pair in pairs if first in (pair["a"], pair["b"])]


def _pair_columns(pairs: Sequence[dict]) -> dict[str, list[str]]:
    return {
        "pair": [f"{pair['a']} / {pair['b']}" for pair in pairs],
        "p50 ratio": [ratio_text(pair["ratio"]) for pair in pairs],
        "95 % interval": [ratio_interval_text(pair["ratio_interval"]) for pair in pairs],
        "time": [time_verdict(pair["ratio_interval"]) for pair in pairs],
        "agreement %": [percent(pair["agreement"]) for pair in pairs],
        "top-1 points": [points(pair["top1_difference"]) for pair in pairs],
        "McNemar p": [_p_value(pair["mcnemar_p"]) for pair in pairs],
        "top-1": [_top1_verdict(pair) for pair in pairs],
    }


def _top1_verdict(pair: dict) -> str:
    difference, p = pair["top1_difference"], pair["mcnemar_p"]
    if difference is None or p is None:
        return ""
    if p > SIGNIFICANT_P:
        return NO_DIFFERENCE
    return "better" if difference > 0 else "worse"


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _p_value(p: float | None) -> str:
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _half_width(row: dict) -> str:
    """Of the 95 % interval of p50, in percent of it."""
    ends, p50 = row["latency_interval_ms"]["p50"], row["latency_ms"]["p50"]
    return f"{50 * (ends[1] - ends[0]) / p50:.1f}" if ends and p50 else ""


def _scenario(row: dict) -> str:
    """With the batch where that is not what the scenario's name says."""
    alone = row["batch"] is None or (row["batch"] == 1 and row["scenario"] == "single-stream")
    return row["scenario"] if alone else f"{row['scenario']}, {row['batch']}"


def _threads(row: dict) -> str:
    return f"{row['threads']} thread" + ("" if row["threads"] == 1 else "s")


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
        parts.append(f"not all {ALL_IMAGES:,}: mind the interval")
    return [*lines, " · ".join(parts)]


def _shared_scenario(rows: Sequence[dict]) -> str:
    """How the images came, where all rows had them the same way; else a column says it."""
    scenarios = {_scenario(row) for row in rows}
    if len(scenarios) > 1:
        return ""
    (scenario,) = scenarios
    return "one image at a time" if scenario == "single-stream" else scenario


def _flat(result: dict, row: dict) -> dict:
    """A row as one line of CSV."""
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
        "output": row["output"],
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
        "warning": row["warning"],
        "error": row["error"],
    }


def _shape_text(shape: list[int | None]) -> str:
    """`?x32x32x3`, with a question mark for what is free."""
    return "x".join("?" if size is None else str(size) for size in shape)


def _ends(name: str, ends: Sequence[float] | None) -> dict[str, float | None]:
    low, high = ends or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}
