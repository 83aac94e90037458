"""A machine that workers run on: what every kind of it can do.

A worker talks in lines over its stdin and stdout, so one elsewhere is the same program behind
`ssh HOST python WORKER`. The runner stays here and the clock is in the worker: nothing crosses the
network while it times.
"""

import subprocess
from pathlib import Path
from typing import IO, Protocol

# A row is about CPU threads, and about as many as the runtime was told: numpy, which prepares the
# pixels, would wake one for every core, and they spin on while the runtime works.
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}


class Host(Protocol):
    """A machine that workers run on.

    Attributes:
        name: as in the results, "pi@raspberrypi" for example; None is this machine.
        removal: the command that removes what was copied to it; None where nothing was.
    """

    name: str | None
    removal: str | None

    def start(self, stderr: IO, python: str | None = None) -> subprocess.Popen:
        """Start a worker, in a session of its own: Ctrl-C is for the parent.

        Args:
            stderr: a file that keeps what it prints there.
            python: the interpreter, a path on the host; the host's own by default.

        Returns:
            The process, with pipes on stdin and stdout; see `edgecifar.bench.worker`. When its
            stdin closes the worker ends, at once or about a second later, whatever it does.
        """

    def send(self, path: Path) -> str:
        """Make a file available on the host.

        Returns:
            Its path there.

        Raises:
            UserError: it cannot be read here, or not be stored there.
        """

    def close(self) -> None:
        """Let go of the host, and of the workers that still run there."""


def popen(command: list[str], stderr: IO, **options: object) -> subprocess.Popen:
    """Start a process with pipes on stdin and stdout, in a session of its own."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
        **options,
    )
