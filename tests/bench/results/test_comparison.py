import json

import pytest
from bench_rows import PI, of, row

from edgecifar.bench.results.comparison import compare, match
from edgecifar.bench.results.result import Pair
from edgecifar.errors import UserError


def compared(*results: dict):
    return compare(list(zip(["a.json", "b.json", "c.json"], results, strict=False)))


def test_a_row_is_beside_the_same_row_of_the_first_result():
    comparison = compared(of(row(), row("b.onnx", 3.0)), of(row("other/b.onnx", 6.0), row()))
    assert [found.model for found in comparison.rows] == ["exported/model.tflite", "b.onnx"]
    same, slower = (found.measured[1] for found in comparison.rows)
    assert same.ratio == pytest.approx(1, abs=0.01)
    assert same.ratio_interval[0] < 1 < same.ratio_interval[1]
    assert slower.ratio == pytest.approx(2, abs=0.02)
    assert 1.5 < slower.ratio_interval[0] < 2 < slower.ratio_interval[1] < 2.5
    assert (slower.result, slower.p50_ms, slower.row.size_bytes) == ("b.json", 6.0, 2_700_000)
    assert all(found.measured[0].ratio is None for found in comparison.rows)
    assert comparison.pairs == []
    assert json.loads(json.dumps(comparison.as_dict()))["rows"][1]["measured"][1]["p50_ms"] == 6.0


def test_a_comparison_has_the_marks_of_both_rows():
    (found,) = compared(of(row(marks=["busy"])), of(row(marks=["hot", "busy"]))).rows
    assert [one.both_marks for one in found.measured] == [[], ["busy", "hot"]]


def test_three_results_are_all_beside_the_first():
    (found,) = compared(of(row(p50_ms=1)), of(row(p50_ms=2)), of(row(p50_ms=4))).rows
    assert [one.ratio and round(one.ratio) for one in found.measured] == [None, 2, 4]


def test_a_result_of_an_earlier_release_gives_a_ratio_without_an_interval():
    recorded = of(row(block_p50_ms=[], top1=0.9556))
    first = recorded["rows"][0]
    now = of(row(p50_ms=2 * first["latency_ms"]["p50"]))
    measured = compared(recorded, now).rows[0].measured[1]
    assert measured.ratio == pytest.approx(2)
    assert measured.ratio_interval is None
    assert measured.top1_difference == pytest.approx(0.95 - 0.9556)


def test_top1_differs_by_as_much_as_the_counts_say():
    less = compared(of(row()), of(row(top1=0.93))).rows[0].measured[1]
    assert less.top1_difference == pytest.approx(-0.02)
    # Newcombe's interval of 9,300 of 10,000 less 9,500 of 10,000.
    assert less.top1_difference_interval == pytest.approx((-0.02661, -0.01342), abs=2e-5)
    unknown = compared(of(row()), of(row(top1=None, images=None))).rows[0].measured[1]
    assert unknown.top1_difference is unknown.top1_difference_interval is None


@pytest.mark.parametrize(
    "more",
    [
        {"runtime": "tensorflow"},
        {"threads": 4},
        {"scenario": "offline"},
        {"options": {"xnnpack": "off"}},
        {"model": "c.tflite"},
    ],
)
def test_rows_that_differ_in_what_was_measured_are_not_the_same(more):
    with pytest.raises(UserError, match=r"a\.json, b\.json: no row of one result is in another"):
        compared(of(row()), of(row(**more)))


def models(matched: list[list[dict | None]]) -> list[list[str | None]]:
    return [[found and found["model"] for found in rows] for rows in matched]


def test_files_of_one_name_are_told_apart_by_paths_and_the_same_file_by_its_turn():
    a, b = row("a/model.tflite", 1.0), row("b/model.tflite", 2.0)
    assert models(match([of(a, b), of(b)])) == [
        ["a/model.tflite", None],
        ["b/model.tflite", "b/model.tflite"],
    ]
    twice = match([of(row(p50_ms=1.0), row(p50_ms=2.0)), of(row(p50_ms=3.0), row(p50_ms=4.0))])
    times = [[found["latency_ms"]["p50"] for found in rows] for rows in twice]
    assert times == [[1.0, 3.0], [2.0, 4.0]]


def test_a_file_is_known_by_its_content_before_its_path():
    old, new = row("old.tflite", sha256="1"), row("new.tflite", sha256="2")
    renamed = row("new.tflite", sha256="1"), row("old.tflite", sha256="3")
    assert models(match([of(old, new), of(*renamed)])) == [
        ["old.tflite", "new.tflite"],
        ["new.tflite", None],
        [None, "old.tflite"],
    ]
    same = [row(name, sha256="1") for name in ("a.tflite", "b.tflite")]
    assert models(match([of(*same), of(*reversed(same))])) == [["a.tflite"] * 2, ["b.tflite"] * 2]


def test_a_model_that_was_made_again_is_beside_the_one_before():
    assert len(match([of(row(sha256="1")), of(row(sha256="2", size_bytes=9))])) == 1


def test_two_models_are_not_the_same_because_their_files_have_one_name():
    a, b = (row(f"{run}/model.tflite", sha256=run) for run in "ab")
    with pytest.raises(UserError, match=r"the model's file or its path, the runtime, the threads"):
        compared(of(a), of(b))


@pytest.mark.parametrize("hashes", [(None, None), (None, "1"), ("1", None)])
def test_without_a_hash_name_and_size_stand_for_the_content(hashes):
    a, b = (row(f"{i}/model.tflite", sha256=held) for i, held in enumerate(hashes))
    assert len(match([of(a), of(b)])) == 1
    other = row("1/model.tflite", sha256=hashes[1], size_bytes=9)
    assert len(match([of(a), of(other)])) == 2


def test_hosts_tell_rows_apart_only_where_a_result_has_several():
    assert len(match([of(row()), of(row(host="pi"))])) == 1
    several = match([of(row(), row(host="pi")), of(row(host="pi"))])
    assert [[found is not None for found in rows] for rows in several] == [
        [True, False],
        [True, True],
    ]


def test_an_error_has_no_ratio_and_keeps_its_reason():
    failed = row(p50_ms=None, error="crashed (SIGSEGV)")
    for results in ((of(row()), of(failed)), (of(failed), of(row()))):
        found = compared(*results).rows[0].measured
        assert found[1].ratio is found[1].top1_difference is None
        assert "crashed (SIGSEGV)" in [one.row.error for one in found]


def test_calls_of_other_batches_are_compared_by_the_image():
    offline = {"scenario": "offline"}
    comparison = compared(of(row(batch=8, **offline)), of(row(batch=32, **offline)))
    assert comparison.rows[0].measured[1].ratio == pytest.approx(8 / 32, rel=0.01)
    assert "batch of model.tflite differs: 8 in a.json, 32 in b.json" in comparison.warnings


EPYC = {"cpu": "EPYC", "cores": 2}


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (of(row()), of(row(), machine=EPYC), "machines differ: cpu Cortex-A76 in a.json, EPYC in"),
        (
            of(row()),
            of(row(), machine=PI | {"governor": "performance"}),
            "machines differ: governor ondemand in a.json, performance in b.json",
        ),
        (
            of(row(), row(host="pi"), machines={"local": EPYC, "pi": PI}),
            of(row(), row(host="pi"), machines={"local": EPYC, "pi": EPYC | {"cpu": "A72"}}),
            "machines differ: cpu Cortex-A76 in a.json, A72 in b.json",
        ),
        (
            of(row()),
            of(row(runtime_version="2.4.0")),
            "runtime_version of litert differs: 2.3.0 in a.json, 2.4.0 in b.json",
        ),
        (
            of(row(), row(threads=2)),
            of(row(), row(threads=4)),
            "threads differ: 1, 2 in a.json, 1, 4 in b.json: only equal numbers are compared",
        ),
        (of(row(), row("b.onnx")), of(row()), "only in a.json: b.onnx"),
        (of(row()), of(row(), row("b.onnx")), "only in b.json: b.onnx"),
        (
            of(row()),
            of(row(marks=["throttled", "hot"])),
            "marked throttled, hot in b.json: model.tflite",
        ),
        (
            of(row(settled=False)),
            of(row()),
            "p50 is less precise than the settings ask for in a.json: ",
        ),
        (of(row()), of(row(images=500)), "images of model.tflite differs: 10000 in a.json, 500"),
        (of(row()), of(row(block_p50_ms=[])), "b.json has no figures of its rounds: ratios to it"),
        (of(row()), of(row()) | {"edgecifar": "0.0.9"}, "edgecifar differs: "),
    ],
)
def test_what_makes_a_comparison_doubtful_is_said(a, b, said):
    assert any(said in warning for warning in compared(a, b).warnings)


def test_what_concerns_several_rows_is_said_once():
    busy = of(row(marks=["busy"]), row("b.onnx", marks=["busy"]))
    assert compared(busy).warnings == ["marked busy in a.json: model.tflite, b.onnx"]


def test_what_is_the_same_or_not_told_is_no_warning():
    unknown = PI | {"governor": None, "load_average": 1.0}
    assert compared(of(row()), of(row(), machine=unknown)).warnings == []


def test_one_result_has_its_paired_ratios():
    pair = Pair(a=0, b=1, ratio=0.86, ratio_interval=(0.85, 0.87), agreement=0.98, mcnemar_p=0.61)
    comparison = compared(of(row(), row("b.onnx", top1=0.94), pairs=[pair]))
    (found,) = comparison.pairs
    assert (found["a"], found["b"], found["ratio"]) == ("model.tflite", "b.onnx", 0.86)
    assert found["top1_difference"] == pytest.approx(0.01)
    assert all(len(found.measured) == 1 for found in comparison.rows)


def test_results_without_rows_have_nothing_in_common():
    with pytest.raises(UserError, match="no row of one result is in another"):
        compared(of(), of())
    assert compared(of()).rows == []
