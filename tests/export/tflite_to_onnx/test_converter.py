"""ONNX files compute what the TFLite files compute that they are made from."""

import functools

import numpy as np
import onnx
import pytest
import small_graph
from ai_edge_litert import schema_py_generated as schema
from onnx_runs import constants, ends, run, run_tflite, session

import edgecifar
from edgecifar.export.tflite_to_onnx.converter import (
    float16_onnx,
    float_onnx,
    quantized_onnx,
    with_metadata,
)


def test_a_float_file_computes_the_same(float_file, images):
    found = run(float_onnx(float_file), images)
    np.testing.assert_allclose(found, run_tflite(float_file, images), atol=1e-6)


def test_what_is_said_of_the_file(float_file):
    model = float_onnx(float_file)
    assert (model.producer_name, model.producer_version) == ("edgecifar", edgecifar.__version__)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    uint8, float32 = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT
    assert ends(model) == [
        ("image", uint8, [1, 32, 32, 3]),
        ("probabilities", float32, [1, 10]),
    ]
    stamped = onnx.load_model_from_string(with_metadata(model, "a text"))
    assert [(entry.key, entry.value) for entry in stamped.metadata_props] == [
        ("edgecifar", "a text")
    ]


def test_nothing_empty_is_written_that_could_be_left_out(float_file, int8_model):
    for model in (float_onnx(float_file), int8_model):
        assert not any(node.HasField("domain") for node in model.graph.node)


@pytest.mark.parametrize("batch", [5, "dynamic"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_batch_computes_what_single_images_do(float_file, int8_file, images, batch, precision):
    convert, file = {
        "float32": (float_onnx, float_file),
        "int8": (quantized_onnx, int8_file),
    }[precision]
    model = convert(file, batch)
    assert {shape[0] for _, _, shape in ends(model)} == {"batch" if batch == "dynamic" else 5}
    (found,) = session(model).run(None, {"image": images[:5]})
    np.testing.assert_allclose(found, run(convert(file), images[:5]), atol=1e-6)


def gelu(approximate, writer, taken):
    options = schema.GeluOptionsT()
    options.approximate = approximate
    return writer.add("GELU", [taken], writer.shape(taken), "gelu", options)


@pytest.mark.parametrize("approximate", [False, True])
def test_a_gelu_is_written_out(images, approximate):
    file = small_graph.network(subject=functools.partial(gelu, approximate))
    found, expected = run(float_onnx(file), images), run_tflite(file, images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    other = small_graph.network(subject=functools.partial(gelu, not approximate))
    assert np.abs(run_tflite(other, images) - expected).max() > 2e-5


def dense_of_pixels(writer, taken):
    """A dense layer for each pixel, as attention has them: four sides in and out."""
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    generator = np.random.default_rng(3)
    matrix = writer.constant("mixing", generator.normal(0, 0.4, (12, 12)).astype(np.float32))
    bias = writer.constant("mixing_bias", generator.normal(0, 0.5, 12).astype(np.float32))
    return writer.add(
        "FULLY_CONNECTED", [taken, matrix, bias], writer.shape(taken), "mixed", options
    )


@pytest.mark.parametrize("batch", [1, 5, "dynamic"])
def test_a_dense_layer_of_more_than_two_sides_keeps_them(images, batch):
    file = small_graph.network(subject=dense_of_pixels)
    model = float_onnx(file, batch)
    taken = images[:5] if batch != 1 else images[:1]
    (found,) = session(model).run(None, {"image": taken})
    np.testing.assert_allclose(found, run_tflite(file, taken), atol=1e-5)
    assert "mixed.bias" in constants(model)


def test_float16_halves_the_weights(float_file, images):
    model = float16_onnx(float_file)
    assert constants(model)["first.weight"].dtype == np.float16
    assert [kind for _, kind, _ in ends(model)] == [onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT]
    np.testing.assert_allclose(run(model, images), run_tflite(float_file, images), atol=0.01)
    assert with_metadata(float16_onnx(float_file), "") == with_metadata(model, "")
