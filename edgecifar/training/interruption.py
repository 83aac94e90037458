"""Ctrl-C in a training, between its steps."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import ParamSpec

from edgecifar.progress import ShowProgress, Update

Given = ParamSpec("Given")


@contextlib.contextmanager
def between_steps(progress: ShowProgress) -> Iterator[ShowProgress]:
    """Let Ctrl-C take effect when the next step reports its progress.

    A KeyboardInterrupt that is raised wherever the signal happens to arrive can be lost: from the
    callback of a weak reference, Python prints it and continues. A second Ctrl-C does not wait.

    Args:
        progress: shows a bar for each job.

    Yields:
        The same, whose updates raise KeyboardInterrupt once Ctrl-C has been pressed.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield progress
        return
    pressed = False

    def press(number: int, frame: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    def stopping(update: Callable[Given, None]) -> Callable[Given, None]:
        def update_or_stop(*args: Given.args, **kwargs: Given.kwargs) -> None:
            update(*args, **kwargs)
            if pressed:
                raise KeyboardInterrupt

        return update_or_stop

    @contextlib.contextmanager
    def interruptible(label: str, total: float | None, *unit: str) -> Iterator[Update]:
        with progress(label, total, *unit) as update:
            yield stopping(update)

    signal.signal(signal.SIGINT, press)
    try:
        yield interruptible
        if pressed:
            raise KeyboardInterrupt
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
