"""The parent's end of a worker process: what it logs of the worker's stderr."""

import logging
import sys

import pytest

from edgecifar.bench.hosts import process
from edgecifar.bench.hosts.host import popen
from edgecifar.bench.hosts.process import WorkerFailed, WorkerProcess


class Program:
    """A host whose worker is a few lines of Python."""

    name = None
    removal = None

    def __init__(self, text):
        self.text = "import sys, time\n" + text

    def start(self, stderr, python=None):
        return popen([sys.executable, "-c", self.text], stderr)


ANSWERS_WITH_ERRORS = """
for number, line in enumerate(sys.stdin):
    print("words", number, file=sys.stderr, flush=True)
    print('{"error": "no"}', flush=True)
"""
DIES = """
sys.stdin.readline()
sys.exit("last words")
"""
HANGS = """
print("still here", file=sys.stderr, flush=True)
time.sleep(600)
"""


@pytest.fixture
def failures(caplog):
    """Asks a worker, which fails each time; gives what was logged each time."""

    def failures(text, times=1, timeout_s=60.0, level=logging.DEBUG):
        logged = []
        worker = WorkerProcess(Program(text))
        with caplog.at_level(level, logger="edgecifar"):
            for _ in range(times):
                caplog.clear()
                with pytest.raises(WorkerFailed):
                    worker.ask("load", timeout_s)
                logged.append(caplog.messages)
        worker.close()
        return logged

    return failures


def test_an_error_logs_what_the_worker_printed_since_the_last_one(failures):
    head = "stderr of the worker (in `load`):\n"
    assert failures(ANSWERS_WITH_ERRORS, times=2) == [[head + "words 0"], [head + "words 1"]]


def test_a_worker_that_dies_leaves_its_last_words(failures):
    assert failures(DIES) == [["stderr of the worker (in `load`):\nlast words"]]


@pytest.mark.timing
def test_a_worker_that_hangs_leaves_what_it_printed(failures):
    assert failures(HANGS, timeout_s=5.0) == [["stderr of the worker (in `load`):\nstill here"]]


def test_no_more_than_the_end_is_read(failures, monkeypatch):
    monkeypatch.setattr(process, "LOGGED_BYTES", 6)
    assert failures(DIES) == [["stderr of the worker (in `load`):\nwords"]]


def test_nothing_is_logged_without_debug(failures):
    assert failures(DIES, level=logging.INFO) == [[]]
