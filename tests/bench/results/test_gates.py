import pytest
from bench_rows import of, row

from edgecifar.bench.results.gates import Limits, check, doubtful, parse_percent
from edgecifar.bench.results.result import Row
from edgecifar.errors import UserError

FAILED = Row(model="b.onnx", runtime="onnxruntime", threads=1, error="crashed (SIGSEGV)")


def test_a_result_within_its_limits_passes():
    limits = {"min_top1": 0.95, "max_p90_ms": 1.1, "max_size_mb": 2.7}
    assert check(of(row()), Limits(**limits, baseline=of(row()), max_regression=0.05)) == []


@pytest.mark.parametrize(
    ("limit", "line"),
    [
        ({"min_top1": 0.9501}, "model.tflite: top-1 95 % is below 95.01 %"),
        ({"max_p90_ms": 1.05}, "model.tflite: p90 1.1 ms is above 1.05 ms"),
        ({"max_size_mb": 2.6}, "model.tflite: 2.7 MB are above 2.6 MB"),
    ],
)
def test_a_row_beyond_a_limit_is_a_line(limit, line):
    good = row("b.onnx", top1=0.99, p50_ms=0.5, size_bytes=1_000_000)
    assert check(of(good, row()), Limits(**limit)) == [line]


def test_every_limit_that_fails_is_told_with_the_marks_of_the_row():
    lines = check(of(row(marks=["busy"])), Limits(min_top1=0.99, max_p90_ms=0.1, max_size_mb=0.1))
    assert len(lines) == 3
    assert all(line.endswith("(busy)") for line in lines)


@pytest.mark.parametrize(
    "limits",
    [{"min_top1": 0.1}, {"max_p90_ms": 9.0}, {"max_size_mb": 9.0}, {"baseline": of(row())}],
)
def test_a_row_with_an_error_fails_any_gate(limits):
    assert check(of(row(), FAILED), Limits(**limits)) == ["b.onnx: crashed (SIGSEGV)"]


def test_without_a_gate_nothing_fails():
    assert check(of(FAILED), Limits()) == []


@pytest.mark.parametrize(
    ("more", "limit", "said"),
    [
        ({"top1": None, "images": None}, {"min_top1": 0.1}, "no top-1 was measured"),
        ({"latency_ms": {"p50": 1.0, "p90": None}}, {"max_p90_ms": 9.0}, "no p90 was measured"),
        ({"size_bytes": None}, {"max_size_mb": 9.0}, "the size of the file is not known"),
        ({"top1": None}, {"baseline": of(row())}, "no top-1 was measured, and the baseline has"),
        (
            {"latency_ms": {"p50": None, "p90": 1.0}, "block_p50_ms": []},
            {"baseline": of(row())},
            "its p50 cannot be compared with",
        ),
    ],
)
def test_a_figure_that_is_missing_fails_its_gate(more, limit, said):
    (line,) = check(of(row(**more)), Limits(**limit))
    assert said in line


def test_nothing_measured_passes_no_gate():
    assert check(of(), Limits(min_top1=0.1)) == ["nothing was measured"]


def test_slower_than_allowed_fails_and_slower_within_it_does_not():
    slower = of(row(p50_ms=1.5))
    (line,) = check(slower, Limits(baseline=of(row()), max_regression=0.05))
    assert line.startswith("model.tflite: p50 1.50 ms is 1.5")
    assert line.endswith("of the baseline's 1.00 ms: more than 5 % slower")
    assert "[1." in line
    assert check(slower, Limits(baseline=of(row()))) == [line]
    assert check(slower, Limits(baseline=of(row()), max_regression=0.60)) == []
    assert check(of(row(p50_ms=0.5)), Limits(baseline=of(row()), max_regression=0.0)) == []


def test_what_noise_explains_is_no_regression():
    noisy = {"block_p50_ms": [1.0, 1.2] * 10, "latency_ms": {"p50": 1.1, "p90": 1.2}}
    assert check(of(row(**noisy)), Limits(baseline=of(row()), max_regression=0.05)) == []
    assert check(of(row(top1=0.9480)), Limits(baseline=of(row()))) == []


def test_a_baseline_without_rounds_decides_by_the_ratio_itself():
    old = of(row(block_p50_ms=[]))
    assert check(of(row(p50_ms=1.04)), Limits(baseline=old, max_regression=0.05)) == []
    (line,) = check(of(row(p50_ms=1.06)), Limits(baseline=old, max_regression=0.05))
    assert "is 1.060 of the baseline's" in line


def test_fewer_right_than_chance_explains_is_a_regression():
    (line,) = check(of(row(top1=0.94)), Limits(baseline=of(row())))
    assert line == "model.tflite: top-1 94 % is below the baseline's 95 % by more than chance"
    assert check(of(row(top1=0.96)), Limits(baseline=of(row()))) == []


def test_a_row_of_the_baseline_has_to_be_measured_again():
    both = of(row(), row("b.onnx", runtime="onnxruntime"))
    missing = "b.onnx: is in the baseline and was not measured now"
    assert check(of(row()), Limits(baseline=both)) == [missing]
    assert check(of(row(), FAILED), Limits(baseline=both)) == ["b.onnx: crashed (SIGSEGV)"]
    assert check(of(row()), Limits(baseline=of(row(), FAILED))) == []
    assert len(check(of(row("c.tflite")), Limits(baseline=of(row())))) == 1


def test_a_regression_needs_something_to_be_one_from():
    with pytest.raises(UserError, match="`max_regression` needs a `baseline`"):
        Limits(max_regression=0.05)


@pytest.mark.parametrize("baseline", [of(), of(FAILED)])
def test_a_baseline_that_measured_nothing_passes_nothing(baseline):
    assert check(of(row()), Limits(baseline=baseline)) == [
        "the baseline has no row that was measured"
    ]


def test_a_baseline_of_something_else_is_said_to_be_so():
    pi = {"board": "Raspberry Pi 5", "cpu": "Cortex-A76"}
    then = of(row(images=1_000, normalization="unit"), machine=pi)
    now = of(row(normalization="raw"), machine=pi | {"cpu": "EPYC"})
    said = doubtful(now, Limits(baseline=then))
    for part in ("cpu Cortex-A76 in the baseline, EPYC in this", "images of", "normalization of"):
        assert any(part in line for line in said)
    assert doubtful(of(row()), Limits()) == []
    assert doubtful(of(row()), Limits(baseline=of(row()))) == []


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), 0.0, -1.0])
@pytest.mark.parametrize("name", ["max_p90_ms", "max_size_mb"])
def test_a_limit_that_holds_nothing_back_is_refused(name, limit):
    with pytest.raises(UserError, match="give a number above 0"):
        Limits(**{name: limit})


@pytest.mark.parametrize(
    ("text", "share"),
    [("5%", 0.05), ("5 %", 0.05), ("5", 0.05), ("0.5%", 0.005), ("0", 0.0), ("120%", 1.2)],
)
def test_a_percentage_is_read(text, share):
    assert parse_percent("--ci", text) == share


def test_a_percentage_is_the_share_that_it_was_counted_as():
    for right in range(9_000, 9_100):
        assert parse_percent("--ci", f"{right / 100:.2f}") == right / 10_000


@pytest.mark.parametrize("text", ["", "%", "high", "-5%", "nan", "inf", "5%%", "1e3", "5 points"])
def test_what_is_no_percentage_is_refused(text):
    with pytest.raises(UserError, match="expected a percentage, such as 5%"):
        parse_percent("--ci", text)


@pytest.mark.parametrize(
    ("text", "said"), [("0.935", "write 0.935%, or 93.5%"), (".05", "write .05%, or 5%")]
)
def test_what_may_be_a_share_is_asked_about(text, said):
    with pytest.raises(UserError, match=said):
        parse_percent("--ci", text)
