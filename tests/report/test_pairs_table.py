import io
import re

import pytest
from rich.console import Console

from edgecifar.report.pairs_table import pairs_markdown, pairs_table

SAME = {
    "a": "model.tflite",
    "b": "b.tflite",
    "ratio": 1.0043,
    "ratio_interval": (0.998, 1.011),
    "agreement": 0.9812,
    "mcnemar_p": 0.61,
    "top1_difference": 0.002,
    "marks": [],
}


def printed(pair: dict, width: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=width is not None)
    pairs_table([pair], console)
    return re.sub(r"\x1b\[\d*m", "", console.file.getvalue())


def test_a_difference_within_the_noise_is_called_none():
    heading, line, caption = printed(SAME).splitlines()
    assert heading.startswith("pair  ")
    assert line.split("  ")[0] == "model.tflite / b.tflite"
    shown = " ".join(line.split())
    assert shown.endswith("1.004 0.998 to 1.011 no difference 98.12 +0.20 0.61 no difference")
    assert "in the same rounds" in caption


def test_pairs_fit_a_narrow_terminal():
    names = {side: f"a-rather-long-name-{side}.tflite" for side in "ab"}
    text = printed(SAME | names, 80)
    lines = text.splitlines()
    for told in ("1.004", "0.998 to 1.011", "no difference", "98.12", "+0.20", "0.61"):
        assert told in text
    assert any(line.startswith("a-rather-long-name-a.tflite / ") for line in lines)
    assert any(line.startswith("a-rather-long-name-b.tflite ") for line in lines)
    assert "─" in text
    assert max(map(len, lines[:-1])) <= 80


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"ratio": 0.86, "ratio_interval": (0.85, 0.87)}, "0.850 to 0.870 faster"),
        ({"ratio": 1.10, "ratio_interval": (1.001, 1.2)}, "1.001 to 1.200 slower"),
        ({"ratio": 16.04, "ratio_interval": (15.9, 16.2)}, "16.0 15.9 to 16.2 slower"),
        ({"mcnemar_p": 0.05}, "0.050 better"),
        ({"mcnemar_p": 1e-9, "top1_difference": -0.002}, "-0.20 <0.001 worse"),
        ({"mcnemar_p": None, "agreement": None}, "no difference - +0.20 - -"),
        ({"ratio": None, "ratio_interval": None}, "b.tflite - - - 98.12"),
        ({"top1_difference": None, "mcnemar_p": None}, "98.12 - - -"),
        (
            {"ratio": 3.33, "ratio_interval": (2.38, 4.66), "marks": ["busy", "throttled"]},
            "2.380 to 4.660 unsure: busy, throttled 98.12 +0.20 0.61 no difference",
        ),
        (
            {"mcnemar_p": 0.01, "marks": ["overflow"]},
            "no difference 98.12 +0.20 0.010 unsure: overflow",
        ),
    ],
)
def test_a_pair_says_who_is_faster_and_who_is_right_more_often(more, told):
    assert told in " ".join(printed(SAME | more).split())


def test_markdown_has_the_table_and_what_it_means():
    heading, rule, line, gap, caption, _ = pairs_markdown([SAME])
    assert heading.startswith("| pair | p50 ratio |")
    assert rule.startswith("| --- | ---: |")
    assert line.startswith("| model.tflite / b.tflite | 1.004 | 0.998 to 1.011 | no difference |")
    assert gap == ""
    assert "McNemar" in caption
