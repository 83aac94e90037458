"""Shows the runtimes: which are installed, which files they open, how to get the others."""

from collections.abc import Sequence
from operator import attrgetter

from rich.console import Console

from edgecifar.report.tables import Column, Table, print_table
from edgecifar.runtimes import Runtime, environments


def _where(runtime: Runtime) -> str | None:
    """The interpreter that has it; "here" is this one."""
    if not environments.installed(runtime):
        return None
    return str(environments.python_of(runtime) or "here")


def _version(runtime: Runtime) -> str | None:
    return (environments.version_of(runtime) or "unknown") if _where(runtime) else None


COLUMNS: tuple[Column[Runtime], ...] = (
    Column("runtime", attrgetter("name")),
    Column("version", _version, left=True),
    Column("where", _where, left=True, priority=1),
    Column("opens", attrgetter("suffixes"), " ".join, left=True),
    Column("get it with", attrgetter("get"), left=True, fold=24),
)


def runtime_table(runtimes: Sequence[Runtime], console: Console, wide: bool = False) -> None:
    """Print the runtimes, a row each.

    Args:
        runtimes: in their order.
        console: where to print.
        wide: show every column, however narrow the terminal is.
    """
    print_table(console, Table(COLUMNS, runtimes), wide)
