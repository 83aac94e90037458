"""Shows pairs of rows that took turns: their ratio of times, and which differences are noise."""

from collections.abc import Sequence
from operator import itemgetter

from rich.console import Console

from edgecifar.bench.results.marks import of_answers, of_latency
from edgecifar.report.cells import percent, points, ratio, ratio_interval
from edgecifar.report.tables import Column, Table, markdown_lines, print_line, print_table

SIGNIFICANT_P = 0.05
NO_DIFFERENCE = "no difference"
CAPTION = (
    "p50 ratio of a / b: the median time per image of a divided by that of b, in the same rounds; "
    "times differ where the 95 % interval leaves out 1, and accuracies where McNemar's p is at "
    f"most {SIGNIFICANT_P}; a mark of either row can make this unsure"
)


def time_verdict(ends: Sequence[float] | None, marks: Sequence[str]) -> str | None:
    """Whether the 95 % interval of a ratio of times shows a difference, in a word or two.

    Args:
        ends: of the interval; None where there is none.
        marks: of both rows. With one that makes latencies doubtful, there is no verdict.
    """
    if ends is None:
        return None
    if doubtful := of_latency(marks):
        return _unsure(doubtful)
    low, high = ends
    return "faster" if high < 1 else "slower" if low > 1 else NO_DIFFERENCE


def _top1_verdict(pair: dict) -> str | None:
    difference, p = pair["top1_difference"], pair["mcnemar_p"]
    if difference is None or p is None:
        return None
    if doubtful := of_answers(pair["marks"]):
        return _unsure(doubtful)
    if p > SIGNIFICANT_P:
        return NO_DIFFERENCE
    return "better" if difference > 0 else "worse"


def _unsure(marks: Sequence[str]) -> str:
    return f"unsure: {', '.join(marks)}"


def _p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


COLUMNS: tuple[Column[dict], ...] = (
    Column("pair", lambda pair: f"{pair['a']} / {pair['b']}", fold=1),
    Column("p50 ratio", itemgetter("ratio"), ratio),
    Column("95 % interval", itemgetter("ratio_interval"), ratio_interval, below="p50 ratio"),
    Column(
        "time",
        lambda pair: time_verdict(pair["ratio_interval"], pair["marks"]),
        left=True,
        below="p50 ratio",
    ),
    Column("agreement", itemgetter("agreement"), percent, "%"),
    Column("top-1 points", itemgetter("top1_difference"), points),
    Column("McNemar p", itemgetter("mcnemar_p"), _p_value, below="top-1 points"),
    Column("top-1", _top1_verdict, left=True, below="top-1 points"),
)


def pairs_table(pairs: Sequence[dict], console: Console, wide: bool | None = None) -> None:
    """Print pairs of rows: their ratio of times, and which differences are noise.

    Args:
        pairs: see `edgecifar.bench.results.names.named_pairs`.
        console: where to print.
        wide: see `print_table`.
    """
    print_table(console, Table(COLUMNS, pairs), wide)
    print_line(console, CAPTION)


def pairs_markdown(pairs: Sequence[dict]) -> list[str]:
    """The lines of `pairs_table` as GitHub Markdown."""
    return [*markdown_lines(Table(COLUMNS, pairs)), "", CAPTION, ""]
