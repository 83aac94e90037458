import importlib.util
import io
import json
from pathlib import Path

import pytest
import tiny_graphs
from rich.console import Console

from edgecifar.graphs import facts
from edgecifar.graphs.tflite import Graph
from edgecifar.report.model_facts import model_facts


def printed(tmp_path, file: bytes, name: str = "model.tflite", **console) -> str:
    path = tmp_path / name
    path.write_bytes(file)
    console = Console(file=io.StringIO(), **console)
    model_facts(facts.of(path), Path(name), console)
    return console.file.getvalue()


def test_a_line_for_each_fact_and_a_row_for_each_operator(tmp_path):
    graph = Graph(tiny_graphs.tflite("int8"))
    graph.set_metadata("edgecifar", json.dumps({"labels": ["cat", "dog"], "top1": 0.9}).encode())
    graph.set_metadata("blob", b"\xff" * 1200)
    file = graph.to_bytes()
    lines = printed(tmp_path, file).splitlines()
    facts_of, table = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert dict(line.split(None, 1) for line in facts_of) == {
        "file": f"model.tflite, {len(file) / 1e6:.2f} MB",
        "format": "TFLite schema 3",
        "producer": "written by a test",
        "input": "image: uint8 (1, 32, 32, 3), scale 0.00784314, zero point 127",
        "output": "probabilities: uint8 (1, 10), scale 0.00390625, zero point 0",
        "precision": "int8",
        "parameters": "314",
        "multiply-accumulates": "55,376 an inference, 100 % of them on integers",
        "tensors": "7 int8, 3 int32, 2 uint8",
        "edgecifar.labels": "cat, dog",
        "edgecifar.top1": "0.9",
        "blob": "1,200 bytes",
    }
    assert [row.split() for row in table] == [
        ["operator", "count"],
        ["QUANTIZE", "2"],
        ["CONV_2D", "1"],
        ["MEAN", "1"],
        ["FULLY_CONNECTED", "1"],
        ["SOFTMAX", "1"],
    ]


@pytest.mark.skipif(not importlib.util.find_spec("onnx"), reason="onnx is not installed")
def test_an_onnx_file_and_what_is_not_known_of_it(tmp_path):
    import onnx

    model = onnx.load_model_from_string(tiny_graphs.onnx("qoperator", batch="n"))
    for side in model.graph.input[0].type.tensor_type.shape.dim[1:3]:
        side.dim_param = "side"
    text = printed(tmp_path, model.SerializeToString(), "model.onnx")
    assert "ONNX opset 17, IR version 8, com.microsoft 1" in text
    assert "uint8 (any, any, any, 3)" in text
    assert "not known: a shape is open" in text
    assert "QGemm (com.microsoft)" in text


def test_the_least_runtime_is_said_where_the_file_says_it(tmp_path):
    graph = Graph(tiny_graphs.tflite())
    graph.set_metadata("min_runtime_version", b"2.3.0" + bytes(11))
    assert "schema 3, runs on TensorFlow Lite 2.3.0 and later" in printed(
        tmp_path, graph.to_bytes()
    )


def test_names_and_texts_of_a_file_cannot_steer_a_terminal(tmp_path):
    graph = Graph(tiny_graphs.tflite(custom="\x1b[31mred"))
    graph.inputs[0].raw.name = "[bold]im\nage"
    graph.set_metadata("note\x07", b"\x1b]0;title\x07\n" + b"long " * 100)
    text = printed(tmp_path, graph.to_bytes(), width=80, force_terminal=True)
    assert "\x1b[31m" not in text
    assert "\x1b]0" not in text
    assert "\x07" not in text
    assert r"[bold]im\nage" in text
    assert "... and 311 characters more" in " ".join(text.split())


def test_a_keras_file_has_its_kind_and_its_version(tmp_path):
    pytest.importorskip("tf_keras")
    import legacy_models

    path = legacy_models.saved(legacy_models.sequential(), tmp_path, "h5")
    console = Console(file=io.StringIO())
    model_facts(facts.of(path), path, console)
    lines = console.file.getvalue().splitlines()
    shown = dict(line.split(None, 1) for line in lines[: lines.index("")])
    assert shown["format"] == "HDF5 file of Keras"
    assert shown["producer"].startswith("Keras 2.")
    assert shown["precision"] == "float32"


@pytest.mark.skipif(not importlib.util.find_spec("onnx"), reason="onnx is not installed")
def test_what_only_the_onnx_package_tells_has_the_way_to_get_it(tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnx" else find_spec(name)
    )
    shown = printed(tmp_path, tiny_graphs.onnx("int8"), "model.onnx")
    assert shown.count("not known without the onnx package: pip install onnx") == 2
