import csv
import io
import re
from dataclasses import fields, replace

import pytest
from rich.console import Console

from edgecifar.bench.results.result import Pair, Row, result
from edgecifar.report.bench_table import bench_table, csv_text, markdown

LONG_ERROR = "is not installed: get it with pip install " + "x" * 200
COLUMNS = ("model", "runtime", "top-1 %", "95 % interval", "p50 ms", "p90 ms", "p99 ms", "mean ms")
MORE_COLUMNS = ("images/s", "load ms", "peak MiB", "size MB")
PI = {"board": "Raspberry Pi 5", "cpu": "Cortex-A76", "cores": 4}
# Of a row, what a line of CSV has no room for.
JSON_ONLY = {"normalization_tried", "per_class", "confusion", "block_p50_ms"}


def measured(images: int = 10_000, model: str = "exported/model.tflite", **more: object) -> Row:
    known = {
        "model": model,
        "runtime": "litert",
        "threads": 1,
        "images": images,
        "top1": 0.9321,
        "top1_interval": (0.9270, 0.9369),
        "latency_ms": {"p50": 0.7812, "p90": 0.8, "p99": 1.234, "mean": 123.4, "min": 0.7},
        "images_per_s": 1250.4,
        "load_ms": 12.34,
        "peak_rss_mib": 63.4,
        "size_bytes": 2_730_000,
    }
    return Row(**known | more)


FAILED = Row(model="exported/model.onnx", runtime="onnxruntime", threads=1, error=LONG_ERROR)
EXACT = {"p50": (0.7790, 0.7838), "p90": None, "p99": None, "mean": None}


def printed(rows: list[Row], width: int | None = None, **more: object) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=width is not None)
    bench_table(result(PI, rows, **more), console)
    return console.file.getvalue()


def headings(text: str) -> list[str]:
    return [cell.strip() for cell in text.splitlines()[0].split("  ") if cell]


def test_plain_text_has_one_line_a_row_every_column_and_no_control_codes():
    text = printed([measured(), FAILED])
    _heading, first, second, caption = text.splitlines()
    assert headings(text) == [*COLUMNS, *MORE_COLUMNS, "error"]
    cells = [cell.strip() for cell in first.split("  ") if cell]
    figures = ["93.21", "92.7 to 93.7", "0.781", "0.800", "1.23", "123"]
    assert cells == ["model.tflite", "litert", *figures, "1250", "12.3", "63", "2.73", "-"]
    assert second.endswith(LONG_ERROR)
    assert "Raspberry Pi 5, Cortex-A76 · 4 cores · threads: 1 · one image at a time" in caption
    assert "10,000 test images" in caption
    assert "mind" not in caption
    assert "\x1b" not in text


def test_a_sample_says_that_it_is_one():
    assert "500 test images · not all 10,000: its interval is wider" in printed([measured(500)])


def test_the_median_has_the_half_width_of_its_interval():
    text = printed([measured(latency_interval_ms=EXACT), measured()])
    assert headings(text)[4:6] == ["p50 ms", "± %"]
    assert "0.781  0.3" in text.splitlines()[1]
    assert "0.781    -" in text.splitlines()[2]


def test_what_tells_rows_apart_has_a_column_and_what_does_not_is_below():
    options = {"xnnpack": "off", "graph": "all"}
    text = printed([measured(options=options), measured(options=options, threads=4)])
    assert "threads" in headings(text)
    assert "options" not in headings(text)
    assert "threads: 1, 4 · options: graph=all, xnnpack=off" in text
    text = printed([measured(options=options), measured()])
    assert "graph=all, xnnpack=off" in text.splitlines()[1]
    assert "options:" not in text


def test_rows_of_several_machines_name_them():
    machines = {"local": {"cpu": "EPYC", "governor": "performance"}, "pi@kitchen": PI}
    rows = [measured(), measured(host="pi@kitchen")]
    lines = printed(rows, machines=machines).splitlines()
    assert "host" in lines[0]
    assert lines[1].split()[2] == "local"
    assert lines[2].split()[2] == "pi@kitchen"
    assert lines[3] == "local: EPYC · governor performance"
    assert lines[4] == "pi@kitchen: Raspberry Pi 5, Cortex-A76 · 4 cores"
    assert " · on pi@kitchen" in printed([measured(host="pi@kitchen")])


def test_an_offline_row_says_so_and_tells_its_batch():
    text = printed([measured(), measured(scenario="offline", batch=32)])
    assert "offline, 32" in text.splitlines()[2]
    assert "one image at a time" not in text
    assert " · offline, 32 · " in printed([measured(scenario="offline", batch=32)])


def test_marks_and_energy_have_a_column_where_there_are_any():
    text = printed([measured(marks=["throttled", "busy"], energy_mj_per_image=4.218), FAILED])
    assert headings(text)[-3:] == ["mJ/image", "marks", "error"]
    assert "4.22  throttled, busy" in text.splitlines()[1]


SEVERAL = [
    measured(model="exported/model.float.tflite", latency_interval_ms=EXACT, marks=["busy"]),
    measured(model="exported/model.float.tflite", threads=4, scenario="offline", batch=32),
    FAILED,
]
ESSENTIALS = ("93.21", "0.781", "0.800", "busy", "offline, 32", "4", "litert")
MORE_FIGURES = ("0.3", "92.7 to 93.7", "1.23", "123", "1250", "12.3", "63", "2.73")


def screen(rows: list[Row], width: int, **more: object) -> list[str]:
    return re.sub(r"\x1b\[\d*m", "", printed(rows, width, **more)).splitlines()


@pytest.mark.parametrize("width", [80, 120, 160])
def test_a_terminal_shows_the_essentials_within_its_width_and_says_what_is_left_out(width):
    lines = screen(SEVERAL, width)
    ruled = next(i for i, line in enumerate(lines) if "─" in line)
    heading, table = lines[:ruled], "\n".join(lines[ruled:]).split("model.onnx: ")[0]
    table, _, left_out = table.partition("left out for width: ")
    for figure in ESSENTIALS:
        assert figure in table
    words = " ".join(heading).split()
    for column in (*COLUMNS, *MORE_COLUMNS, "± %"):
        shown = set(column.split()) <= set(words)
        assert shown or column in left_out.replace("\n", " ")
    assert all(figure in table for figure in MORE_FIGURES) or width < 140
    assert bool(left_out) == (width < 140)
    assert max(len(line) for line in lines if "xxx" not in line) <= width
    said = " ".join(lines)
    assert "…" not in said
    assert f"model.onnx: {LONG_ERROR}" in said


def test_all_columns_of_the_usual_bench_but_three_fit_80():
    rows = [measured(), measured(model="exported/model.onnx", runtime="onnxruntime")]
    lines = screen(rows, 80)
    (left_out,) = [line for line in lines if line.startswith("left out")]
    assert left_out == "left out for width: mean ms, images/s, load ms"
    assert max(map(len, lines)) <= 80


def test_a_terminal_too_narrow_for_the_table_gets_plain_text():
    text = printed([measured()], 30)
    assert "─" not in text
    assert "92.7 to 93.7" in text


def test_models_of_the_same_name_are_told_apart_by_their_folders():
    text = printed([measured(model="a/model.tflite"), measured(model="b/model.tflite")])
    assert "a/model.tflite" in text
    assert "b/model.tflite" in text


BOTH = [measured(), measured(model="exported/b.tflite", top1=0.9301)]
SAME = Pair(a=0, b=1, ratio=1.0043, ratio_interval=(0.998, 1.011), agreement=0.9812, mcnemar_p=0.61)


def test_only_pairs_of_the_first_measured_row_are_printed():
    rows = [FAILED, *BOTH, measured(model="c.tflite")]
    pairs = [replace(SAME, a=a, b=b) for a, b in ((1, 2), (1, 3), (2, 3))]
    text = printed(rows, pairs=pairs)
    assert "model.tflite / b.tflite" in text
    assert "model.tflite / c.tflite" in text
    assert "b.tflite / c.tflite" not in text


def test_markdown_has_the_tables_and_captions_and_no_bare_bar():
    failed = replace(FAILED, error="a | b\\c")
    text = markdown(result(PI, [*BOTH, failed], pairs=[SAME]))
    lines = text.splitlines()
    assert lines[0].startswith("| model | runtime | top-1 % |")
    assert lines[1].startswith("| --- | --- | ---: |")
    assert lines[2].startswith("| model.tflite | litert | 93.21 | 92.7 to 93.7 | 0.781 |")
    assert lines[4].endswith(r"a \| b\\c |")
    assert lines[5] == ""
    assert lines[6].startswith("Raspberry Pi 5, Cortex-A76")
    assert lines[8].startswith("| pair | p50 ratio |")
    assert lines[10].startswith("| model.tflite / b.tflite | 1.004 |")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_csv_has_flat_names_full_figures_and_empty_for_none():
    row = measured(
        latency_interval_ms=EXACT,
        options={"xnnpack": "off", "graph": "all"},
        marks=["throttled", "busy"],
        input={"dtype": "uint8", "shape": [None, 32, 32, 3], "layout": "NHWC"},
        parts_ms={"set_input": 0.1, "invoke": 0.6, "get_output": 0.05},
        warm_up={"inferences": 50, "seconds": 0.2, "settled": True},
        model='odd, "name".tflite',
    )
    made = result(PI, [row, FAILED], started="2026-11-02T12:00:00+00:00")
    text = csv_text(made)
    assert text.count("\r\n") == 3
    first, second = csv.DictReader(io.StringIO(text))
    expected = {
        "model": 'odd, "name".tflite',
        "board": "Raspberry Pi 5",
        "started": "2026-11-02T12:00:00+00:00",
        "options": "graph=all, xnnpack=off",
        "marks": "throttled, busy",
        "input_shape": "?x32x32x3",
        "top1": "0.9321",
        "top1_low": "0.927",
        "latency_p50_ms": "0.7812",
        "latency_p50_high_ms": "0.7838",
        "latency_p90_low_ms": "",
        "invoke_ms": "0.6",
        "warm_up_s": "0.2",
        "images_per_s": "1250.4",
        "size_bytes": "2730000",
        "error": "",
    }
    assert {name: first[name] for name in expected} == expected
    assert second["error"] == LONG_ERROR
    assert second["top1"] == second["latency_p50_ms"] == second["input_dtype"] == ""


def test_csv_has_every_field_of_a_row_that_one_line_has_room_for():
    names = csv_text(result(PI, [measured()])).splitlines()[0].split(",")
    for field in {field.name for field in fields(Row)} - JSON_ONLY:
        stem = field.removesuffix("_ms").removesuffix("_interval")
        in_parts = {"latency": "latency_p50_ms", "parts": "invoke_ms", "input": "input_dtype"}
        in_parts |= {"warm_up": "warm_up_s", "top1": "top1_low", "top5": "top5_low"}
        in_parts |= {"latency_interval": "latency_p50_low_ms", "overflow": "overflow_agreement"}
        assert field in names or in_parts[stem] in names
    assert len(set(names)) == len(names)


def test_a_result_without_rows_has_no_csv_lines():
    assert csv_text(result(PI, [])).strip() == ""


def test_what_another_program_wrote_into_free_fields_breaks_no_table():
    strange = measured(input={"dtype": 8, "shape": 5})
    made = result({"board": 5, "cpu": ["a"], "cores": "two"}, [strange])
    assert "5, ['a']" in markdown(made)
    assert csv_text(made).count("\r\n") == 2
