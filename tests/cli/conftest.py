"""Command lines in this process and in one of their own, and what they work on."""

import hashlib
import os
import pty
import re
import subprocess
import sys
import termios

import pytest
import tiny_models

from edgecifar import cli
from edgecifar.data import cifar10


@pytest.fixture
def edgecifar(monkeypatch, capfd):
    """Runs a command line in this process: (exit code, stdout, stderr)."""

    def edgecifar(*arguments):
        monkeypatch.setattr(sys, "argv", ["edgecifar", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capfd.readouterr()
        return end.value.code, said.out, said.err

    return edgecifar


@pytest.fixture
def refused(edgecifar):
    """Runs a command line that must end in one line on stderr and exit code 2; gives the line."""

    def refused(*arguments):
        code, out, err = edgecifar(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert err.startswith("edgecifar: ")
        assert "Traceback" not in err
        return err

    return refused


@pytest.fixture
def start(session_cache):
    """Starts a command line in a process of its own."""
    started = []
    # Keras, imported by other tests, has TensorFlow log more than it does for a user.
    unlike_a_user = ("TF_CPP_MIN_LOG_LEVEL", "COLUMNS", "NO_COLOR", "FORCE_COLOR")
    inherited = {k: v for k, v in os.environ.items() if k not in unlike_a_user}

    def start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **environment):
        process = subprocess.Popen(
            [sys.executable, "-m", "edgecifar", *map(str, arguments)],
            stdout=stdout,
            stderr=stderr,
            encoding=environment.get("PYTHONIOENCODING", "utf-8"),
            env=inherited | {key: str(value) for key, value in environment.items()},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def terminal(start):
    """Runs a command line on a terminal: (exit code, all that it wrote)."""

    def terminal(width, *arguments, **environment):
        reading, writing = pty.openpty()
        termios.tcsetwinsize(writing, (50, width))
        process = start(*arguments, stdout=writing, stderr=writing, TERM="xterm", **environment)
        os.close(writing)
        received = b""
        try:
            while part := os.read(reading, 1 << 16):
                received += part
        except OSError:  # how Linux says that nobody holds the other end any more
            pass
        os.close(reading)
        return process.wait(), received.decode(environment.get("PYTHONIOENCODING", "utf-8"))

    return terminal


@pytest.fixture
def screen(terminal):
    """Runs a command line on a terminal: (exit code, lines without styles)."""

    def screen(width, *arguments, **environment):
        code, text = terminal(width, *arguments, **environment)
        return code, re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text).splitlines()

    return screen


@pytest.fixture
def tiny_tflite(tmp_path):
    return tiny_models.write_tflite(tmp_path / "tiny.tflite")


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A cache of six small files that are taken for the official ones."""
    cache = tmp_path / "cache"
    cache.mkdir()
    content = bytes(range(10)) + bytes(10 * cifar10.RECORD_BYTES - 10)
    for name in cifar10.SHA256:
        (cache / name).write_bytes(content)
    hashes = dict.fromkeys(cifar10.SHA256, hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(cifar10, "SHA256", hashes)
    monkeypatch.setattr(cifar10, "FILE_BYTES", len(content))
    monkeypatch.setenv("EDGECIFAR_CACHE", str(cache))
    return cache
