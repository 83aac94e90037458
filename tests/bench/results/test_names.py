import pytest
from bench_rows import PI, of, row

from edgecifar.bench.results.names import machine_of, named_pairs, row_names


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([{}, {"model": "b.onnx"}], ["model.tflite", "b.onnx"]),
        ([{}, {"runtime": "tensorflow"}], ["model.tflite in litert", "model.tflite in tensorflow"]),
        ([{}, {"threads": 4}], ["model.tflite, 1 thread", "model.tflite, 4 threads"]),
        ([{}, {"options": {"a": 1}}], ["model.tflite", "model.tflite, a=1"]),
        ([{}, {"host": "pi"}], ["model.tflite on local", "model.tflite on pi"]),
        ([{}, {}], ["model.tflite #1", "model.tflite #2"]),
        (
            [{"model": "b.onnx"}, {}, {"threads": 2}, {"threads": 2}],
            ["b.onnx", "model.tflite, 1 thread"]
            + [f"model.tflite, 2 threads #{n}" for n in (1, 2)],
        ),
    ],
)
def test_a_row_is_named_as_shortly_as_tells_it_apart(rows, names):
    assert row_names(of(*[row(**more) for more in rows])["rows"]) == names


def test_a_row_is_of_the_machine_of_its_host():
    here, there = {"cpu": "EPYC"}, PI
    rows = of(row(), row(host="pi"), machine=here, machines={"local": here, "pi": there})
    assert [machine_of(rows, one) for one in rows["rows"]] == [here, there]
    alone = of(row(host="pi"), machine=there)
    assert machine_of(alone, alone["rows"][0]) == there


def test_pairs_get_the_names_and_marks_of_their_rows_and_the_difference_in_top1():
    made = of(
        row(top1=0.93, marks=["busy"]),
        row("b.onnx", top1=0.95, marks=["busy", "overflow"]),
        row("c.onnx", top1=None),
    )
    pairs = [{"a": 0, "b": 1, "ratio": 0.5}, {"a": 1, "b": 2, "ratio": 2.0}]
    first, second = named_pairs(made, pairs)
    assert first.pop("top1_difference") == pytest.approx(-0.02)
    marks = ["busy", "overflow"]
    assert first == {"a": "model.tflite", "b": "b.onnx", "ratio": 0.5, "marks": marks}
    assert second.pop("top1_difference") is None
    assert second == {"a": "b.onnx", "b": "c.onnx", "ratio": 2.0, "marks": marks}
