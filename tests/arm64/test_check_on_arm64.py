"""What the script on emulated arm64 reads from the pages, and what it calls a difference."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("check_on_arm64.py")
LABELS = [f"class {number}" for number in range(10)]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("check_on_arm64", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def line(image: str, probabilities: list[float]) -> dict:
    """A line of `predict --json`."""
    answers = sorted(zip(probabilities, LABELS, strict=True), reverse=True)
    return {"image": image, "top": [{"label": b, "probability": a} for a, b in answers]}


def test_it_installs_and_measures_with_the_line_of_the_readme(script):
    venv, install, bench = script.readme_steps((ROOT / "README.md").read_text("utf-8"))
    assert venv == "python3 -m venv .venv"
    assert install.startswith(".venv/bin/pip install ")
    assert re.match(r"\.venv/bin/edgecifar bench exported/model\.\w+ ", bench)


def test_it_installs_the_packages_of_the_page_without_sudo(script):
    command = script.packages_command((ROOT / "docs" / "raspberry-pi.md").read_text("utf-8"))
    assert "python3-venv" in command
    assert "sudo" not in command


def test_the_same_answers_do_not_differ(script):
    lines = [line("a.png", [0.91] + [0.01] * 9), line("b.png", [0.1] * 10)]
    assert script.difference(lines, list(reversed(lines))) == (0, 0)


def test_the_largest_difference_and_the_changed_classes_are_found(script):
    here = [line("a.png", [0.6, 0.4] + [0] * 8), line("b.png", [1.0] + [0] * 9)]
    there = [line("a.png", [0.4, 0.6] + [0] * 8), line("b.png", [1.0] + [0] * 9)]
    largest, changed = script.difference(here, there)
    assert largest == pytest.approx(0.2)
    assert changed == 1


def test_other_images_or_an_unread_one_are_no_comparison(script):
    here = [line("a.png", [0.1] * 10)]
    with pytest.raises(script.CheckError, match="not the same images"):
        script.difference(here, [line("b.png", [0.1] * 10)])
    with pytest.raises(script.CheckError, match=r"a\.png: not the same classes"):
        script.difference(here, [{"image": "a.png", "top": []}])


@pytest.mark.parametrize(
    ("figure", "limit", "passed"),
    [
        (149.0, 150, True),
        (151.0, 150, False),
        ("aarch64", "aarch64", True),
        ("x86_64", "aarch64", False),
        (3.0, None, True),
    ],
)
def test_a_figure_keeps_to_its_limit_or_not(script, figure, limit, passed):
    check = script.Check("here", "memory", figure, limit)
    assert check.passed is passed
    assert ("FAILED" in script.table([check])) is not passed


def test_the_output_of_a_command_comes_back_and_its_failure_is_one_line(script, tmp_path):
    system = script.System("here", "any", tmp_path, ("bash", "-euo", "pipefail", "-c"))
    assert system.run("echo 3") == "3\n"
    with pytest.raises(script.CheckError, match=r"^false \| cat: exit code 1: no message$"):
        system.run("false | cat")
    with pytest.raises(script.CheckError, match=r"exit code 7: second$"):
        system.run("echo first >&2; echo second >&2; exit 7")
