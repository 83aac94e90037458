"""The one kind of progress callback: how long work shows what it does to whoever asked for it."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol


class Update(Protocol):
    """Takes how much of a job is done now."""

    def __call__(self, done: float, total: float | None = None, label: str | None = None) -> None:
        """Show it.

        Args:
            done: in the job's own unit.
            total: of the job, where that has changed.
            label: what is being done, where that has changed.
        """


# Begins a job, `(label, total) -> context that yields an Update`; a total of None is unknown.
ShowProgress = Callable[[str, float | None], contextlib.AbstractContextManager[Update]]


@contextlib.contextmanager
def silent(label: str, total: float | None) -> Iterator[Update]:
    """Show nothing."""
    yield ignore


def ignore(done: float, total: float | None = None, label: str | None = None) -> None:
    """Take a progress that nobody asked for."""
