"""Tables: drawn on a terminal, plain aligned text anywhere else.

Plain text has one line a row, columns two or more spaces apart, no colour and nothing cut off, so
that grep, awk and a log file can have it.
"""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

ALL_IMAGES = 10_000
ABSENT = "-"
# Columns of a terminal that holds a bench table without putting cells below each other.
WIDE = 120


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Sequence[str] = (),
) -> None:
    """Print a table.

    Args:
        console: drawn when it is a terminal wide enough for the table, else plain.
        columns: the headings.
        rows: one text for each column; empty is shown as a dash.
        left: the headings of the columns that align left, the first always among them; numbers
            align right.
    """
    rows = [[cell or ABSENT for cell in row] for row in rows]
    aligned_left = [i == 0 or heading in left for i, heading in enumerate(columns)]
    if console.is_terminal:
        unbounded = console.options.update(max_width=10**4)
        table = _drawn(columns, rows, aligned_left)
        if Measurement.get(console, unbounded, table).minimum <= console.width:
            console.print(table)
            return
    for line in _plain_lines(columns, rows, aligned_left):
        print_line(console, line)


def print_line(console: Console, line: str) -> None:
    """Print a line as it is: no markup, no colour, not wrapped, not cut."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def bench_table(result: dict, console: Console) -> None:
    """Print the rows of a bench result, and below them where and on what they were measured.

    Errors stand in their rows, in a last column; a drawn table has them below, where there is room.

    Args:
        result: see `edgecifar.bench.result`.
        console: where to.
    """
    rows = result["rows"]
    columns = {
        "model": _model_names(rows),
        "runtime": [row["runtime"] for row in rows],
        "top-1 %": [_percent(row["top1"]) for row in rows],
        "95 % interval": [_interval(row["top1_interval"]) for row in rows],
        "p50 ms": [_milliseconds(row["latency_ms"]["p50"]) for row in rows],
        "p90 ms": [_milliseconds(row["latency_ms"]["p90"]) for row in rows],
        "p99 ms": [_milliseconds(row["latency_ms"]["p99"]) for row in rows],
        "mean ms": [_milliseconds(row["latency_ms"]["mean"]) for row in rows],
        "images/s": [_number(row["images_per_s"], 0) for row in rows],
        "load ms": [_number(row["load_ms"], 1) for row in rows],
        "peak MiB": [_number(row["peak_rss_mib"], 0) for row in rows],
        "size MB": [_number(row["size_bytes"], 2, unit=1e6) for row in rows],
    }
    errors = [row["error"] or "" for row in rows]
    names = columns["model"]
    if console.is_terminal:
        if console.width < WIDE:
            _merge(columns, "model", "runtime")
            _merge(columns, "top-1 %", "95 % interval")
    elif any(errors):
        columns["error"] = errors
    cells = list(zip(*columns.values(), strict=True))
    print_table(console, list(columns), cells, left=("runtime", "error"))
    if console.is_terminal:
        for name, row in zip(names, rows, strict=True):
            if row["error"]:
                print_line(console, f"{name} in {row['runtime']}: {row['error']}")
    print_line(console, _caption(result))


def verification_table(verifications: Sequence, console: Console) -> None:
    """Print how exported files did beside their checkpoint.

    Args:
        verifications: see `edgecifar.export.verification.Verification`.
        console: where to.
    """
    columns = [
        "file",
        "precision",
        "top-1 %",
        "checkpoint %",
        "agreement %",
        "KL divergence",
        "largest difference",
        "most changed class",
        "verdict",
    ]
    rows = [
        [
            row.file,
            row.precision,
            _percent(row.top1),
            _percent(row.checkpoint_top1),
            _percent(row.agreement),
            f"{row.kl_divergence:.2g}",
            f"{row.largest_difference:.2g}",
            _most_changed(row.per_class),
            row.failure or "right",
        ]
        for row in verifications
    ]
    print_table(console, columns, rows, left=("precision", "most changed class", "verdict"))
    print_line(console, f"{verifications[0].images:,} test images")


def calibration_table(calibration: dict, console: Console) -> None:
    """Print how the calibration methods did beside float, the chosen one first.

    Args:
        calibration: `tried`, a list of `method`, `kl_divergence`, `agreement` and `top1`, the best
            first; `images` and `judged_on`, their numbers.
        console: where to.
    """
    columns = ["calibration", "KL divergence", "agreement %", "top-1 %"]
    rows = [
        [
            row["method"],
            f"{row['kl_divergence']:.2g}",
            _percent(row["agreement"]),
            _percent(row["top1"]),
        ]
        for row in calibration["tried"]
    ]
    print_table(console, columns, rows)
    print_line(
        console,
        f"int8 beside float, watched on {calibration['images']} training images and judged on "
        f"{calibration['judged_on']} others",
    )


def assessment_table(assessment: dict, console: Console) -> None:
    """Print how a classifier did on each class, and below it on all of them.

    Args:
        assessment: see `edgecifar.training.evaluation.assess`.
        console: where to.
    """
    columns = ["class", "images", "precision %", "recall %"]
    rows = [
        [row["class"], f"{row['images']:,}", _percent(row["precision"]), _percent(row["recall"])]
        for row in assessment["per_class"]
    ]
    print_table(console, columns, rows)
    parts = [
        f"top-1 {_percent(assessment['top1'])} % [{_interval(assessment['top1_interval'])}]",
        f"top-5 {_percent(assessment['top5'])} %",
        f"calibration error (ECE) {_percent(assessment['expected_calibration_error'])} %",
        f"{assessment['images']:,} images",
    ]
    print_line(console, " · ".join(parts))


def _most_changed(per_class: Sequence) -> str:
    """The class whose top-1 differs most from the checkpoint's, and by how many points."""
    if not per_class:
        return ""
    changes = {row.label: 100 * (row.top1 - row.checkpoint_top1) for row in per_class}
    label = max(changes, key=lambda label: abs(changes[label]))
    return f"{label} {changes[label]:+.1f}"


def _merge(columns: dict[str, list[str]], upper: str, lower: str) -> None:
    """Put a column below another, in the same cells, to fit a narrow terminal."""
    pairs = zip(columns[upper], columns.pop(lower), strict=True)
    columns[upper] = [f"{above}\n{below}".strip() for above, below in pairs]


def _drawn(columns: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[bool]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    for heading, is_left in zip(columns, left, strict=True):
        # Words fold when the terminal is narrow; numbers must stay whole.
        justify = "left" if is_left else "right"
        heading = "\n".join(heading.rsplit(" ", 1))  # the unit below the name
        table.add_column(heading, justify=justify, no_wrap=not is_left, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _plain_lines(
    columns: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[bool]
) -> list[str]:
    lines = [[cell.replace("\n", " ") for cell in line] for line in (columns, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return [
        "  ".join(
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, width, is_left in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in lines
    ]


def _model_names(rows: Sequence[dict]) -> list[str]:
    """File names where they tell the models apart, else whole paths."""
    paths = {row["model"] for row in rows}
    names = {Path(path).name for path in paths}
    told_apart = len(names) == len(paths)
    return [Path(row["model"]).name if told_apart else row["model"] for row in rows]


def _caption(result: dict) -> str:
    """The machine, the threads, and how many images the accuracy is on."""
    machine, rows = result["machine"], result["rows"]
    names = [machine.get("board"), machine.get("cpu"), machine.get("architecture")]
    parts = [", ".join(name for name in names if name) or "unknown machine"]
    if machine.get("cores"):
        parts.append(f"{machine['cores']} cores")
    threads = sorted({row["threads"] for row in rows})
    parts.append(f"threads: {', '.join(map(str, threads))}")
    images = sorted({row["images"] for row in rows if row["images"]})
    if images:
        parts.append("one image at a time")
        parts.append(f"{', '.join(f'{count:,}' for count in images)} test images")
    if images and images[0] < ALL_IMAGES:
        parts.append(f"not all {ALL_IMAGES:,}: mind the interval")
    return " · ".join(parts)


def _number(value: float | None, decimals: int, unit: float = 1.0) -> str:
    return "" if value is None else f"{value / unit:.{decimals}f}"


def _milliseconds(value: float | None) -> str:
    """Three figures and no more: the rest is noise."""
    if value is None:
        return ""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def recipe_table(recipes: Sequence[tuple[str, str, float, dict | None]], console: Console) -> None:
    """Print the recipes, and below the table what stands behind a "not yet".

    Args:
        recipes: of each its name, its summary, its target top-1 (0 is none), and its measured
            result with the keys of `measured.results()`, None where there is none.
        console: where to.
    """
    columns = [
        "recipe", "parameters", "MMACs", "target %", "float %", "int8 %", "verdict", "trained in",
        "on", "what it is",
    ]  # fmt: skip
    rows = []
    for name, summary, target, measured in recipes:
        aim = f"{100 * target:.2f}" if target else ""
        if measured is None:
            rows.append([name, "", "", aim, "", "", "not yet" if target else "", "", "", summary])
            continue
        reached = measured["test_top1"] >= target
        rows.append(
            [
                name,
                f"{measured['parameters']:,}",
                f"{measured['multiply_accumulates'] / 1e6:.1f}",
                aim,
                f"{100 * measured['test_top1']:.2f}",
                f"{100 * measured['int8_top1']:.2f}",
                ("reached" if reached else "not yet") if target else "",
                f"{measured['training_seconds'] / 60:.0f} min",
                measured["machine"],
                summary,
            ]
        )
    print_table(console, columns, rows, left=["verdict", "on", "what it is"])


def compression_table(rows: Sequence[dict], console: Console) -> None:
    """Print exports of one checkpoint beside each other.

    Args:
        rows: one an export: `name`; `checkpoint_top1`, `tflite_top1`, `onnx_top1`, shares of the
            test images, the latter two of the int8 files; `tflite_bytes` and
            `tflite_compressed_bytes` of the int8 TFLite file.
        console: where to.
    """
    columns = [
        "export", "checkpoint %", "int8 TFLite %", "int8 ONNX %", "TFLite MB", "compressed MB"
    ]  # fmt: skip
    cells = [
        [
            row["name"],
            *(f"{100 * row[key]:.2f}" for key in ("checkpoint_top1", "tflite_top1", "onnx_top1")),
            *(f"{row[key] / 1e6:.2f}" for key in ("tflite_bytes", "tflite_compressed_bytes")),
        ]
        for row in rows
    ]
    print_table(console, columns, cells)
