"""New images of a folder, classified as they come."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgecifar.errors import UserError
from edgecifar.predict.pictures import Picture, is_image_name
from edgecifar.predict.prediction import Prediction

POLL_S = 0.25
# A file that has not changed for so long and cannot be read is damaged, not half written.
SETTLED_S = 2.0
# A large folder is looked at less often: at most this share of the time is spent on that.
LARGEST_SHARE = 0.2

# Modification time in nanoseconds and size.
Signature = tuple[int, int]


def watch(
    folder: Path,
    classify: Callable[[Picture], Prediction],
    poll_s: float = POLL_S,
    settled_s: float = SETTLED_S,
) -> Iterator[Prediction]:
    """Classify each image that is written into a folder from now on.

    A file is read when it has stayed the same between two looks at the folder. One that is half
    written cannot be read yet, and is tried again. A file that is replaced later counts as new.
    Hidden files, files of other kinds and folders inside are left out.

    Args:
        folder: which.
        classify: reads and classifies one picture.
        poll_s: time between two looks.
        settled_s: how long a file that cannot be read must stay the same until it is given up.

    Returns:
        An iterator without an end; one with an error is of a file that was given up. It raises
        UserError when the folder cannot be read any more.

    Raises:
        UserError: the folder cannot be read.
    """
    return _arrivals(folder, _look(folder), classify, poll_s, settled_s)


def _arrivals(
    folder: Path,
    known: dict[str, Signature],
    classify: Callable[[Picture], Prediction],
    poll_s: float,
    settled_s: float,
) -> Iterator[Prediction]:
    waiting: dict[str, tuple[Signature, float]] = {}
    while True:
        began = time.monotonic()
        there = _look(folder)
        took_s = time.monotonic() - began
        known = {name: known[name] for name in there if name in known}
        waiting = {name: waiting[name] for name in there if name in waiting}
        for name in sorted(there):
            signature = there[name]
            if known.get(name) == signature:
                continue
            seen, since = waiting.setdefault(name, (signature, began))
            if seen != signature:
                waiting[name] = (signature, began)
            elif since < began:
                prediction = classify(Picture(str(folder / name), folder / name))
                is_settled = time.monotonic() - since >= settled_s
                if is_settled or not prediction.error:
                    known[name] = signature
                    del waiting[name]
                    yield prediction
        time.sleep(max(poll_s, took_s / LARGEST_SHARE))


def _look(folder: Path) -> dict[str, Signature]:
    """The image files in a folder, and what changes when they are written."""
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not is_image_name(entry.name):
                    continue
                try:
                    if entry.is_file():
                        state = entry.stat()
                        found[entry.name] = (state.st_mtime_ns, state.st_size)
                except OSError:  # removed meanwhile
                    continue
    except OSError as error:
        raise UserError(f"{folder}: cannot be watched: {error.strerror}") from error
    return found
