"""The bench of all shipped models, on a few images, and which of them are best."""

import json
import shutil
from pathlib import Path

import pytest
from front import foreign, main, points, shipped

from edgecifar.bench.results.result import load
from edgecifar.graphs import facts, overflow

ROOT = Path(__file__).parents[2]
ZOO = ROOT / "exported" / "zoo"


@pytest.fixture
def exported(tmp_path) -> Path:
    """A folder like `exported`, whose models are two small ones of the zoo."""
    pytest.importorskip("tf2onnx")
    folder = tmp_path / "exported"
    for source, target in ((ZOO / "cnn", folder), (ZOO / "cnn-deep", folder / "zoo" / "cnn-deep")):
        target.mkdir(parents=True)
        for name in ("card.json", "model.tflite"):
            shutil.copy(source / name, target / name)
    return folder


def test_the_int8_onnx_file_is_made_from_the_tflite_file(exported, tmp_path):
    models = list(shipped(exported, tmp_path / "scratch"))
    assert [(m.shown, m.name, m.precision, m.made_from) for m in models] == [
        ("exported/model.tflite", "cnn", "int8", None),
        ("exported/model.onnx", "cnn", "int8", "model.tflite"),
        ("exported/zoo/cnn-deep/model.tflite", "cnn-deep", "int8", None),
        ("exported/zoo/cnn-deep/model.onnx", "cnn-deep", "int8", "model.tflite"),
    ]
    assert not (exported / "model.onnx").exists()


def test_an_onnx_file_whose_weights_can_overflow_is_left_out(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(overflow, "may_overflow", lambda file: True)
    models = list(shipped(exported, tmp_path / "scratch"))
    assert [model.path.name for model in models] == 2 * ["model.tflite"]


def test_a_file_that_ships_is_not_made_again(exported, tmp_path):
    _, made, *_ = shipped(exported, tmp_path / "scratch")
    shutil.copy(made.path, exported / "model.onnx")
    _, onnx, *_ = shipped(exported, tmp_path / "again")
    assert (onnx.path, onnx.made_from) == (exported / "model.onnx", None)


def test_the_float_files_are_made_from_the_checkpoint(exported, tmp_path):
    pytest.importorskip("tensorflow")
    shutil.copy(ZOO / "cnn" / "model.keras", exported)
    models = {m.path.name: m for m in shipped(exported, tmp_path / "scratch") if m.name == "cnn"}
    assert list(models) == ["model.tflite", "model.onnx", "model.float.tflite", "model.float.onnx"]
    for name in ("model.float.tflite", "model.float.onnx"):
        assert (models[name].precision, models[name].made_from) == ("float32", "model.keras")
        assert facts.of(models[name].path).inputs[0].shape == (1, 32, 32, 3)


def test_all_models_take_turns_and_the_record_can_be_compared(exported, tmp_path, capsys):
    own = tmp_path / "mine.tflite"
    shutil.copy(ZOO / "cnn-deep" / "model.tflite", own)
    target = tmp_path / "front.json"
    settings = ["--samples", "20", "--max-seconds", "0.1", "--json", str(target)]
    main([str(own), "--exported", str(exported), *settings])
    record = load(target)
    found = {(p.name, p.runtime): p for p in points(record)}
    assert list(found) == [
        ("cnn", "litert"),
        ("cnn", "onnxruntime"),
        ("cnn-deep", "litert"),
        ("cnn-deep", "onnxruntime"),
        ("mine", "litert"),
    ]
    assert [p.foreign for p in found.values()] == [False] * 4 + [True]
    assert all(p.p50_ms > 0 and p.top1 > 0.5 for p in found.values())
    assert str(tmp_path) not in json.dumps(record)
    assert "mine.tflite" in capsys.readouterr().out


def test_a_row_without_figures_is_no_point():
    row = {"model": "a", "runtime": "litert", "top1": None, "latency_ms": {"p50": None}}
    assert points({"rows": [row], "models": {"a": {}}}) == []


def test_only_files_of_the_two_runtimes_take_part():
    with pytest.raises(SystemExit, match=r"model\.keras: give \.tflite or \.onnx files"):
        foreign(ZOO / "cnn" / "model.keras")
