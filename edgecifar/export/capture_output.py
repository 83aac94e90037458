"""Keep what converters print off the user's screen."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def capture_output(log: Path) -> Iterator[None]:
    """Send everything that this process prints, C++ included, to a log file.

    Args:
        log: replaced.
    """
    with log.open("wb") as file:
        kept = os.dup(1), os.dup(2)
        try:
            _point_at(file.fileno(), file.fileno())
            yield
        finally:
            _point_at(*kept)
            for descriptor in kept:
                os.close(descriptor)


def _point_at(stdout: int, stderr: int) -> None:
    """Point the process's two output descriptors elsewhere, with nothing left in a buffer."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
