"""A machine that workers run on: the protocol that every kind of host follows.

A worker reads and writes lines on its stdin and stdout, so a remote worker is the same program
behind `ssh HOST python WORKER`. The runner stays here, and the worker reads the clock: nothing
crosses the network while a block is timed.
"""

import subprocess
from pathlib import Path
from typing import IO, Any, Protocol

# A row is about CPU threads, and only about those of the runtime. Without these limits numpy, which
# prepares the pixels, starts a thread for every core, and they keep the cores busy afterwards.
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}


class Piped(subprocess.Popen[bytes]):
    """A process with pipes on its stdin and its stdout."""

    stdin: IO[bytes]
    stdout: IO[bytes]


class Host(Protocol):
    """A machine that workers run on.

    Attributes:
        name: as the results have it, "pi@raspberrypi" for example; None is this machine.
        removal: the command that removes what was copied to it; None where nothing was.
    """

    name: str | None
    removal: str | None

    def start(self, stderr: IO, python: str | None = None) -> Piped:
        """Start a worker, in a session of its own, so that only the parent gets Ctrl-C.

        Args:
            stderr: the file to which the worker's stderr goes.
            python: the interpreter, a path on the host; the host's own by default.

        Returns:
            The process, with pipes on stdin and stdout; see `edgecifar.bench.worker`. When its
            stdin closes, the worker ends at once or about a second later, even inside a command.
        """

    def send(self, path: Path) -> str:
        """Make a file available on the host, with those beside it that hold weights of it.

        Args:
            path: of the file, or of a SavedModel folder.

        Returns:
            Its path on the host.

        Raises:
            UserError: it cannot be read here, or cannot be stored on the host.
        """

    def close(self) -> None:
        """Release the host, and stop the workers that still run there."""


def popen(command: list[str], stderr: IO, **options: Any) -> Piped:
    """Start a process with pipes on stdin and stdout, in a session of its own."""
    return Piped(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
        **options,
    )
