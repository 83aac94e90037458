"""Why a worker ended, in words."""

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
# Messages of ssh itself, which may stand among what the runtime has printed.
SSH_SAYS = re.compile(
    r"(ssh: |Connection |Timeout, |client_loop|mux_client|kex_|Read from remote|Host key |"
    r"\S+: Permission denied)"
)


def exit_reason(status: int, stderr: str) -> str:
    """Why a worker ended, here or on another machine.

    Args:
        status: of its `Popen`. Negative is the signal that ended it; over ssh that is 128 plus the
            signal, and 255 means that the connection ended.
        stderr: the end of what it printed to stderr.

    Returns:
        One line for the row.
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
            return f"was killed ({name}), perhaps because memory ran out"
        return f"was ended ({name})"
    return f"ended with status {status}: {lines[-1] if lines else 'it printed nothing'}"
