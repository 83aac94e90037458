"""Quantized ONNX files have the integers of the TFLite files, in the form that runs fast."""

import numpy as np
import onnx
import onnxruntime
from onnx_runs import constants, counted, ends, run, run_tflite, session

from edgecifar.export.tflite_to_onnx.converter import quantized_onnx
from edgecifar.graphs.tflite import Graph


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


def test_every_int8_weight_has_a_zero_point_of_its_own(int8_model, images):
    """Else ONNX Runtime opens no file with its slow kernels that cannot overflow."""
    held = constants(int8_model)
    weights = {name for name, values in held.items() if values.ndim > 1 and values.dtype == np.int8}
    read = [node.input[2] for node in int8_model.graph.node if weights.intersection(node.input)]
    assert len(read) == len(set(read)) == 4
    assert "second.weight.zero_point" in read
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    precise = onnxruntime.InferenceSession(
        int8_model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found = np.concatenate([precise.run(None, {"image": image[None]})[0] for image in images])
    np.testing.assert_allclose(found, run(int8_model, images), atol=1e-6)


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
