"""`edgecifar runtimes`."""

import re

import pytest

from edgecifar.runtimes import RUNTIMES, environments


def test_runtimes_lists_them_with_what_they_open_and_how_to_get_them(edgecifar):
    code, out, err = edgecifar("runtimes")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert list(rows)[1:] == [runtime.name for runtime in RUNTIMES]
    litert = RUNTIMES[0]
    assert rows["litert"].split()[1:4] == [environments.version_of(litert), "here", ".tflite"]
    assert rows["tflite-runtime"].endswith("edgecifar runtimes install tflite-runtime")


@pytest.mark.parametrize("width", [80, 120])
def test_runtimes_fit_a_terminal_and_break_no_word(screen, width):
    code, lines = screen(width, "runtimes")
    assert code == 0
    assert max(map(len, lines)) <= width
    table = "\n".join(lines)
    for runtime in RUNTIMES:
        for word in (runtime.name, *runtime.suffixes, *runtime.get.split()):
            assert word in table


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("install", "tflight"), r"no runtime 'tflight': choose from litert, "),
        (
            ("install", "litert"),
            r"needs no environment: get it with `pip install ai-edge",
        ),
        (("remove", "litert"), r"has no environment: remove it with pip"),
        (("remove", "tflite-runtime"), r"tflite-runtime has no environment in "),
    ],
)
def test_a_runtime_that_cannot_be_installed_or_removed_is_one_line(
    refused, tmp_path, monkeypatch, command, words
):
    monkeypatch.setenv("EDGECIFAR_DATA", str(tmp_path))
    assert re.search(words, refused("runtimes", *command))
