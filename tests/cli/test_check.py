"""`edgecifar check`: the gates of `bench`, on a result that is already there."""

import dataclasses
import json

import pytest
from bench_rows import of, row

from edgecifar.bench.results.result import Row

FAILED = Row(model="broken.onnx", runtime="onnxruntime", threads=1, error="crashed (SIGSEGV)")
LIMITS = ("--min-top1", "94%", "--max-p90-ms", 1.2, "--max-size-mb", 3)


@pytest.fixture
def written(tmp_path):
    """Writes rows as a result file: `written(name, *rows)` gives its path."""

    def written(name, *rows):
        path = tmp_path / name
        path.write_text(json.dumps(of(*rows)))
        return path

    return written


def test_a_result_within_its_limits_passes(edgecifar, written):
    result = written("result.json", row())
    code, out, err = edgecifar("check", result, *LIMITS, "--baseline", result)
    assert (code, out, err) == (0, f"{result}: 1 row is within the limits\n", "")


@pytest.mark.parametrize(
    ("limit", "line"),
    [
        (("--min-top1", "96%"), "model.tflite: top-1 95 % is below 96 %"),
        (("--max-p90-ms", 1), "model.tflite: p90 1.1 ms is above 1 ms"),
        (("--max-size-mb", 2), "model.tflite: 2.7 MB are above 2 MB"),
    ],
)
def test_a_row_beyond_a_limit_ends_with_1_and_a_line(edgecifar, written, limit, line):
    answer = edgecifar("check", written("result.json", row()), *limit)
    assert answer == (1, "", f"edgecifar: {line}\n")


def test_each_of_several_rows_beyond_a_limit_has_a_line(edgecifar, written):
    result = written("result.json", row(), row(model="other.onnx", runtime="onnxruntime"))
    code, out, err = edgecifar("check", result, "--min-top1", "96%")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "model.tflite: top-1 95 % is below 96 %",
        "other.onnx: top-1 95 % is below 96 %",
        "edgecifar: 2 checks failed",
    ]


def test_each_of_several_models_that_were_not_measured_has_a_line(edgecifar, written):
    killed = dataclasses.replace(FAILED, model="other.onnx", error="killed (SIGKILL)")
    code, out, err = edgecifar("check", written("result.json", FAILED, killed), *LIMITS)
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "broken.onnx: crashed (SIGSEGV)",
        "other.onnx: killed (SIGKILL)",
        "edgecifar: 2 models were not measured",
    ]


def test_a_row_slower_than_the_baseline_allows_ends_with_1(edgecifar, written):
    against = ("--baseline", written("last.json", row()), "--max-regression", "5%")
    slower = written("result.json", row(p50_ms=1.3))
    code, out, err = edgecifar("check", slower, *against)
    assert (code, out) == (1, "")
    assert "of the baseline's 1.00 ms: more than 5 % slower" in err
    assert edgecifar("check", slower, *against[:2], "--max-regression", "90%")[0] == 0


def test_a_doubt_about_the_baseline_is_a_note(edgecifar, written):
    result = written("result.json", row(images=500))
    _, _, err = edgecifar("check", result, "--baseline", written("last.json", row()))
    assert "images of model.tflite differs: 10000 in the baseline, 500 in this result" in err


def test_a_model_that_was_not_measured_ends_with_2_as_in_a_bench(refused, written):
    line = refused("check", written("result.json", row(), FAILED), *LIMITS)
    assert line == "edgecifar: broken.onnx: crashed (SIGSEGV)\n"


def test_without_a_limit_there_is_nothing_to_check(refused, written):
    assert "nothing to check: give --min-top1" in refused("check", written("a.json", row()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--min-top1", "high"), "--min-top1 high: expected a percentage"),
        (("--max-p90-ms", "0"), "--max-p90-ms 0: give a number above 0"),
        (("--max-regression", "5%"), "needs a --baseline"),
        (("--baseline", "nowhere.json"), "nowhere.json: cannot be read"),
    ],
)
def test_a_wrong_limit_is_one_line(refused, written, options, words):
    assert words in refused("check", written("result.json", row()), *options)


def test_what_is_no_result_is_one_line_that_names_it(refused, tmp_path):
    (tmp_path / "other.json").write_text("no JSON")
    line = refused("check", tmp_path / "other.json", *LIMITS)
    assert f"{tmp_path / 'other.json'}: is not JSON" in line


def test_a_long_line_is_broken_between_words_on_a_terminal(screen, written):
    result = written("result.json", row(model="a model with a name.tflite"))
    code, lines = screen(40, "check", result, "--min-top1", "96%")
    assert (code, lines) == (
        1,
        ["edgecifar: a model with a name.tflite:", "top-1 95 % is below 96 %"],
    )
