"""Starts a worker process, and sends commands to it."""

import contextlib
import json
import logging
import os
import tempfile
import threading

from edgecifar.bench.hosts.exits import exit_reason
from edgecifar.bench.hosts.host import Host

log = logging.getLogger(__name__)
# The most of a worker's stderr that is logged at once: a runtime may print any amount.
LOGGED_BYTES = 1 << 16


class WorkerFailed(Exception):
    """Why a row could not be measured, in one line."""


class WorkerProcess:
    """A worker process; see `edgecifar.bench.worker`.

    Attributes:
        pid: of the process here; for a host over ssh it is the `ssh`.
    """

    def __init__(self, host: Host, python: str | None = None) -> None:
        """Start it.

        Args:
            host: where to start it.
            python: an interpreter there that has the runtime; the host's own by default.
        """
        self._host = host
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - as long-lived as the process
        self._logged = 0
        self._process = host.start(self._stderr, python)
        self.pid = self._process.pid

    def ask(self, do: str, timeout_s: float, **arguments: object) -> dict:
        """Give a command and wait for the reply.

        Args:
            do: name of a method of `worker.commands.Worker`.
            timeout_s: the worker is killed when it takes longer, seconds.
            arguments: of that method, as JSON values.

        Returns:
            The reply, JSON values.

        Raises:
            WorkerFailed: the worker refused, crashed, or took too long.
        """
        timed_out = threading.Event()

        def expire() -> None:
            timed_out.set()
            self._process.kill()

        watchdog = threading.Timer(timeout_s, expire)
        watchdog.daemon = True
        watchdog.start()
        try:
            answer = self._exchange(json.dumps({"do": do, **arguments}))
        finally:
            watchdog.cancel()
        if timed_out.is_set():
            self._process.wait()
            self._log_stderr(do)
            raise WorkerFailed(f"gave no answer to `{do}` within {timeout_s:g} s, and was stopped")
        if not answer.endswith(b"\n"):
            raise WorkerFailed(self._reason(do))
        reply = json.loads(answer)
        if "error" in reply:
            self._log_stderr(do)
            raise WorkerFailed(reply["error"])
        return reply

    def close(self) -> None:
        """Stop the worker, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._stderr.close()

    def _exchange(self, command: str) -> bytes:
        """Send a line and read one; an empty or incomplete line means that the worker has ended."""
        try:
            self._process.stdin.write(command.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return b""
        return self._process.stdout.readline()

    def _reason(self, do: str) -> str:
        """Why the worker ended during a command."""
        status = self._process.wait()
        self._log_stderr(do)
        self._stderr.seek(0)
        printed = self._stderr.read().decode(errors="replace")
        return f"{exit_reason(status, printed)} (in `{do}`)"

    def _log_stderr(self, do: str) -> None:
        """Log what the worker has printed since the last time, the traceback of an error too."""
        if not log.isEnabledFor(logging.DEBUG):
            return
        # Not `seek` and `read`: the worker writes at the same place in the file.
        descriptor = self._stderr.fileno()
        size = os.fstat(descriptor).st_size
        begin = max(self._logged, size - LOGGED_BYTES)
        said = os.pread(descriptor, size - begin, begin).decode(errors="replace").rstrip()
        self._logged = size
        if said:
            log.debug("stderr of the worker (in `%s`):\n%s", do, said)
