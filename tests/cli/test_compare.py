"""`edgecifar compare`."""

import json
from pathlib import Path

import pytest

RECORDED_BENCH = Path(__file__).parents[2] / "benchmarks" / "shipped_model.json"


def test_compare_shows_a_recorded_result_beside_another_and_writes_it(edgecifar, tmp_path):
    found = json.loads(RECORDED_BENCH.read_text())
    for row in found["rows"]:
        row["block_p50_ms"] = [p50 and 2 * p50 for p50 in row["block_p50_ms"]]
    twice = tmp_path / "twice.json"
    twice.write_text(json.dumps(found))
    comparison, table, sheet = (
        tmp_path / f"out/comparison.{kind}" for kind in ("json", "md", "csv")
    )
    options = ["--json", comparison, "--md", table, "--csv", sheet]
    code, out, err = edgecifar("compare", RECORDED_BENCH, twice, *options)
    assert (code, err) == (0, "")
    assert "2.000" in out
    rows = json.loads(comparison.read_text())["rows"]
    assert {round(row["measured"][1]["ratio"], 9) for row in rows} == {2.0}
    assert len(sheet.read_bytes().split(b"\r\n")) == 2 * len(rows) + 2
    assert table.read_text().startswith("| model | runtime |")


def test_compare_gives_stdout_to_json_alone_on_request(edgecifar):
    code, out, err = edgecifar("compare", RECORDED_BENCH, "--json", "-")
    assert code == 0
    assert json.loads(out)["results"][0]["name"] == str(RECORDED_BENCH)
    assert "model.float.tflite" in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        ("no JSON", "is not JSON"),
        ('{"recipe": "quick"}', "is no result of `edgecifar bench`: it has no schema_version"),
        ('{"schema_version": 2}', "schema_version 2 is of a later edgecifar"),
        ('{"schema_version": 1, "machine": {}, "rows": []}', "no row of one is in another"),
    ],
)
def test_compare_of_what_is_no_result_is_one_line_that_names_it(refused, tmp_path, content, said):
    other = tmp_path / "other.json"
    if content is not None:
        other.write_text(content)
    line = refused("compare", RECORDED_BENCH, other)
    assert str(other) in line
    assert said in line


def test_compare_that_cannot_write_is_one_line(edgecifar, tiny_tflite):
    code, _, err = edgecifar("compare", RECORDED_BENCH, "--csv", tiny_tflite / "x.csv")
    assert code == 2
    assert err.startswith(f"edgecifar: cannot write in {tiny_tflite}")
    assert err.count("\n") == 1
