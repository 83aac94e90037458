"""What each path is found to be."""

import json

import pytest
from bench_rows import of, row

from edgecifar.errors import UserError
from edgecifar.report.page.sources import Bench, Export, Run, read

RECIPE = json.dumps({"recipe": {"name": "cnn"}})
HISTORY = "epoch,stage,size,loss,validation_top1\n1,head,32,,0.5\n2,all,32,1.5,0.75\n"


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "a-run"
    folder.mkdir()
    (folder / "recipe.json").write_text(RECIPE)
    return folder


def test_a_run_has_its_history_with_the_types_of_its_columns(run):
    (run / "history.csv").write_text(HISTORY)
    (run / "metrics.json").write_text('{"best_epoch": null}')
    found = read(run)
    assert isinstance(found, Run)
    assert found.name == "a-run"
    assert found.metrics == {"best_epoch": None}
    assert [row["epoch"] for row in found.history] == [1, 2]
    assert [row["loss"] for row in found.history] == [None, 1.5]
    assert found.history[1]["stage"] == "all"


def test_a_run_in_its_first_epoch_is_one(run):
    assert read(run) == Run("a-run", {"recipe": {"name": "cnn"}})


@pytest.mark.parametrize("content", [b"epoch,loss\n1,many\n", b"epoch\n1,2,3\n", b"epoch\n\xff\n"])
def test_a_damaged_history_is_refused_by_name(run, content):
    (run / "history.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"history.csv: it is not a history that edgecifar writes"):
        read(run)


def test_a_folder_with_a_card_is_an_export(run):
    (run / "card.json").write_text('{"checkpoint_sha256": "0"}')
    assert read(run) == Export("a-run", {"checkpoint_sha256": "0"})


def test_a_file_is_the_result_of_a_bench(tmp_path):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(of(row())))
    found = read(path)
    assert isinstance(found, Bench)
    assert found.result["rows"][0]["model"] == "exported/model.tflite"


def test_the_name_of_the_current_folder_is_that_of_the_folder(run, monkeypatch):
    monkeypatch.chdir(run)
    (run / "card.json").write_text('{"checkpoint_sha256": "0"}')
    from pathlib import Path

    assert read(Path()).name == "a-run"


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no card.json and no recipe.json"):
        read(tmp_path)


def test_a_file_that_is_no_result_is_refused(tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"\0" * 10)
    with pytest.raises(UserError, match="is not JSON"):
        read(tmp_path / "a.tflite")
