"""The files that a command is told to write what it found to."""

import os
import re
import sys

import pytest

from edgecifar.errors import UserError
from edgecifar.report.outputs import Outputs

TEXTS = {"--json": "{}\n", "--csv": "a,b\r\n", "--md": "| a |\n"}


def given(**paths: object) -> dict[str, str | None]:
    """Targets by their options, those that are not named not given."""
    return dict.fromkeys(TEXTS) | {f"--{name}": str(path) for name, path in paths.items()}


def test_what_was_asked_for_is_written_and_nothing_else(tmp_path, capsys):
    outputs = Outputs(given(json=tmp_path / "new" / "a.json", csv=tmp_path / "a.csv"))
    assert list(tmp_path.iterdir()) == []  # nothing is there before there is something to tell
    assert outputs.console.file is sys.stdout
    outputs.write(TEXTS)
    assert (tmp_path / "new" / "a.json").read_bytes() == b"{}\n"
    assert (tmp_path / "a.csv").read_bytes() == b"a,b\r\n"
    assert {path.name for path in tmp_path.rglob("*")} == {"new", "a.json", "a.csv"}
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "".join(shown.err.split()) == f"madethefolder{tmp_path / 'new'}fora.json"


def test_stdout_has_the_text_alone_and_people_read_stderr(capsys):
    outputs = Outputs(given(md="-"))
    outputs.console.print("for people")
    outputs.write(TEXTS)
    captured = capsys.readouterr()
    assert captured.out == TEXTS["--md"]
    assert captured.err == "for people\n"


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        Outputs(given(json=pipe)).write(TEXTS)
        assert os.read(reader, 100) == b"{}\n"
        assert pipe.is_fifo()
    finally:
        os.close(reader)


@pytest.mark.parametrize(
    ("first", "second"), [("-", "-"), ("a.txt", "a.txt"), ("a.txt", "x/../a.txt")]
)
def test_two_texts_in_one_place_are_refused(tmp_path, monkeypatch, first, second):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match="--json and --md: both would write "):
        Outputs(given(json=first, md=second))


def test_what_cannot_be_written_is_refused_before_the_work_is_done(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for path, complaint in (
        (tmp_path, f"cannot write '{tmp_path}': it is a folder"),
        (file / "a.csv", f"cannot write in {file}: {file} is not a folder"),
        ("", "it is not a file name"),
    ):
        with pytest.raises(UserError, match=re.escape(complaint)):
            Outputs(given(json=tmp_path / "a.json", csv=path))
    assert list(tmp_path.iterdir()) == [file]


def test_lines_are_in_the_file_as_soon_as_they_are_appended(tmp_path, capsys):
    (tmp_path / "a.json").write_text("old")
    with Outputs(given(json=tmp_path / "a.json", csv="-")) as outputs:
        assert "--json" in outputs
        assert "--md" not in outputs
        assert (tmp_path / "a.json").read_text() == "old"
        for line in ("1\n", "2\n"):
            outputs.append("--json", line)
            outputs.append("--csv", line)
            assert (tmp_path / "a.json").read_text().endswith(line)
    assert (tmp_path / "a.json").read_text() == capsys.readouterr().out == "1\n2\n"


def test_a_line_that_cannot_be_appended_is_refused(tmp_path):
    with (
        pytest.raises(UserError, match="cannot write /dev/full: No space left"),
        Outputs(given(json="/dev/full")) as outputs,
    ):
        outputs.append("--json", "1\n")
