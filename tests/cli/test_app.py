"""The command itself: its help, the options before a command, and how it fails."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer
from bad_files import truncated_tflite

from edgecifar import __version__
from edgecifar.cli.app import app
from edgecifar.runtimes.normalization import NAMED


def commands(group: typer.core.TyperGroup, before: tuple[str, ...] = ()) -> Iterator[str]:
    """The commands of a group and of the groups in it, as they are typed."""
    for name, command in group.commands.items():
        words = (*before, name)
        if command.callback:
            yield " ".join(words)
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, words)


# As the script of the package does; completion goes by the name of the program.
COMMAND = "import sys; sys.argv[0] = 'edgecifar'; from edgecifar.cli import main; main()"
COMMANDS = list(commands(typer.main.get_command(app)))


def completed(*words: str) -> list[str]:
    """What bash offers for the last word."""
    environment = {
        "_EDGECIFAR_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["edgecifar", *words]),
        "COMP_CWORD": str(len(words)),
    }
    run = subprocess.run(
        [sys.executable, "-c", COMMAND],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stderr == ""
    return run.stdout.split()


def test_the_commands_are_all_there():
    assert {"train", "bench", "report", "doctor", "data verify", "runtimes install"} < set(COMMANDS)
    assert "data" not in COMMANDS


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["rep"], ["report"]),
        (["data", "v"], ["verify"]),
        (["train", "mobilenetv2-"], ["mobilenetv2-frozen", "mobilenetv2-staged"]),
        (["recipes", "resnet-"], ["resnet-wide"]),
        (["report", "--ti"], ["--title"]),
    ],
)
def test_the_shell_completes(typed, offered):
    assert sorted(completed(*typed)) == offered


def test_colors_are_for_terminals_whose_user_wants_them(terminal, edgecifar):
    color = re.compile(r"\x1b\[[\d;]*3\d")
    assert color.search(terminal(80, "--help")[1])
    assert not color.search(terminal(80, "--help", NO_COLOR="1")[1])
    assert "\x1b" not in edgecifar("--help")[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples_of_the_command(edgecifar, command):
    code, out, err = edgecifar(*command.split(), "--help")
    assert code == 0
    assert err == ""
    assert "Examples" in out
    assert out.count(f"edgecifar {command}") >= 2


@pytest.mark.parametrize("command", ["bench", "export"])
def test_help_names_every_normalization(edgecifar, command):
    _, out, _ = edgecifar(command, "--help")
    words = re.findall(r"[\w-]+", out)
    assert {name for name in NAMED if name not in words} == set()


def test_help_lists_every_command(edgecifar):
    code, out, _ = edgecifar("--help")
    assert code == 0
    for command in COMMANDS:
        assert re.search(rf"^\W*{command.split()[0]}\s", out, re.M)


def test_saying_nothing_shows_the_help_and_no_more(edgecifar):
    code, out, err = edgecifar()
    assert code == 2
    assert "Commands" in out
    assert err == ""


def test_a_wrong_command_is_one_line(refused):
    assert "nonsense" in refused("nonsense")


def test_the_version_is_printed(edgecifar):
    assert edgecifar("--version") == (0, f"edgecifar {__version__}\n", "")


@pytest.mark.parametrize(
    ("command", "panels"),
    [
        ("bench", ["What to measure", "Accuracy", "Timing", "Machines", "Gates", "Output"]),
        ("train", ["Recipe", "Machine", "Compress a finished run", "Continue a run", "Output"]),
        ("export", ["Files", "Quantization", "Checkpoints not made by edgecifar", "Output"]),
        ("check", ["Gates"]),
        ("predict", ["Model", "Pictures", "Camera", "Output"]),
    ],
)
def test_help_groups_the_options(edgecifar, command, panels):
    _, out, _ = edgecifar(command, "--help")
    titles = re.findall(r"^╭─ (.+?) ─+╮$", out, re.MULTILINE)
    assert set(panels) <= set(titles)
    options = out.partition("─ Options ")[2].partition("╰")[0]
    assert [word for word in options.split() if word.startswith("--")] == ["--help"]


def test_debug_shows_the_traceback_before_the_line(start, tmp_path):
    path = tmp_path / "missing\x1b[2J.tflite"
    process = start("--debug", "info", path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert "Traceback (most recent call last):" in err
    assert "FileNotFoundError" in err
    assert err.splitlines()[-1].startswith("edgecifar: ")
    assert err.replace("\n", "").isprintable()


def test_debug_shows_what_a_worker_printed_when_it_failed(start, tmp_path):
    process = start(
        "--debug", "bench", truncated_tflite(tmp_path), "--runtime", "litert", "--samples", 10
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    workers, own = err.split("full traceback:")
    assert "stderr of the worker (in `load`):\nTraceback (most recent call last):" in workers
    assert "edgecifar/bench/worker/commands.py" in workers
    assert "refuse_unmeasured" in own


def test_debug_changes_nothing_where_nothing_fails(start):
    process = start("--debug", "recipes", "quick")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["name"] == "quick"
