import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import edgecifar
from edgecifar.report.progress import activity, amount, on_stderr, progress_bar


def drawn(
    unit: str,
    total: float,
    steps: list[float],
    terminal: bool = True,
    label: str = "training, epoch 1",
) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=terminal)
    with progress_bar("training", total, unit, console=console) as update:
        for done in steps:
            update(done, label=label)
    return console.file.getvalue()


def test_a_bar_shows_amount_and_rate_with_its_unit():
    text = drawn("images", 5_000, [1_000, 2_500])
    assert "training, epoch 1" in text
    assert "2,500/5,000" in text
    assert "images/s" in text


def test_a_label_cannot_steer_the_terminal():
    text = drawn("images", 10, [5], label="\x1b]0;title\x07[red]")
    assert r"\x1b]0;title\x07[red]" in text
    console = Console(file=io.StringIO(), width=100)
    with activity("opening \x1b[31m[red]", console):
        pass
    assert console.file.getvalue().startswith(r"opening \x1b[31m[red]: 0.0 s")
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with activity("opening \x07[red]", console):
        pass
    assert r"opening \x07[red]" in console.file.getvalue()


def test_bytes_are_shown_as_megabytes():
    assert amount(139_000_000, "bytes") == "139.0 MB"
    text = drawn("bytes", 139_000_000, [1_000_000, 70_000_000])
    assert "70.0 MB/139.0 MB" in text
    assert "MB/s" in text


def test_an_unknown_total_is_a_question_mark():
    assert "7/?" in drawn("images", None, [7])


def test_nothing_is_written_where_there_is_no_terminal():
    assert drawn("images", 10, [5, 10], terminal=False) == ""


def test_on_stderr_names_the_jobs_of_unknown_length_and_no_downloads(capfd):
    with on_stderr() as show:
        with show("opening", None):
            pass
        with show("CIFAR-10", None, "bytes") as update:
            update(1, total=2)
        with show("verifying", 10) as update:
            update(10)
    assert re.fullmatch(r"opening: \d\.\d s\n", capfd.readouterr().err)


@pytest.mark.parametrize("total", [None, 10])
def test_what_something_else_catches_is_not_shown_on_a_terminal(total, tmp_path):
    """Converters print pages; on a terminal, rich would take them from the log to the screen."""
    program = f"""
import sys, warnings
from pathlib import Path
from edgecifar.export.capture_output import capture_output
import edgecifar
from edgecifar.report.progress import on_stderr
with on_stderr() as show, capture_output(Path("log")):
    with show("converting", {total}):
        print("applying transformations")
        warnings.warn("deprecated")
with on_stderr() as show, show("training", {total}):
    print("epoch 1")
"""
    leader, follower = os.openpty()
    environment = os.environ | {
        "PYTHONPATH": str(Path(edgecifar.__file__).parents[1]),
        "TERM": "xterm",
    }
    with os.fdopen(leader, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            **dict.fromkeys(("stdin", "stdout", "stderr"), follower),
            cwd=tmp_path,
            env=environment,
        )
        os.close(follower)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while part := screen.read(65536):
                shown += part
        assert process.wait() == 0
    assert b"converting" in shown
    assert b"epoch 1" in shown
    assert b"transformations" not in shown
    assert b"deprecated" not in shown
    log = (tmp_path / "log").read_text()
    assert "applying transformations" in log
    assert "UserWarning: deprecated" in log
