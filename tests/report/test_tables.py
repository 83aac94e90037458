import io

import pytest
from rich.console import Console

from edgecifar.bench.result import Row, result
from edgecifar.export.verification import ClassChange, Verification
from edgecifar.report.tables import (
    assessment_table,
    bench_table,
    calibration_table,
    print_table,
    verification_table,
)

LONG_ERROR = "is not installed: get it with pip install " + "x" * 200
COLUMNS = ("model", "runtime", "top-1 %", "95 % interval", "p50 ms", "p90 ms", "p99 ms", "mean ms")
MORE_COLUMNS = ("images/s", "load ms", "peak MiB", "size MB")


def measured(images: int = 10_000, model: str = "exported/model.tflite") -> Row:
    return Row(
        model=model,
        runtime="litert",
        threads=1,
        images=images,
        top1=0.9321,
        top1_interval=(0.9270, 0.9369),
        latency_ms={"p50": 0.7812, "p90": 0.8, "p99": 1.234, "mean": 123.4, "min": 0.7},
        images_per_s=1250.4,
        load_ms=12.34,
        peak_rss_mib=63.4,
        size_bytes=2_730_000,
    )


FAILED = Row(model="exported/model.onnx", runtime="onnxruntime", threads=1, error=LONG_ERROR)


def printed(rows: list[Row], width: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=width is not None)
    machine = {"board": "Raspberry Pi 5", "cpu": "Cortex-A76", "cores": 4}
    bench_table(result(machine, rows), console)
    return console.file.getvalue()


def test_plain_text_has_one_line_a_row_every_column_and_no_control_codes():
    heading, first, second, caption = printed([measured(), FAILED]).splitlines()
    assert [*COLUMNS, *MORE_COLUMNS, "error"] == [c.strip() for c in heading.split("  ") if c]
    cells = [cell.strip() for cell in first.split("  ") if cell]
    figures = ["93.21", "92.7 to 93.7", "0.781", "0.800", "1.23", "123"]
    assert cells == ["model.tflite", "litert", *figures, "1250", "12.3", "63", "2.73", "-"]
    assert second.endswith(LONG_ERROR)
    assert "Raspberry Pi 5, Cortex-A76 · 4 cores · threads: 1" in caption
    assert "10,000 test images" in caption
    assert "mind" not in caption
    assert "\x1b" not in printed([measured(), FAILED])


def test_a_sample_says_that_it_is_one():
    assert "500 test images · not all 10,000: mind the interval" in printed([measured(500)])


@pytest.mark.parametrize("width", [80, 140])
def test_a_terminal_shows_every_figure_within_its_width(width):
    text = printed([measured(model="exported/model.float.tflite"), FAILED], width)
    table = text.split("Raspberry")[0]
    for figure in ("93.21", "92.7 to 93.7", "0.781", "0.800", "1.23", "123", "1250", "63", "2.73"):
        assert figure in table
    assert "…" not in text
    assert "─" in text
    assert LONG_ERROR in text


def test_a_terminal_too_narrow_for_the_table_gets_plain_text():
    text = printed([measured()], 30)
    assert "─" not in text
    assert "92.7 to 93.7" in text


def test_models_of_the_same_name_are_told_apart_by_their_folders():
    text = printed([measured(model="a/model.tflite"), measured(model="b/model.tflite")])
    assert "a/model.tflite" in text
    assert "b/model.tflite" in text


def test_any_table_aligns_numbers_right_and_takes_text_as_it_is():
    console = Console(file=io.StringIO())
    print_table(console, ["file", "top-1"], [["[bold]a.tflite", "9.5"], ["b", ""]])
    assert console.file.getvalue() == (
        "file            top-1\n[bold]a.tflite    9.5\nb                   -\n"
    )


def assessment() -> dict:
    classes = [
        {"class": "cat", "precision": 0.9375, "recall": 0.75, "f1": 0.8333, "images": 1_000},
        {"class": "truck", "precision": None, "recall": 0.0, "f1": 0.0, "images": 20},
    ]
    return {
        "images": 1_020,
        "top1": 0.9321,
        "top1_interval": [0.9270, 0.9369],
        "top5": 0.9983,
        "expected_calibration_error": 0.0763,
        "per_class": classes,
    }


def test_an_assessment_has_a_row_a_class_and_a_line_for_all():
    console = Console(file=io.StringIO())
    assessment_table(assessment(), console)
    assert console.file.getvalue() == (
        "class  images  precision %  recall %\n"
        "cat     1,000        93.75     75.00\n"
        "truck      20            -      0.00\n"
        "top-1 93.21 % [92.7 to 93.7] · top-5 99.83 % · calibration error (ECE) 7.63 % · "
        "1,020 images\n"
    )


def test_an_assessment_is_drawn_on_a_terminal():
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    assessment_table(assessment(), console)
    text = console.file.getvalue()
    assert "─" in text
    for shown in ("cat", "93.75", "75.00", "truck", "[92.7 to 93.7]", "7.63 %"):
        assert shown in text


def test_a_verification_names_the_class_that_changed_most():
    changes = (ClassChange("cat", 0.90, 0.88), ClassChange("dog", 0.91, 0.95))
    right = Verification(
        "model.tflite", "int8", 10_000, 0.93, 0.932, 0.99, 0.4, 0.002, changes, (), ()
    )
    unlabelled = Verification("model.onnx", "int8", 10_000, None, None, 0.5, 0.4, 0.002)
    console = Console(file=io.StringIO(), width=None)
    verification_table([right, unlabelled], console)
    _heading, first, second, caption = console.file.getvalue().splitlines()
    assert "dog -4.0" in first
    assert first.endswith("right")
    assert second.endswith("agreement 50.00% is below 90.0%")
    assert caption == "10,000 test images"


def test_the_calibrations_are_a_row_each_and_the_images_are_told():
    rows = [
        {"method": "mse", "kl_divergence": 0.00123, "agreement": 0.998, "top1": None},
        {"method": "minmax", "kl_divergence": 0.2, "agreement": 0.9, "top1": 0.95},
    ]
    console = Console(file=io.StringIO(), width=None)
    calibration_table({"tried": rows, "images": 500, "judged_on": 300}, console)
    lines = console.file.getvalue().splitlines()
    assert lines[1].split() == ["mse", "0.0012", "99.80", "-"]
    assert lines[2].split() == ["minmax", "0.2", "90.00", "95.00"]
    assert "watched on 500 training images and judged on 300 others" in lines[3]
