import csv
import io
import re

import pytest
from bench_rows import PI, of, row
from rich.console import Console

from edgecifar.bench.results.comparison import Comparison, compare
from edgecifar.bench.results.result import Pair
from edgecifar.report.comparison_table import comparison_table, csv_text, markdown

LONG = "exported/model.float.tflite"
PAIR = Pair(a=0, b=1, ratio=0.86, ratio_interval=(0.85, 0.87), agreement=0.98, mcnemar_p=0.61)


def several() -> Comparison:
    before = of(row(LONG), row("b.onnx"), started="2026-11-02T12:00:00+00:00")
    crashed = row("b.onnx", None, error="crashed | SIGSEGV")
    after = of(row(LONG, 2.0, top1=0.9512, marks=["busy"], threads=1), crashed)
    return compare([("before.json", before), ("after.json", after)])


def one() -> Comparison:
    return compare([("result.json", of(row(), row("b.onnx"), pairs=[PAIR]))])


def printed(comparison: Comparison, width: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=width is not None)
    comparison_table(comparison, console)
    return re.sub(r"\x1b\[\d*m", "", console.file.getvalue())


def words(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell]


def test_a_line_for_each_row_and_result_with_its_ratio_to_the_first():
    lines = printed(several()).splitlines()
    assert words(lines[0])[:6] == ["model", "runtime", "result", "p50 ms", "p90 ms", "ratio"]
    assert words(lines[1])[2:8] == ["before.json", "1.00", "1.10", "-", "-", "-"]
    slower = words(lines[2])
    assert slower[2:5] == ["after.json", "2.00", "2.20"]
    assert slower[5].startswith(("1.9", "2.0"))
    assert re.fullmatch(r"1\.\d{3} to 2\.\d{3}", slower[6])
    assert slower[7] == "unsure: busy"
    assert slower[8:10] == ["95.12", "+0.12"]
    assert re.fullmatch(r"-0\.\d\d to \+0\.\d\d", slower[10])
    assert slower[13] == "busy"
    assert lines[4].endswith("crashed | SIGSEGV")


def test_doubts_machines_and_what_the_intervals_are_stand_below():
    lines = printed(several()).splitlines()
    assert "warning: marked busy in after.json: model.float.tflite" in lines
    machine = "Raspberry Pi 5, Cortex-A76 · 4 cores · governor ondemand"
    assert f"before.json: {machine} · 2026-11-02T12:00:00+00:00" in lines
    assert f"after.json: {machine}" in lines
    assert "by that of before.json" in lines[-1]


def test_one_result_has_its_pairs_below_and_no_ratios_to_itself():
    text = printed(one())
    assert "ratio" not in text.splitlines()[0]
    assert "model.tflite / b.onnx" in text
    assert "faster" in text
    assert "no difference" in text


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_terminal_shows_everything_within_its_width(width):
    text = printed(several(), width)
    table, below = text.split("b.onnx in after.json: ")
    assert below.startswith("crashed | SIGSEGV\n")
    for told in ("before.json", "after.json", "2.20", "unsure:", "95.12", "+0.12", "2.70", "busy"):
        assert told in table
    assert max(map(len, table.splitlines())) <= width
    assert "─" in table


def test_threads_options_and_hosts_have_columns_where_they_differ():
    rows = [row(), row(threads=4), row(options={"xnnpack": "off"}), row(host="pi")]
    made = of(*rows, machines={"local": PI, "pi": PI})
    text = printed(compare([("a.json", made), ("b.json", made)]))
    assert words(text.splitlines()[0])[2:5] == ["threads", "options", "host"]
    assert "xnnpack=off" in text


def test_markdown_has_the_tables_and_the_doubts():
    lines = markdown(several()).splitlines()
    assert lines[0].startswith("| model | runtime | result | p50 ms |")
    assert lines[1].startswith("| --- | --- | --- | ---: |")
    assert r"crashed \| SIGSEGV" in lines[5]
    assert "warning: marked busy in after.json: model.float.tflite" in lines
    assert "| model.tflite / b.onnx | 0.860 |" in markdown(one())


def test_csv_has_a_line_for_each_row_and_result():
    lines = list(csv.DictReader(io.StringIO(csv_text(several()))))
    assert [line["result"] for line in lines] == ["before.json", "after.json"] * 2
    slower = lines[1]
    assert float(slower["ratio_interval_low"]) < 2 < float(slower["ratio_interval_high"])
    assert slower["top1"] == "0.9512"
    assert slower["marks"] == "busy"
    assert lines[0]["ratio"] == lines[0]["top1_difference_interval_low"] == ""
    assert lines[3]["error"] == "crashed | SIGSEGV"


def test_csv_of_one_result_has_its_pairs():
    (line,) = csv.DictReader(io.StringIO(csv_text(one())))
    assert (line["a"], line["b"], line["ratio"]) == ("model.tflite", "b.onnx", "0.86")
    assert (line["ratio_interval_low"], line["ratio_interval_high"]) == ("0.85", "0.87")
