"""What ended a worker, in words."""

import re
import signal

CRASHES = {
    "SIGABRT": "the runtime gave up",
    "SIGBUS": "the file may be damaged",
    "SIGFPE": "the file may be damaged",
    "SIGILL": "the runtime may be built for another processor",
    "SIGSEGV": "the file may be damaged",
}
# Exit statuses of a shell and of ssh: POSIX's "Exit Status for Commands", and ssh(1).
SIGNALLED = 128
CONNECTION_LOST = 255
# ssh's own last words, among what the runtime may have printed.
SSH_SAYS = re.compile(
    r"(ssh: |Connection |Timeout, |client_loop|mux_client|kex_|Read from remote|Host key |"
    r"\S+: Permission denied)"
)


def exit_reason(status: int, stderr: str) -> str:
    """What ended a worker, here or on another machine.

    Args:
        status: of its `Popen`: negative is the signal that ended it; over ssh that is 128 and the
            signal, and 255 the end of the connection.
        stderr: the end of what it printed there.

    Returns:
        One line, as the row will show it.
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if status == CONNECTION_LOST:
        said = [line for line in lines if SSH_SAYS.match(line)]
        return "lost the connection to its host" + (f": {said[-1]}" if said else "")
    number = -status if status < 0 else status - SIGNALLED
    if number in set(signal.Signals):
        name = signal.Signals(number).name
        if name in CRASHES:
            return f"crashed ({name}): {CRASHES[name]}"
        if name == "SIGKILL":
            return f"was killed ({name}), for want of memory perhaps"
        return f"was ended ({name})"
    return f"ended with status {status}: {lines[-1] if lines else 'it said nothing'}"
