import io
import re
from operator import itemgetter

import pytest
from rich.console import Console

from edgecifar.export.verification import ClassChange, Verification
from edgecifar.metrics.divergence import Divergence
from edgecifar.report.assessment_table import assessment_table
from edgecifar.report.export_tables import calibration_table, verification_table
from edgecifar.report.tables import Column, Table, markdown_lines, print_table


def test_any_table_aligns_numbers_right_and_takes_text_as_it_is():
    console = Console(file=io.StringIO())
    columns = [Column("file", itemgetter(0)), Column("top-1", itemgetter(1))]
    print_table(console, Table(columns, [("[bold]a.tflite", 9.5), ("b", None)]))
    assert console.file.getvalue() == (
        "file            top-1\n[bold]a.tflite    9.5\nb                   -\n"
    )


def test_a_markdown_table_takes_text_as_it_is():
    columns = [
        Column("file", itemgetter(0)),
        Column("kind", itemgetter(1), left=True),
        Column("top-1", itemgetter(2)),
    ]
    assert markdown_lines(Table(columns, [("a_b|c*", "x", None)])) == [
        "| file | kind | top-1 |",
        "| --- | --- | ---: |",
        "| a\\_b\\|c\\* | x | - |",
    ]


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
    counterpart = Divergence(0.9979, 0.09, 0.002)
    unlabelled = Verification(
        "model.onnx", "int8", 10_000, None, None, 0.5, 0.4, 0.2, counterpart=counterpart
    )
    console = Console(file=io.StringIO(), width=None)
    verification_table([right, unlabelled], console)
    _heading, first, second, caption = console.file.getvalue().splitlines()
    assert "dog -4.0" in first
    assert first.endswith("right")
    assert second.endswith("agreement 50.00% is below 90.0%")
    assert caption == "10,000 test images · model.onnx agrees with TFLite on 99.79 %"


@pytest.mark.parametrize("width", [80, 120])
def test_a_verification_fits_a_terminal_and_breaks_no_word(width):
    changes = (ClassChange("automobile", 0.90, 0.88),)
    rows = [
        Verification(file, "float32", 10_000, 0.9, 0.95, 0.5, 0.4, 0.002, changes)
        for file in ("model.float.tflite", "model.float.onnx")
    ]
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    verification_table(rows, console)
    lines = re.sub(r"\x1b\[\d*m", "", console.file.getvalue()).splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for shown in ("model.float.tflite", "float32", "90.00", "50.00", "agreement 50.00% is below"):
        assert shown in text
    assert "left out for width: " in text


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
    assert "ranges from 500 training images, judged on 300 others" in lines[3]
