"""Runs on the other machine for `hosts.ssh.Ssh`; it needs Python 3.10 there, and no package.

The source of this module is sent over the connection, so that `receive` and `make_environment`
work before any file has been copied. `main` runs from the archive, around the worker.
"""

import contextlib
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

CHUNK_BYTES = 1 << 20
PARTIAL_PREFIX = ".partial-"
STALE_S = 24 * 3600.0
# A worker that waits for a command ends by itself when its stdin ends, and cleans up.
GRACE_S = 1.0
INSTALLED = "edgecifar.json"
POLL_CLOSED = getattr(select, "POLLRDHUP", 0)  # Linux; elsewhere POLLHUP, which is always polled


def say(**reply: object) -> None:
    """Print a JSON object as one line on stdout."""
    print(json.dumps(reply), flush=True)


def receive(path: str, sha256: str) -> None:
    """Store the bytes of stdin as a file, whole or not at all.

    Prints `there`: whether the file is there already with the right content; if so, it reads
    nothing. Then prints `error`: why the file could not be stored, or None.

    Args:
        path: of the file; its folder is made.
        sha256: of its bytes, in hexadecimal.
    """
    file = Path(path)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _clear_leftovers(file.parent)
        there = file.is_file() and _sha256(file) == sha256
        say(there=there)
        if not there:
            _store(file, sha256)
    except OSError as error:
        say(error=error.strerror)
    except ValueError as error:
        say(error=str(error))
    else:
        say(error=None)


def make_environment(folder: str, packages: list[str], log: str) -> None:
    """Make a virtual environment of this Python and install packages, unless it is there.

    Prints each `line` of pip's output, and at the end `error`: why it failed, or None.

    Args:
        folder: of the environment; replaced unless it works and was made with these packages.
        packages: as pip takes them.
        log: the file that gets everything that is printed.
    """
    done = Path(folder, INSTALLED)
    python = str(Path(folder, "bin", "python"))
    works = [python, "-c", "import numpy"]
    with contextlib.suppress(OSError, ValueError):
        same = json.loads(done.read_text()) == packages
        if same and subprocess.run(works, capture_output=True, check=False).returncode == 0:
            return say(error=None)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    commands = (
        [sys.executable, "-m", "venv", "--clear", folder],
        [*pip, "--progress-bar", "off", *packages],
    )
    # Line by line, so that the log is complete when an error is reported.
    with Path(log).open("w", buffering=1) as file:
        for command in commands:
            if error := _run(command, file):
                return say(error=error)
    done.write_text(json.dumps(packages))
    return say(error=None)


def main() -> None:
    """Run the worker, and end it when the connection ends, even inside an endless inference.

    When the connection or the parent at its other end ends, this machine only sees that stdin ends,
    and a
    worker that computes does not read stdin. So this process sleeps until stdin or the worker
    ends, which takes no time from the worker.

    Exits with the worker's status, or with 128 plus its signal: OpenSSH does not pass a signal on.
    """
    ended, held = os.pipe()  # the system closes `held` when the worker ends, in whatever way
    worker = os.fork()
    if worker == 0:
        os.close(ended)
        from edgecifar.bench.worker.commands import main as work

        work()
        return
    os.close(held)
    either = select.poll()
    either.register(0, POLL_CLOSED)
    either.register(ended, 0)
    if ended not in dict(either.poll()) and not select.select([ended], [], [], GRACE_S)[0]:
        os.kill(worker, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    sys.exit(status if status >= 0 else 128 - status)


def _store(file: Path, sha256: str) -> None:
    """Write stdin to a temporary file, and rename it when its checksum is right.

    Raises:
        ValueError: the checksum is wrong.
    """
    digest = hashlib.sha256()
    descriptor, partial = tempfile.mkstemp(prefix=PARTIAL_PREFIX, dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as output:
            while chunk := sys.stdin.buffer.read(CHUNK_BYTES):
                digest.update(chunk)
                output.write(chunk)
            output.flush()
            os.fsync(descriptor)
        if digest.hexdigest() != sha256:
            raise ValueError("it arrived damaged")
        Path(partial).replace(file)
    finally:
        Path(partial).unlink(missing_ok=True)


def _clear_leftovers(folder: Path) -> None:
    """Remove the old files of transfers that a power cut stopped; a running one is younger."""
    for partial in folder.glob(PARTIAL_PREFIX + "*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > STALE_S:
                partial.unlink()


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _run(command: list[str], log: TextIO) -> str | None:
    """Run a program and say each line it prints; its last line, or what to do, when it fails."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        log.write(line)
        if line.strip():
            lines.append(line.strip())
            say(line=lines[-1])
    if process.wait() == 0:
        return None
    if any("ensurepip is not available" in line for line in lines):
        return "its Python comes without venv: install python3-venv there"
    # After the error pip may print other notes.
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    return errors[-1] if errors else f"{command[0]} ended with status {process.returncode}"


if __name__ == "__main__":
    main()
