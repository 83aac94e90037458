"""ONNX files compute what the TFLite files compute that they are made from, with its integers."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import small_graph
from onnx import numpy_helper

import edgecifar
from edgecifar.data import shipped
from edgecifar.export.onnx import float16_onnx, float_onnx, quantized_onnx, with_metadata
from edgecifar.export.quantization import calibration, quantizer, raw_pixels
from edgecifar.graphs.tflite import Graph

IMAGES = slice(0, 40)
IN_ANOTHER_PROCESS = """
import hashlib, json, pathlib, sys
from edgecifar.export.onnx import float_onnx, quantized_onnx, with_metadata
made = [(float_onnx, sys.argv[1]), (quantized_onnx, sys.argv[2])]
files = [with_metadata(make(pathlib.Path(path).read_bytes()), "text") for make, path in made]
print(json.dumps([hashlib.sha256(file).hexdigest() for file in files]))
"""


@pytest.fixture(scope="module")
def images():
    return shipped.calibration_set().images(IMAGES)


@pytest.fixture(scope="module")
def float_file():
    """A float TFLite file that resizes its pixels."""
    return small_graph.network(resize=48)


@pytest.fixture(scope="module")
def quantized(float_file, images):
    """A function that gives its TFLite file of a precision."""
    split, scaling = raw_pixels.split(float_file)
    ranges = calibration.ranges(calibration.observe(split, scaling(images)), "minmax")

    def quantize(precision, keep_float=()):
        return quantizer.quantize(split, scaling, precision, ranges, keep_float)

    return quantize


@pytest.fixture(scope="module")
def int8_file(quantized):
    return quantized("int8")


@pytest.fixture(scope="module")
def int8_model(int8_file):
    return quantized_onnx(int8_file)


def session(model, optimized=None):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimized:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(model, images):
    opened = session(model)
    return np.concatenate([opened.run(None, {"image": image[None]})[0] for image in images])


def run_tflite(file, images):
    """As float32 probabilities."""
    given = small_graph.run(file, images)
    if given.dtype == np.float32:
        return given
    scale, zero_point = Graph(file).outputs[0].quantization
    return (given.astype(np.float32) - zero_point) * scale


def constants(model):
    return {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}


def counted(model):
    return Counter(node.op_type for node in model.graph.node)


def ends(model):
    return [
        (
            value.name,
            value.type.tensor_type.elem_type,
            [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim],
        )
        for value in (*model.graph.input, *model.graph.output)
    ]


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


def test_nodes_and_constants_are_named_for_their_layers(float_file, int8_model):
    model = float_onnx(float_file)
    names = [node.name for node in model.graph.node]
    assert {"first", "first_clip", "depthwise", "second", "probabilities"} <= set(names)
    assert {"first.weight", "first.bias"} <= constants(model).keys()
    assert {"first_quantized", "first_dequantized"} <= {node.name for node in int8_model.graph.node}
    for named in (model, int8_model):
        nodes = [node.name for node in named.graph.node]
        assert len(set(nodes)) == len(nodes)
        assert not any("__" in name or ":" in name for name in [*nodes, *constants(named)])


def test_nothing_empty_is_written_that_could_be_left_out(float_file, int8_model):
    for model in (float_onnx(float_file), int8_model):
        assert not any(node.HasField("domain") for node in model.graph.node)


def test_the_same_file_gives_the_same_bytes_whatever_was_converted_before(
    float_file, int8_file, tmp_path
):
    here = [
        hashlib.sha256(with_metadata(make(file), "text")).hexdigest()
        for make, file in ((float_onnx, float_file), (quantized_onnx, int8_file))
    ]
    paths = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    for path, file in zip(paths, (float_file, int8_file), strict=True):
        path.write_bytes(file)
    there = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, *paths],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        cwd=Path(edgecifar.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(there.stdout.splitlines()[-1]) == here


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


def test_int8_agrees_with_tflite_to_a_step_of_its_probabilities(int8_file, int8_model, images):
    expected, found = run_tflite(int8_file, images), run(int8_model, images)
    assert np.ptp(expected, axis=0).max() > 0.2
    # Half a step of 1/256 for what the TFLite file rounds; sums may round to the next logit.
    assert np.abs(found - expected).max() < 0.02
    assert np.abs(found - expected).mean() < 1 / 512


def test_int8_has_the_integers_of_the_tflite_file(int8_file, int8_model):
    held = constants(int8_model)
    nodes = {node.name: node for node in int8_model.graph.node}
    makers = {name: node for node in nodes.values() for name in node.output}
    axes = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2), "FULLY_CONNECTED": (1, 0)}
    seen = 0
    for operator in Graph(int8_file).operators:
        if operator.name not in axes:
            continue
        node = nodes[operator.outputs[0].name]
        for read, kept in zip(node.input[1:], operator.inputs[1:], strict=False):
            values, scale, zero_point = (held[name] for name in makers[read].input)
            expected = kept.constant
            if expected.ndim > 1:
                assert values.dtype == np.int8
                expected = expected.transpose(axes[operator.name])
            np.testing.assert_array_equal(values, expected)
            np.testing.assert_array_equal(scale, kept.quantization[0])
            assert not zero_point.any()
            seen += 1
    assert seen >= 7


def test_int8_activations_have_the_steps_of_the_tflite_file(int8_file, int8_model):
    held = constants(int8_model)
    found = {}
    for node in int8_model.graph.node:
        if node.op_type == "QuantizeLinear":
            found[node.name] = (float(held[node.input[1]]), int(held[node.input[2]]))
            assert held[node.input[2]].dtype == np.uint8
    expected = {
        tensor.name: (float(tensor.quantization[0][0]), int(tensor.quantization[1][0]) + 128)
        for operator in Graph(int8_file).operators
        for tensor in operator.outputs
        if tensor.dtype == "int8" and tensor.name not in ("probabilities", "tfl.quantize")
    }
    for layer in ("first", "depthwise", "second", "mean", "logits"):
        assert found[f"{layer}_quantized"] == expected[layer]
    assert len(found) == 6  # and the resized pixels


def test_int8_computes_in_integers_but_for_the_resize_and_the_softmax(int8_model, tmp_path):
    # A QuantizeLinear would turn pixels, which are integers, into themselves.
    assert int8_model.graph.node[0].op_type == "Transpose"
    assert not counted(int8_model).keys() & {"Clip", "Relu", "Cast", "Mul", "Add", "Resize"}
    path = tmp_path / "optimized.onnx"
    session(int8_model, path)
    run_as = counted(onnx.load(path))
    assert run_as["QLinearConv"] == 3
    assert run_as["QLinearGlobalAveragePool"] == 1
    assert run_as["MatMul"] == 2  # the resize
    assert not run_as.keys() & {"Conv", "GlobalAveragePool", "Gemm", "Clip", "Relu"}


def test_resized_pixels_are_those_of_tflite(int8_file, int8_model, images):
    """ONNX Runtime's own Resize of uint8 would cut their fractions off."""
    from ai_edge_litert.interpreter import Interpreter

    resize = next(
        operator for operator in Graph(int8_file).operators if operator.name == "RESIZE_BILINEAR"
    )
    interpreter = Interpreter(model_content=int8_file, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images[:1])
    interpreter.invoke()
    expected = interpreter.get_tensor(resize.outputs[0].index)
    if expected.dtype == np.int8:
        expected = expected.astype(np.int16) + 128

    model = onnx.ModelProto()
    model.CopyFrom(int8_model)
    (name,) = (node.name for node in model.graph.node if node.name.startswith("resized_quantized"))
    pixels = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None)
    model.graph.output.append(pixels)
    found = session(model).run([name], {"image": images[:1]})[0].transpose(0, 2, 3, 1)
    difference = np.abs(found.astype(int) - expected)
    assert found.shape == (1, 48, 48, 3)
    assert difference.max() <= 1  # halves go either way
    assert difference.mean() < 0.05


def test_float_pixels_give_what_uint8_pixels_give(int8_file, int8_model, images):
    model = quantized_onnx(int8_file, float_pixels=True)
    assert ends(model)[0] == ("image", onnx.TensorProto.FLOAT, [1, 32, 32, 3])
    np.testing.assert_array_equal(run(model, images.astype(np.float32)), run(int8_model, images))


def test_an_operator_that_is_float_in_the_tflite_file_is_float(quantized, images, tmp_path):
    file = quantized("int8", keep_float=["depthwise"])
    model = quantized_onnx(file)
    path = tmp_path / "optimized.onnx"
    session(model, path)
    assert counted(onnx.load(path))["QLinearConv"] == 2
    assert constants(model)["depthwise.weight"].dtype == np.float32
    assert np.abs(run(model, images) - run_tflite(file, images)).max() < 0.02


def test_dynamic_has_int8_weights_that_cost_nothing_at_inference(quantized, images, tmp_path):
    file = quantized("dynamic")
    model = quantized_onnx(file)
    held = constants(model)
    assert held["first.weight.unscaled.values"].dtype == np.int8
    assert all(values.size < 100 for values in held.values() if values.dtype == np.float32)
    path = tmp_path / "optimized.onnx"
    session(model, path)
    folded = onnx.load(path)
    assert counted(folded)["Cast"] == 1  # of the pixels
    assert np.abs(run(model, images) - run_tflite(file, images)).max() < 0.02


def test_float16_halves_the_weights(float_file, images):
    model = float16_onnx(float_file)
    assert constants(model)["first.weight"].dtype == np.float16
    assert [kind for _, kind, _ in ends(model)] == [onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT]
    np.testing.assert_allclose(run(model, images), run_tflite(float_file, images), atol=0.01)
    assert with_metadata(float16_onnx(float_file), "") == with_metadata(model, "")
