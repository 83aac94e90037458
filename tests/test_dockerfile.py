"""The Dockerfile builds what the project is today; without Docker, from its text."""

import json
import platform
import re
import shlex
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

from edgecifar.cli.app import app

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text("utf-8")
PAGE = (ROOT / "docs" / "raspberry-pi.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# The Python of the Debian releases that the image can be built on.
PYTHON_OF = {"bookworm": "3.11", "trixie": "3.13"}


def instructions(word: str) -> list[str]:
    """The arguments of each instruction with that name, its lines joined."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.M))
    return re.findall(rf"^{word} (.*)$", joined, re.M)


def copied() -> list[str]:
    """What is copied from the repository."""
    copies = [shlex.split(line) for line in instructions("COPY") if not line.startswith("--from")]
    return [source for words in copies for source in words[:-1]]


def admitted() -> list[str]:
    """What .dockerignore lets through."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def test_its_debian_has_a_python_that_the_project_takes():
    (base,) = instructions("ARG")
    release = re.fullmatch(r"BASE=debian:(\w+)-slim", base)[1]
    supported = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    assert PYTHON_OF[release] in supported
    assert f"{release.capitalize()} (Python {PYTHON_OF[release]})" in " ".join(PAGE.split())


def test_it_copies_what_exists_and_what_dockerignore_lets_through():
    assert sorted(copied()) == sorted(admitted())
    for source in copied():
        assert (ROOT / source).exists(), source


def test_it_copies_what_the_wheel_is_built_from():
    needed = {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    needed |= {"pyproject.toml", *PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    assert needed <= set(copied())


def test_it_installs_the_edge_half_alone():
    (install,) = re.findall(r"pip install ([^&\n]*)", TEXT)
    assert install.split()[-1] == "."
    assert "[" not in install


def test_it_starts_the_program_of_the_project_and_not_as_root():
    (entry,) = instructions("ENTRYPOINT")
    (program,) = json.loads(entry)
    assert Path(program).name in PROJECT["project"]["scripts"]
    environment = str(Path(program).parents[1])
    assert f"python3 -m venv {environment} " in TEXT
    assert f"--from=build {environment} {environment}" in instructions("COPY")
    (user,) = instructions("USER")
    assert user != "root"
    assert f"useradd --uid 1000 --no-create-home {user}\n" in TEXT
    assert TEXT.index("USER") > TEXT.rindex("RUN")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="LiteRT's package has less elsewhere")
def test_what_it_removes_is_in_the_packages():
    removed = re.findall(r"ai_edge_litert/(\S+)", TEXT)
    assert removed
    package = Path(find_spec("ai_edge_litert").origin).parent
    for name in removed:
        assert (package / name).exists(), name


def commands() -> list[str]:
    """The lines of the page that run the image."""
    return re.findall(r"^docker run .*$", PAGE, re.M)


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_page_runs_what_exists(line):
    words = shlex.split(line)
    inside = words[words.index("edgecifar") + 1 :]
    group = typer.main.get_command(app)
    command = group.get_command(typer.Context(group), inside[0])
    assert command is not None, inside[0]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in inside if word.startswith("--")} <= options
    models = [word for word in inside if word.endswith(".tflite") and not word.startswith("/")]
    assert set(models) <= set(copied())


def test_the_page_shows_how_to_predict_and_to_bench():
    said = " ".join(commands())
    assert " edgecifar predict " in said
    assert " edgecifar bench " in said
