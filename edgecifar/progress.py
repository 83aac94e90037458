"""The one kind of progress callback: how long work shows what it does to whoever asked for it."""

import contextlib
from collections.abc import Iterator
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


IMAGES, BYTES, PERCENT = "images", "bytes", "%"


class ShowProgress(Protocol):
    """Shows the progress of jobs."""

    def __call__(
        self, label: str, total: float | None, unit: str = IMAGES, /
    ) -> contextlib.AbstractContextManager[Update]:
        """Begin a job.

        Args:
            label: what is being done.
            total: how much there is to do; None where that is not known.
            unit: what is counted.

        Returns:
            A context for the job, which yields its `Update`.
        """


@contextlib.contextmanager
def silent(label: str, total: float | None, unit: str = IMAGES) -> Iterator[Update]:
    """Show nothing."""
    yield ignore


def as_whole_of(update: Update, total: float) -> ShowProgress:
    """Show one job as the whole of another job, which is shown already.

    Args:
        update: of the job that is shown.
        total: of that job, in its own unit.
    """

    @contextlib.contextmanager
    def show(label: str, job_total: float | None, unit: str = IMAGES) -> Iterator[Update]:
        scale = total / job_total if job_total else 0.0

        def scaled(done: float, total: float | None = None, label: str | None = None) -> None:
            update(done * scale, label=label)

        yield scaled

    return show


def ignore_event(event: object) -> None:
    """A callback that is given something that happened, and shows nothing."""


def ignore(done: float, total: float | None = None, label: str | None = None) -> None:
    """A progress callback that shows nothing."""
