"""Shows the files of the cache."""

from collections.abc import Sequence
from operator import itemgetter

from rich.console import Console

from edgecifar.report.cells import count
from edgecifar.report.tables import Column, Table, print_table

COLUMNS: tuple[Column[dict], ...] = (
    Column("file", itemgetter("name")),
    Column("state", itemgetter("state"), left=True, fold=10),
    Column("bytes", lambda row: row["bytes"] or 0, count),
)


def cache_table(files: Sequence[dict], console: Console) -> None:
    """Print the files of the cache, a row each.

    Args:
        files: `name`, `state` and `bytes` of each, see `edgecifar.data.sources.info`.
        console: where to print.
    """
    print_table(console, Table(COLUMNS, files))
