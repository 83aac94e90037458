"""Shows the accuracy of a classifier: the figures of each class, and those of all classes."""

from operator import itemgetter

from rich.console import Console

from edgecifar.report.cells import count, interval, percent
from edgecifar.report.tables import Column, Table, print_line, print_table

COLUMNS: tuple[Column[dict], ...] = (
    Column("class", itemgetter("class")),
    Column("images", itemgetter("images"), count),
    Column("precision", itemgetter("precision"), percent, "%"),
    Column("recall", itemgetter("recall"), percent, "%"),
)


def assessment_table(assessment: dict, console: Console) -> None:
    """Print the figures of each class, and below them those of all classes.

    Args:
        assessment: see `edgecifar.metrics.classification.assess`.
        console: where to print.
    """
    print_table(console, Table(COLUMNS, assessment["per_class"]))
    parts = [
        f"top-1 {percent(assessment['top1'])} % [{interval(assessment['top1_interval'])}]",
        f"top-5 {percent(assessment['top5'])} %",
        f"calibration error (ECE) {percent(assessment['expected_calibration_error'])} %",
        f"{assessment['images']:,} images",
    ]
    print_line(console, " · ".join(parts))
