import json

from edgecifar.bench.result import Row, result, unmeasured

MEASURED = Row(
    model="a.tflite",
    runtime="litert",
    threads=1,
    images=100,
    top1=0.5,
    top1_interval=(0.4, 0.6),
    latency_ms={"p50": 1.0, "p90": 1.0, "p99": 1.0, "mean": 1.0, "min": 1.0},
)
FAILED = Row(model="b.onnx", runtime="onnxruntime", threads=1, error="is not installed")


def test_a_result_survives_json_with_the_names_of_the_schema():
    made = result({"board": None}, [MEASURED, FAILED])
    assert json.loads(json.dumps(made)) == made
    assert made["schema_version"] == 1
    names = "model runtime threads images top1 top1_interval latency_ms load_ms peak_rss_mib"
    for row in made["rows"]:
        assert set(f"{names} size_bytes error".split()) <= set(row)
        assert {"p50", "p90", "p99", "mean"} <= set(row["latency_ms"])


def test_a_row_that_failed_has_its_error_and_nulls():
    row = result({}, [FAILED])["rows"][0]
    assert row["error"] == "is not installed"
    assert row["top1"] is row["top1_interval"] is row["latency_ms"]["p50"] is None


def test_only_models_without_any_measured_row_are_unmeasured():
    also_failed = Row(model="a.tflite", runtime="tensorflow", threads=1, error="crashed")
    made = result({}, [MEASURED, also_failed, FAILED])
    assert unmeasured(made) == [("b.onnx", ["is not installed"])]
