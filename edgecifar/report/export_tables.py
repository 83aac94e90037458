"""Shows what an export found: the verification of its files, and the calibrations it tried."""

from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

from rich.console import Console

from edgecifar.report.cells import percent, short
from edgecifar.report.tables import Column, Table, print_line, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgecifar.export.verification import ClassChange, Verification

VERIFICATION: "tuple[Column[Verification], ...]" = (
    Column("file", attrgetter("file")),
    Column("precision", attrgetter("precision"), left=True, below="file"),
    Column("top-1", attrgetter("top1"), percent, "%"),
    Column("checkpoint", attrgetter("checkpoint_top1"), percent, "%", priority=1),
    Column("agreement", attrgetter("agreement"), percent, "%"),
    Column("KL divergence", attrgetter("kl_divergence"), short, priority=2),
    Column("largest difference", attrgetter("largest_difference"), short, priority=4),
    Column("most changed class", lambda row: _most_changed(row.per_class), left=True, priority=3),
    Column("verdict", lambda row: row.failure or "right", left=True, fold=24),
)
CALIBRATION: tuple[Column[dict], ...] = (
    Column("calibration", itemgetter("method")),
    Column("KL divergence", itemgetter("kl_divergence"), short),
    Column("agreement", itemgetter("agreement"), percent, "%"),
    Column("top-1", itemgetter("top1"), percent, "%"),
)


def verification_table(verifications: "Sequence[Verification]", console: Console) -> None:
    """Print the verification of exported files beside their checkpoint.

    Args:
        verifications: at least one.
        console: where to print.
    """
    print_table(console, Table(VERIFICATION, verifications))
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
        console: where to print.
    """
    print_table(console, Table(CALIBRATION, calibration["tried"]))
    print_line(
        console,
        f"int8 compared with float: ranges from {calibration['images']} training images, judged on "
        f"{calibration['judged_on']} others",
    )


def _most_changed(per_class: "Sequence[ClassChange]") -> str | None:
    """The class whose top-1 differs most from the checkpoint's, and by how many points."""
    if not per_class:
        return None
    changes = {row.label: 100 * (row.top1 - row.checkpoint_top1) for row in per_class}
    label = max(changes, key=lambda label: abs(changes[label]))
    return f"{label} {changes[label]:+.1f}"
