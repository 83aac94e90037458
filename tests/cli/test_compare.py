"""`edgecifar compare`."""

import csv
import json
import os
import re
from pathlib import Path

import pytest

RECORDED_BENCH = Path(__file__).parents[2] / "benchmarks" / "shipped_model.json"


def test_compare_shows_a_recorded_result_beside_another_and_writes_it(edgecifar, tmp_path):
    found = json.loads(RECORDED_BENCH.read_text())
    for row in found["rows"]:
        row["block_p50_ms"] = [p50 and 2 * p50 for p50 in row["block_p50_ms"]]
    twice = tmp_path / "twice.json"
    twice.write_text(json.dumps(found))
    comparison, table, sheet = (
        tmp_path / f"out/comparison.{kind}" for kind in ("json", "md", "csv")
    )
    options = ["--json", comparison, "--md", table, "--csv", sheet]
    code, out, err = edgecifar("compare", RECORDED_BENCH, twice, *options)
    assert (code, err) == (0, f"made the folder {tmp_path / 'out'} for comparison.json\n")
    assert "2.000" in out
    rows = json.loads(comparison.read_text())["rows"]
    assert {round(row["measured"][1]["ratio"], 9) for row in rows} == {2.0}
    assert len(sheet.read_bytes().split(b"\r\n")) == 2 * len(rows) + 2
    assert table.read_text().startswith("| model | runtime |")


def test_compare_gives_stdout_to_json_alone_on_request(edgecifar):
    code, out, err = edgecifar("compare", RECORDED_BENCH, "--json", "-")
    assert code == 0
    assert json.loads(out)["results"][0]["name"] == str(RECORDED_BENCH)
    assert "model.float.tflite" in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        ("no JSON", "is not JSON"),
        ('{"recipe": "quick"}', "is not a result of `edgecifar bench`: it has no schema_version"),
        ('{"schema_version": 2}', "schema_version 2 is of a later edgecifar"),
        ('{"schema_version": 1, "machine": {}, "rows": []}', "no row of one result is in another"),
    ],
)
def test_compare_of_what_is_no_result_is_one_line_that_names_it(refused, tmp_path, content, said):
    other = tmp_path / "other.json"
    if content is not None:
        other.write_text(content)
    line = refused("compare", RECORDED_BENCH, other)
    assert str(other) in line
    assert said in line


def test_compare_that_cannot_write_is_one_line(edgecifar, tiny_tflite):
    code, _, err = edgecifar("compare", RECORDED_BENCH, "--csv", tiny_tflite / "x.csv")
    assert code == 2
    assert err.startswith(f"edgecifar: cannot write in {tiny_tflite}")
    assert err.count("\n") == 1


HOSTILE = "\x1b[31mred\x1b]0;title\x07\n\r\u202e\x9b\udcff"
ESCAPED = r"\x1b[31mred\x1b]0;title\x07\n\r\u202e\x9b\udcff"
ENCODINGS = ["ascii", "koi8-r", "iso8859-2", "cp932"]


def hostile_result(path):
    """A result with what would steer a terminal in every text, and times that no bench takes."""
    found = json.loads(RECORDED_BENCH.read_text())
    for row in found["rows"]:
        for name in ("model", "runtime", "runtime_version", "normalization", "warning"):
            row[name] = f"{row[name]}{HOSTILE}"
        row |= {"marks": [f"busy{HOSTILE}"], "options": {f"o{HOSTILE}": f"v{HOSTILE}"}}
    found["rows"][0]["error"] = f"crashed{HOSTILE}"
    found["rows"][1]["latency_ms"]["p50"] = found["rows"][2]["latency_ms"]["p50"] = 1e308
    found["rows"][2] |= {"block_p50_ms": [1e308] * 5}
    found["rows"][2]["latency_interval_ms"]["p50"] = [-1e308, 1e308]
    found["machine"] |= {"board": f"Pi{HOSTILE}", "cpu": f"A76{HOSTILE}"}
    found |= {"started": f"2026{HOSTILE}", "edgecifar": f"0.1{HOSTILE}"}
    path.write_text(json.dumps(found))
    return path


def steers(text):
    """Whether a text has characters that a terminal does not just show; a line's end is one."""
    return any(not line.isprintable() for line in text.split("\n"))


def test_nothing_in_a_result_or_its_name_steers_the_terminal_or_breaks_a_file(edgecifar, tmp_path):
    first = hostile_result(tmp_path / "first.json")
    second = hostile_result(tmp_path / f"second{HOSTILE}.json")
    table, sheet, facts = (tmp_path / f"out.{kind}" for kind in ("md", "csv", "json"))
    outputs = ["--md", table, "--csv", sheet, "--json", facts]
    code, out, err = edgecifar("compare", first, second, *outputs)
    assert (code, err) == (0, "")
    assert not steers(out)
    assert f"model.tflite{ESCAPED}" in out
    assert f"second{ESCAPED}.json" in out
    rows = 2 * len(json.loads(facts.read_text(encoding="utf-8"))["rows"])
    lines = table.read_text(encoding="utf-8").splitlines()
    assert not steers("\n".join(lines))
    assert sum(line.startswith("| ") for line in lines) == rows + 2
    with sheet.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    assert len(records) == rows
    assert not any(steers(value) or "\n" in value for one in records for value in one.values())


@pytest.mark.parametrize("options", [["--min-top1", "99%"], ["--max-p90-ms", "0.001"]])
def test_a_gate_names_each_row_of_a_hostile_result_in_one_line(edgecifar, tmp_path, options):
    result = hostile_result(tmp_path / "result.json")
    code, out, err = edgecifar("check", result, *options)
    assert (code, out) == (1, "")
    assert not steers(err)
    *named, last = err.splitlines()
    assert len(named) == len(json.loads(result.read_text(encoding="utf-8"))["rows"])
    assert "model.tflite" in named[0]
    assert last == f"edgecifar: {len(named)} checks failed"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_table_reaches_a_pipe_and_a_file_whatever_the_encoding(start, tmp_path, encoding):
    table = tmp_path / "table.md"
    result = tmp_path / os.fsdecode(b"\xff.json")
    result.write_text(RECORDED_BENCH.read_text())
    process = start("compare", result, "--md", table, PYTHONIOENCODING=encoding)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert r"\udcff.json: " in out
    assert "no difference" in out
    assert " · " in table.read_text(encoding="utf-8")


@pytest.mark.parametrize("encoding", ["ascii", "cp932"])
def test_a_table_is_drawn_on_a_terminal_of_any_encoding(screen, encoding):
    code, lines = screen(80, "compare", RECORDED_BENCH, PYTHONIOENCODING=encoding)
    assert code == 0
    assert "no difference" in " ".join(lines)
    assert not any("Traceback" in line for line in lines)


def test_wide_shows_every_column_on_a_narrow_terminal(screen):
    code, lines = screen(80, "compare", RECORDED_BENCH, RECORDED_BENCH)
    assert code == 0
    assert max(map(len, lines)) <= 80
    assert re.search(r"left out for width: .*size MB.* \(--wide shows them\)", " ".join(lines))
    code, lines = screen(80, "compare", RECORDED_BENCH, RECORDED_BENCH, "--wide")
    assert code == 0
    assert "left out" not in " ".join(lines)
    assert " 2.72 " in " ".join(lines)
