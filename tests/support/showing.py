"""A progress callback from a function of what is being done and how much is done."""

import contextlib
from collections.abc import Callable

from edgecifar.progress import ShowProgress


def showing(report: Callable[[str, float], None]) -> ShowProgress:
    """Call `report` with the label and the amount at each update of the one job."""

    @contextlib.contextmanager
    def show(job, total):
        yield lambda done, total=None, label=job: report(label, done)

    return show
