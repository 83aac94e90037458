"""What is printed reaches every terminal, whatever its encoding."""

import io
import sys

import pytest

from edgecifar.export.verification import Verification
from edgecifar.report.export_tables import verification_table
from edgecifar.report.progress import stdout_console
from edgecifar.report.terminal import READABLY, write_readably

LINE = "top-1 ± 1 · ü ─ 漢 \udcff"


@pytest.mark.parametrize("encoding", ["ascii", "koi8-r", "iso8859-2", "cp932", "utf-8"])
def test_what_an_encoding_lacks_is_written_in_other_characters(monkeypatch, encoding):
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    write_readably()
    for stream in streams.values():
        stream.write(LINE)
        stream.flush()
        text = stream.buffer.getvalue().decode(encoding)
        assert text.startswith(("top-1 ± 1 ", "top-1 +- 1 "))
        assert text.endswith(r" \udcff")


def test_the_characters_of_the_tables_have_ascii_of_their_own():
    assert LINE.encode("ascii", READABLY) == rb"top-1 +- 1 - \xfc - \u6f22 \udcff"


def test_bytes_that_cannot_be_read_stay_an_error():
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", READABLY)


def test_a_stream_without_an_encoding_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    write_readably()
    print(LINE)
    assert sys.stdout.getvalue() == LINE + "\n"


def test_the_table_of_an_export_reaches_an_ascii_terminal(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setenv("FORCE_COLOR", "1")
    write_readably()
    row = Verification("model.tflite", "int8", 10_000, 0.93, 0.932, 0.99, 0.4, 0.002)
    verification_table([row], stdout_console())
    stdout.flush()
    lines = stdout.buffer.getvalue().decode("ascii").splitlines()
    assert any(set(line) == {"-"} for line in lines)
    assert lines[-1].startswith("10,000 test images")
