"""Shows pairs of rows that took turns: their ratio of times, and which differences are noise."""

from collections.abc import Sequence

from rich.console import Console

from edgecifar.report.tables import (
    fits,
    lines_of,
    markdown_table,
    merge,
    percent,
    points,
    print_line,
    print_table,
    ratio,
    ratio_interval,
)

SIGNIFICANT_P = 0.05
NO_DIFFERENCE = "no difference"
LEFT = ("time", "top-1")
# In a narrow terminal the second column goes below the first.
NARROW = (
    ("p50 ratio", "95 % interval"),
    ("p50 ratio", "time"),
    ("top-1 points", "McNemar p"),
    ("top-1 points", "top-1"),
)
CAPTION = (
    "a / b: the median time an image of a by that of b, paired by rounds; a difference is one "
    f"where the 95 % interval leaves out 1, or McNemar's p is at most {SIGNIFICANT_P}"
)


def pairs_table(pairs: Sequence[dict], console: Console) -> None:
    """Print pairs of rows: their ratio of times, and which differences are noise.

    Args:
        pairs: see `edgecifar.bench.results.names.named_pairs`.
        console: where to.
    """
    columns = _columns(pairs)
    if console.is_terminal and not fits(console, list(columns), lines_of(columns), left=LEFT):
        columns["pair"] = [f"{pair['a']} /\n{pair['b']}" for pair in pairs]
        for figure, lower in NARROW:
            merge(columns, figure, lower)
    print_table(console, list(columns), lines_of(columns), left=LEFT)
    print_line(console, CAPTION)


def pairs_markdown(pairs: Sequence[dict]) -> list[str]:
    """The lines of `pairs_table` as GitHub Markdown."""
    columns = _columns(pairs)
    return [
        *markdown_table(list(columns), lines_of(columns), left=LEFT),
        "",
        CAPTION,
        "",
    ]


def time_verdict(ends: Sequence[float] | None) -> str:
    """Whether the 95 % interval of a ratio of times shows a difference, in a word or two."""
    if ends is None:
        return ""
    low, high = ends
    return "faster" if high < 1 else "slower" if low > 1 else NO_DIFFERENCE


def _columns(pairs: Sequence[dict]) -> dict[str, list[str]]:
    return {
        "pair": [f"{pair['a']} / {pair['b']}" for pair in pairs],
        "p50 ratio": [ratio(pair["ratio"]) for pair in pairs],
        "95 % interval": [ratio_interval(pair["ratio_interval"]) for pair in pairs],
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


def _p_value(p: float | None) -> str:
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
