import dataclasses
import json
import tracemalloc
from importlib import resources
from pathlib import Path
from types import NoneType, UnionType
from typing import get_args, get_origin, get_type_hints

import jsonschema
import pytest

from edgecifar.bench.results.comparison import compare
from edgecifar.bench.results.result import Pair, Row, load, result, typed, unmeasured
from edgecifar.bench.settings import BenchSettings, Timing
from edgecifar.errors import UserError

RECORDED = Path(__file__).parents[3] / "benchmarks" / "shipped_model.json"
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
FULL = Row(
    model="a.tflite",
    runtime="litert",
    runtime_version="2.3.0",
    host="pi",
    threads=4,
    options={"xnnpack": False},
    scenario="offline",
    batch=8,
    input={"dtype": "uint8", "shape": [None, 32, 32, 3], "layout": "NHWC"},
    normalization="unit",
    normalization_tried=[{"normalization": "unit", "top1": 0.9}],
    output="logits",
    labels=["cat", "dog"],
    images=10_000,
    top1=0.9556,
    top1_interval=(0.9513, 0.9594),
    top5=0.99,
    top5_interval=(0.98, 1.0),
    ece=0.01,
    per_class=[{"label": "cat", "images": 1_000, "top1": 0.9, "top1_interval": (0.88, 0.92)}],
    confusion=[[900, 100], [0, 1_000]],
    latency_ms=dict.fromkeys(("p50", "p90", "p99", "p999", "min", "mean", "std"), 1.0),
    latency_interval_ms=dict.fromkeys(("p50", "p90", "p99", "mean"), (0.9, 1.1)),
    parts_ms={"set_input": 0.1, "invoke": 0.8, "get_output": 0.1},
    block_p50_ms=[1.0, None, 1.1],
    timed_inferences=3_000,
    timed_s=3.1,
    settled=True,
    warm_up={"inferences": 100, "seconds": 0.1, "settled": True},
    images_per_s=1_000.0,
    import_ms=280.0,
    load_ms=3.0,
    first_ms=1.5,
    peak_rss_mib=50.0,
    runtime_rss_mib=39.0,
    model_rss_mib=11.0,
    energy_mj_per_image=4.2,
    energy_source="rapl",
    power_w=4.2,
    idle_power_w=2.1,
    marks=["throttled"],
    size_bytes=2_721_856,
)
WHOLE = result(
    {
        "cpu": "Cortex-A76",
        "cores": 4,
        "conditions": {
            "before": {"temperature_c": 50.5},
            "during": [{"load_average": 1}],
            "after": {},
        },
    },
    [FULL, MEASURED, FAILED],
    started="2026-11-02T12:00:00+00:00",
    settings={"precision": 0.01},
    machines={"pi": {"board": None}},
    pairs=[Pair(a=0, b=1, ratio=0.86, ratio_interval=(0.85, 0.87), agreement=0.98, mcnemar_p=0.6)],
)


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    file = resources.files("edgecifar.bench.results") / "result.schema.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


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


def test_results_hold_the_published_schema_those_of_earlier_releases_too(schema):
    schema.validate(WHOLE)
    schema.validate(result({}, []))
    schema.validate(json.loads(RECORDED.read_text()))


@pytest.mark.parametrize(("kind", "name"), [(Row, "row"), (Pair, "pair")])
def test_the_schema_describes_every_field_and_no_other(schema, kind, name):
    described = schema.schema["$defs"][name]["properties"]
    assert set(described) == {field.name for field in dataclasses.fields(kind)}
    assert all("description" in field or "enum" in field for field in described.values())


def allowed_by_hint(hint: object) -> list:
    """The JSON types of a field of a dataclass; an array with those of its items."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return sorted([kind for one in inner for kind in allowed_by_hint(one)], key=str)
    if origin is list:
        items = allowed_by_hint(inner[0])
        return [("array", str(items))]
    if origin is tuple:
        assert set(inner) == {float}
        return [("array", str(["number"]))]
    if origin is dict:
        return [("object", str(allowed_by_hint(inner[1])))]
    names = {str: "string", int: "integer", float: "number", bool: "boolean"}
    return ["null" if hint is NoneType else ("object", "any") if hint is dict else names[hint]]


def allowed_by_schema(field: dict, definitions: dict) -> list:
    """The same of a field that the schema describes."""
    if "$ref" in field:
        field = definitions[field["$ref"].removeprefix("#/$defs/")]
    if "enum" in field:
        texts = [None if value is None else "string" for value in field["enum"]]
        return sorted({"null" if text is None else text for text in texts})
    kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
    found = []
    for kind in kinds:
        if kind == "array":
            kind = ("array", str(allowed_by_schema(field["items"], definitions)))
        elif kind == "object" and isinstance(field.get("additionalProperties"), dict):
            values = allowed_by_schema(field["additionalProperties"], definitions)
            kind = ("object", str(values))
        elif kind == "object":
            kind = ("object", "any")
        found.append(kind)
    return sorted(found, key=str)


@pytest.mark.parametrize(("kind", "name"), [(Row, "row"), (Pair, "pair")])
def test_the_schema_gives_every_field_the_type_that_the_dataclass_has(schema, kind, name):
    described = schema.schema["$defs"][name]["properties"]
    definitions = schema.schema["$defs"]
    by_schema = {key: allowed_by_schema(field, definitions) for key, field in described.items()}
    by_hint = {key: allowed_by_hint(hint) for key, hint in get_type_hints(kind).items()}
    assert by_schema == by_hint


def test_the_typed_row_of_a_result_is_the_row_that_was_written():
    found = json.loads(json.dumps(WHOLE))["rows"][0] | {"of_a_later_release": 1}
    again = typed(found)
    assert result({}, [again])["rows"][0] == WHOLE["rows"][0]


def test_the_schema_describes_the_whole_result_and_no_more(schema):
    assert set(schema.schema["properties"]) == set(WHOLE)


BREAKS = {
    "version": lambda found: found.update(schema_version=2),
    "no rows": lambda found: found.pop("rows"),
    "rows that are no list": lambda found: found.update(rows={}),
    "a row without a model": lambda found: found["rows"][0].pop("model"),
    "no threads": lambda found: found["rows"][0].update(threads=0),
    "a share in percent": lambda found: found["rows"][0].update(top1=95.56),
    "an interval of three": lambda found: found["rows"][0].update(top1_interval=[0, 0.5, 1]),
    "a latency in words": lambda found: found["rows"][0]["latency_ms"].update(p50="fast"),
    "no p90": lambda found: found["rows"][0]["latency_ms"].pop("p90"),
    "another scenario": lambda found: found["rows"][0].update(scenario="server"),
    "one mark that is no list": lambda found: found["rows"][0].update(marks="busy"),
    "a reading that is a list": lambda found: found["machine"]["conditions"].update(before=[]),
    "a pair of a name": lambda found: found["pairs"][0].update(a="model.tflite"),
    "a machine that is text": lambda found: found.update(machine="Raspberry Pi 5"),
}


@pytest.mark.parametrize("breaks", BREAKS.values(), ids=BREAKS)
def test_a_broken_result_does_not_hold_the_schema(schema, breaks):
    found = json.loads(json.dumps(WHOLE))
    breaks(found)
    assert not schema.is_valid(found)


def test_a_result_comes_back_from_its_file_as_it_was(tmp_path):
    file = tmp_path / "result.json"
    file.write_text(json.dumps(WHOLE))
    found = load(file)
    assert found["rows"][0] == WHOLE["rows"][0]
    assert found["pairs"] == WHOLE["pairs"]
    assert found["started"] == "2026-11-02T12:00:00+00:00"


def test_the_recorded_result_holds_the_schema(schema):
    schema.validate(json.loads(RECORDED.read_text()))


def test_what_an_earlier_release_did_not_have_yet_is_empty(schema, tmp_path):
    file = tmp_path / "earlier.json"
    names = ("model", "runtime", "threads", "images", "top1", "top1_interval", "load_ms")
    names += ("peak_rss_mib", "size_bytes", "error")
    earlier = {name: WHOLE["rows"][0][name] for name in names}
    earlier["latency_ms"] = {"p50": 0.35, "p90": 0.38, "p99": 0.43, "mean": 0.36}
    file.write_text(json.dumps({"schema_version": 1, "machine": {}, "rows": [earlier]}))
    found = load(file)
    row = found["rows"][0]
    assert row["latency_ms"]["p50"] == 0.35
    assert row["latency_ms"]["p999"] is row["latency_interval_ms"]["p50"] is row["host"] is None
    assert row["marks"] == row["block_p50_ms"] == found["pairs"] == []
    assert row["scenario"] == "single-stream"
    assert found["edgecifar"] is found["started"] is None
    assert set(row) == {field.name for field in dataclasses.fields(Row)}
    schema.validate(found)


def test_a_result_without_the_timing_of_its_settings_is_read_and_compared(schema, tmp_path):
    file, later = tmp_path / "earlier.json", tmp_path / "later.json"
    settings = BenchSettings(samples=20).as_json()
    earlier = {name: value for name, value in settings.items() if name != "timing"}
    for path, given in ((file, earlier), (later, settings)):
        path.write_text(json.dumps(result({}, [MEASURED], settings=given)))
    old, new = load(file), load(later)
    assert old["settings"] == earlier
    assert set(new["settings"]["timing"]) == {field.name for field in dataclasses.fields(Timing)}
    for found in (old, new):
        schema.validate(found)
    (row,) = compare([("old", old), ("new", new)]).rows
    assert [one.p50_ms for one in row.measured] == [MEASURED.latency_ms["p50"]] * 2


def test_a_pair_without_figures_is_complete_with_nulls(tmp_path):
    file = tmp_path / "result.json"
    file.write_text(json.dumps(result({}, [MEASURED, FAILED]) | {"pairs": [{"a": 0, "b": 1}]}))
    assert load(file)["pairs"] == result({}, [], pairs=[Pair(a=0, b=1)])["pairs"]


def test_fields_of_a_later_release_are_kept(tmp_path):
    file = tmp_path / "result.json"
    more = result({}, [MEASURED]) | {"weather": "rain"}
    more["rows"][0]["volts"] = 5
    file.write_text(json.dumps(more))
    found = load(file)
    assert found["weather"] == "rain"
    assert found["rows"][0]["volts"] == 5


def row_with(**fields: object) -> str:
    row = {"model": "a", "runtime": "litert", "threads": 1, **fields}
    return json.dumps({"schema_version": 1, "machine": {}, "rows": [row]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1, 2]", "has no schema_version"),
        ('{"name": "another"}', "has no schema_version"),
        ('{"schema_version": true}', "has no schema_version"),
        ('{"schema_version": 1}', "has no machine"),
        ('{"schema_version": 1, "machine": {}}', "has no rows"),
        ('{"schema_version": 1, "machine": {}, "rows": [5]}', "rows has the wrong type or value"),
        ('{"schema_version": 1, "machine": {}, "rows": [{}]}', "rows[0] has no model"),
        ('{"schema_version": 2, "rows": []}', "schema_version 2 is of a later edgecifar"),
        (row_with(threads=True), "rows[0].threads has the wrong type or value"),
        (row_with(threads=-1), "rows[0].threads has the wrong type or value"),
        (row_with(size_bytes=10**30), "rows[0].size_bytes has the wrong type or value"),
        (row_with(top1=95.56), "rows[0].top1 has the wrong type or value"),
        (row_with(top1="high"), "rows[0].top1 has the wrong type or value"),
        (row_with(top1=float("nan")), "rows[0].top1 has the wrong type or value"),
        (
            row_with(top1_interval=[0.1, 0.2, 0.3]),
            "rows[0].top1_interval has the wrong type or value",
        ),
        (row_with(latency_ms={"p50": []}), "rows[0].latency_ms has the wrong type or value"),
        (row_with(block_p50_ms=[1, "2"]), "rows[0].block_p50_ms has the wrong type or value"),
        (
            row_with()[:-1] + ', "pairs": [{"a": 0, "b": 1}]}',
            "a pair names a row that does not exist",
        ),
    ],
)
def test_a_file_that_is_no_result_is_one_line_that_says_why(tmp_path, text, said):
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        load(file)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        load(tmp_path / "absent.json")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        load(tmp_path)
    image = tmp_path / "image.json"
    image.write_bytes(b"\x89PNG\xff")
    with pytest.raises(UserError, match="is not JSON"):
        load(image)


def test_a_result_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result({}, [MEASURED])), encoding="utf-8-sig")
    assert load(path)["rows"][0]["top1"] == 0.5


def test_more_than_a_result_can_have_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "result.json"

    def refused(rows, more):
        path.write_text(json.dumps({"schema_version": 1, "machine": {}, "rows": rows} | more))
        with pytest.raises(UserError, match=r"result\.json: .* more than") as error:
            load(path)
        return str(error.value)

    row = {"model": "a.tflite", "runtime": "litert", "threads": 1}
    assert "rows[0].block_p50_ms" in refused([row | {"block_p50_ms": [1.0] * 100_001}], {})
    assert "10,000 rows" in refused([row] * 10_001, {})
    assert "100,000 pairs" in refused([row], {"pairs": [{"a": 0, "b": 0}] * 100_001})
    monkeypatch.setattr("edgecifar.bench.results.result.LARGEST_BYTES", 2**20)
    assert "more than 1 MiB" in refused([row], {"note": "x" * 2**20})


def test_a_comparison_of_the_most_blocks_takes_little_memory():
    rows = [dataclasses.replace(MEASURED, block_p50_ms=[1.0, 1.1] * 50_000)]
    results = [("a", result({}, rows)), ("b", result({}, rows))]
    tracemalloc.start()
    compare(results)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150_000_000
