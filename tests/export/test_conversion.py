"""What the one float graph becomes: layers kept float are the checkpoint's own."""

import dataclasses

import numpy as np
import pytest

from edgecifar.export import checks
from edgecifar.export.checkpoint import open_checkpoint
from edgecifar.export.conversion import convert
from edgecifar.export.quantization import quantizer
from edgecifar.export.settings import ExportSettings
from edgecifar.graphs.tflite import Graph

QUICK = ExportSettings(("int8",), ("tflite",), calibration="minmax", calibration_images=20)


@pytest.fixture(scope="module")
def checkpoint(small_run):
    return open_checkpoint(small_run.checkpoint)


def converted(checkpoint, **changes):
    conversion = convert(checkpoint, dataclasses.replace(QUICK, **changes))
    files = {file.name: Graph(file.with_metadata("{}")) for file in conversion.files}
    return conversion, files


def operator(graph, kind, number=0):
    return [one for one in graph.operators if one.name == kind][number]


def test_a_layer_kept_float_has_the_weights_of_the_checkpoint(checkpoint):
    conversion, files = converted(checkpoint, keep_float=("second",))
    weights = operator(files["model.tflite"], "CONV_2D", 1).inputs[1]
    assert weights.dtype == "float32"
    kernel = np.asarray(checkpoint.model.get_layer("second").kernel)
    np.testing.assert_allclose(weights.constant, np.moveaxis(kernel, -1, 0), rtol=1e-6)
    assert operator(files["model.tflite"], "CONV_2D", 0).inputs[1].dtype == "int8"
    assert "second" in conversion.calibration["kept_float"][0]


def test_what_is_kept_float_in_int8_files_is_not_in_others(checkpoint):
    _, files = converted(checkpoint, precisions=("int8", "dynamic"), keep_float=("second",))
    weights = operator(files["model.dynamic.tflite"], "CONV_2D", 1).inputs[1]
    assert weights.dtype == "int8"


def test_the_most_sensitive_layers_in_a_row_are_found(checkpoint):
    conversion, _ = converted(checkpoint, keep_float=("auto:2",))
    assert len(conversion.calibration["kept_float"]) == 2


def test_the_noise_of_a_layer_has_that_of_its_rounded_weights_in_it(checkpoint):
    conversion, _ = converted(checkpoint)
    noise = {row["output"]: row["sqnr_db"] for row in conversion.calibration["noise"]}
    assert len(noise) >= 4
    assert all(10 < ratio < 70 for ratio in noise.values())


def test_every_quantized_graph_is_made_once(checkpoint, monkeypatch):
    """The noise of the layers is that of the very file, and the ONNX files are made from it too."""
    real, asked = quantizer.quantize, []

    def counting(file, scaling, precision, *rest):
        asked.append(precision)
        return real(file, scaling, precision, *rest)

    monkeypatch.setattr(quantizer, "quantize", counting)
    precisions = ("int8", "int8-float-io", "dynamic", "int16x8", "float16")
    wanted = dataclasses.replace(QUICK, precisions=precisions, formats=("tflite", "onnx"))
    assert len(convert(checkpoint, wanted).files) == 9
    assert sorted(asked) == sorted(precisions)


@pytest.mark.parametrize("kept", ["second", "probabilities", "auto:2"])
def test_what_is_kept_float_is_known_of_every_integer_file(checkpoint, kept, tmp_path):
    settings = dataclasses.replace(
        QUICK,
        precisions=("int8", "int8-float-io", "int16x8", "float32"),
        formats=("tflite", "onnx"),
        keep_float=(kept,),
    )
    files = convert(checkpoint, settings).files
    for file in files:
        path = tmp_path / file.name
        path.write_bytes(file.with_metadata("{}"))
        assert checks.defects(path, file.precision, file.kept_float) == [], file.name
        if file.precision != "float32":
            assert checks.defects(path, file.precision) != [] or not file.kept_float, file.name
    assert {file.precision for file in files if not file.kept_float} >= {"float32"}
    assert all(file.kept_float for file in files if file.name.endswith("int16x8.tflite"))
