"""Ctrl-C in a training, between its steps."""

import contextlib
import signal
import threading
from collections.abc import Iterator

from edgecifar.progress import ShowProgress, Update


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

    @contextlib.contextmanager
    def interruptible(*job: object, **unit: str) -> Iterator[Update]:
        with progress(*job, **unit) as update:

            def update_or_stop(*done: object, **changed: object) -> None:
                update(*done, **changed)
                if pressed:
                    raise KeyboardInterrupt

            yield update_or_stop

    signal.signal(signal.SIGINT, press)
    try:
        yield interruptible
        if pressed:
            raise KeyboardInterrupt
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
