"""Progress bars: on stderr, on a terminal only."""

import contextlib
import os
import sys
from collections.abc import Iterator
from time import monotonic
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.spinner import Spinner
from rich.text import Text

from edgecifar.errors import escaped
from edgecifar.progress import BYTES, IMAGES, ShowProgress, Update, ignore
from edgecifar.report.tables import print_line
from edgecifar.report.terminal import READABLY

REDRAW_S = 0.1


def stdout_console() -> Console:
    """For results."""
    return Console()


def stderr_console(stderr: TextIO | None = None) -> Console:
    """For progress, notes and errors.

    Args:
        stderr: where it really is, while something else catches what is printed to it.
    """
    return Console(file=stderr, stderr=True)


@contextlib.contextmanager
def on_stderr() -> Iterator[ShowProgress]:
    """Show progress on stderr as it is now, even while something else catches what goes there.

    Jobs of an unknown length are named, and the others get a bar. A download learns its length
    when it has begun, and gets a bar too.
    """
    encoding = getattr(sys.stderr, "encoding", None)
    with os.fdopen(os.dup(2), "w", encoding=encoding, errors=READABLY) as screen:
        console = stderr_console(screen)

        def show(
            label: str, total: float | None, unit: str = IMAGES
        ) -> contextlib.AbstractContextManager[Update]:
            print_above = os.path.sameopenfile(screen.fileno(), 2)
            if total or unit == BYTES:
                return progress_bar(label, total, unit, console, print_above)
            return activity(label, console, print_above)

        yield show


@contextlib.contextmanager
def activity(label: str, console: Console, print_above: bool = True) -> Iterator[Update]:
    """Show that a job without a count is running, and then how long it took.

    Args:
        label: what is being done.
        console: where to print.
        print_above: see `progress_bar`.
    """
    started = monotonic()
    look = "line" if console.options.ascii_only else "dots"
    spinner = Live(
        Spinner(look, Text(escaped(label)), style="status.spinner"),
        console=console,
        refresh_per_second=12.5,
        transient=True,
        redirect_stdout=print_above,
        redirect_stderr=print_above,
    )
    with spinner if console.is_terminal else contextlib.nullcontext():
        yield ignore
    if not console.is_terminal:
        print_line(console, f"{label}: {monotonic() - started:.1f} s")


@contextlib.contextmanager
def progress_bar(
    label: str,
    total: float | None,
    unit: str = IMAGES,
    console: Console | None = None,
    print_above: bool = True,
) -> Iterator[Update]:
    """Show a bar for one job: label, bar, done of total, rate, time left.

    It is drawn only inside calls of the update, with no thread of its own, so that it takes no
    time from what is measured between them.

    Args:
        label: what is being done.
        total: how much there is to do, None when unknown.
        unit: what is counted, "images" for example; "bytes" are shown as MB.
        console: stderr by default; nothing is shown where it is not a terminal.
        print_above: show above the bar what is printed meanwhile. False while something else
            catches what is printed: rich would take it from there and show it on the screen.

    Yields:
        `update(done, total=None, label=None)`: how much is done now, and what has changed.
    """
    console = console or stderr_console()
    if not console.is_terminal:
        yield ignore
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        AmountColumn(unit),
        RateColumn(unit),
        TimeRemainingColumn(),
        console=console,
        auto_refresh=False,
        transient=True,
        # Else what goes to a file or a pipe would be shown above the bar instead.
        redirect_stdout=print_above and sys.stdout.isatty(),
        redirect_stderr=print_above,
        expand=True,
    )
    with bar:
        task = bar.add_task(escaped(label), total=total)
        bar.refresh()
        drawn = monotonic()

        def update(done: float, total: float | None = None, label: str | None = None) -> None:
            nonlocal drawn
            shown = None if label is None else escaped(label)
            bar.update(task, completed=done, total=total, description=shown)
            if label is not None or monotonic() - drawn > REDRAW_S:
                bar.refresh()
                drawn = monotonic()

        yield update


class AmountColumn(ProgressColumn):
    """Done of total, `2,500/10,000`."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        total = "?" if task.total is None else amount(task.total, self._unit)
        return Text(f"{amount(task.completed, self._unit)}/{total}")


class RateColumn(ProgressColumn):
    """How fast, `1,250 images/s`."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        shown_unit = "" if self._unit == BYTES else f" {self._unit}"
        return Text(f"{amount(speed, self._unit)}{shown_unit}/s")


def amount(count: float, unit: str) -> str:
    """A count for people: bytes in MB, anything else whole with commas between the thousands."""
    return f"{count / 1e6:.1f} MB" if unit == BYTES else f"{count:,.0f}"
