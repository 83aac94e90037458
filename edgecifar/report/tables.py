"""Tables: drawn on a terminal, plain aligned text anywhere else.

Plain text has one line a row, columns two or more spaces apart, no colour and nothing cut off, so
that grep, awk and a log file can have it.
"""

import csv
import io
import re
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

ABSENT = "-"
UNBOUNDED = 10**4
# Columns that go below the model's name in a narrow terminal.
BELOW_THE_NAME = ("runtime", "threads", "scenario", "options", "host")
MARKDOWN_SIGNS = re.compile(r"([\\`*_<>\[\]|])")


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
    rows = _without_gaps(rows)
    aligned_left = _aligned_left(columns, left)
    if console.is_terminal:
        table = _drawn(columns, rows, aligned_left)
        if _width(console, table).minimum <= console.width:
            console.print(table)
            return
    for line in _plain_lines(columns, rows, aligned_left):
        print_line(console, line)


def fits(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Sequence[str] = (),
) -> bool:
    """Whether the table fits the console without folded text. Arguments: see `print_table`."""
    table = _drawn(columns, _without_gaps(rows), _aligned_left(columns, left))
    return console.is_terminal and _width(console, table).maximum <= console.width


def markdown_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str] = ()
) -> list[str]:
    """The lines of a table as GitHub Markdown. Arguments: see `print_table`."""
    rules = ["---" if is_left else "---:" for is_left in _aligned_left(columns, left)]
    lines = [[MARKDOWN_SIGNS.sub(r"\\\1", cell) for cell in row] for row in _without_gaps(rows)]
    return [f"| {' | '.join(line)} |" for line in (columns, rules, *lines)]


def csv_lines(rows: Sequence[dict]) -> str:
    """Rows with the same fields as CSV (RFC 4180), with a heading; None is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def lines_of(columns: dict[str, list[str]]) -> list[tuple[str, ...]]:
    """The rows of a table whose columns are given as headings and cells."""
    return list(zip(*columns.values(), strict=True))


def merge(columns: dict[str, list[str]], upper: str, lower: str) -> None:
    """Move the cells of the column `lower` below those of `upper`."""
    pairs = zip(columns[upper], columns.pop(lower), strict=True)
    columns[upper] = [f"{above}\n{below}".strip() for above, below in pairs]


def name_in_one_column(columns: dict[str, list[str]]) -> None:
    """Move everything that identifies a row below the model's name, for a narrow terminal."""
    if "threads" in columns:
        columns["threads"] = [f"threads: {count}" for count in columns["threads"]]
    for heading in BELOW_THE_NAME:
        if heading in columns:
            merge(columns, "model", heading)


def print_line(console: Console, line: str) -> None:
    """Print a line as it is: no markup, no colour, not wrapped, not cut."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def number(value: float | None, decimals: int, unit: float = 1.0) -> str:
    """A cell: `value` in `unit`, with `decimals` decimals; empty for None."""
    return "" if value is None else f"{value / unit:.{decimals}f}"


def percent(share: float | None) -> str:
    """A cell: a share, 0 to 1, in percent; empty for None."""
    return "" if share is None else f"{100 * share:.2f}"


def interval(ends: Sequence[float] | None) -> str:
    """A cell: two shares in percent, from the lower to the upper; empty for None."""
    return "" if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


def ratio(value: float | None) -> str:
    """A cell: a ratio, with no more digits than noise leaves; empty for None."""
    return number(value, 3 if value is None or value < 10 else 1)


def ratio_interval(ends: Sequence[float] | None) -> str:
    """A cell: two ratios, from the lower to the upper; empty for None."""
    return "" if ends is None else f"{ratio(ends[0])} to {ratio(ends[1])}"


def points(difference: float | None) -> str:
    """A cell: the difference of two shares in percentage points; empty for None."""
    return "" if difference is None else f"{100 * difference:+.2f}"


def verification_table(verifications: Sequence, console: Console) -> None:
    """Print the verification of exported files beside their checkpoint.

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
            percent(row.top1),
            percent(row.checkpoint_top1),
            percent(row.agreement),
            f"{row.kl_divergence:.2g}",
            f"{row.largest_difference:.2g}",
            _most_changed(row.per_class),
            row.failure or "right",
        ]
        for row in verifications
    ]
    print_table(console, columns, rows, left=("precision", "most changed class", "verdict"))
    agreements = [
        f"{row.file} agrees with TFLite on {percent(row.counterpart.agreement)} %"
        for row in verifications
        if row.counterpart
    ]
    print_line(console, " · ".join([f"{verifications[0].images:,} test images", *agreements]))


def calibration_table(calibration: dict, console: Console) -> None:
    """Print the calibration methods compared with float, the chosen one first.

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
            percent(row["agreement"]),
            percent(row["top1"]),
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
    """Print the figures of each class, and below them those of all classes.

    Args:
        assessment: see `edgecifar.metrics.classification.assess`.
        console: where to.
    """
    columns = ["class", "images", "precision %", "recall %"]
    rows = [
        [row["class"], f"{row['images']:,}", percent(row["precision"]), percent(row["recall"])]
        for row in assessment["per_class"]
    ]
    print_table(console, columns, rows)
    parts = [
        f"top-1 {percent(assessment['top1'])} % [{interval(assessment['top1_interval'])}]",
        f"top-5 {percent(assessment['top5'])} %",
        f"calibration error (ECE) {percent(assessment['expected_calibration_error'])} %",
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


def _without_gaps(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[cell or ABSENT for cell in row] for row in rows]


def _aligned_left(columns: Sequence[str], left: Sequence[str]) -> list[bool]:
    return [i == 0 or heading in left for i, heading in enumerate(columns)]


def _width(console: Console, table: Table) -> Measurement:
    return Measurement.get(console, console.options.update(max_width=UNBOUNDED), table)


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


def recipe_table(recipes: Sequence[tuple[str, str, float, dict | None]], console: Console) -> None:
    """Print the recipes with what they cost, are to reach and have reached.

    Args:
        recipes: for each its name, summary, target top-1 (0 is none), and measured result with
            the keys of `recipe_results.results()`, or None.
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
    """Print several exports of one checkpoint, one in each row.

    Args:
        rows: for each export `name`; `checkpoint_top1`, `tflite_top1`, `onnx_top1`, shares of the
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
