"""Each check on a file that is right but for one thing."""

import importlib.util

import numpy as np
import pytest
import tiny_graphs

from edgecifar.export.checks import check_onnx, check_tflite
from edgecifar.graphs.tflite import Graph

needs_onnx = pytest.mark.skipif(
    not importlib.util.find_spec("onnx"), reason="onnx is not installed"
)


def aligned(precision: str, **changes) -> Graph:
    return Graph(tiny_graphs.tflite(precision, **changes))


@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic", "int8"])
def test_a_right_tflite_file_has_nothing_wrong(precision):
    assert check_tflite(aligned(precision).to_bytes(), precision) == []


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
def test_a_tflite_file_that_is_cut_short(kept):
    file = aligned("int8").to_bytes()
    cut = file[: int(kept * len(file)) if kept < 1 else kept]
    (line,) = check_tflite(cut, "int8")
    assert line.startswith("it is no TFLite file by the schema: ")


def test_another_identifier():
    file = bytearray(aligned("int8").to_bytes())
    file[4:8] = b"TFL2"
    (line,) = check_tflite(bytes(file), "int8")
    assert "does not begin as TFLite files do" in line


def test_an_operator_that_reads_a_tensor_that_is_not_there():
    graph = aligned("int8")
    graph.subgraph.operators[1].inputs[1] = 999
    (line,) = check_tflite(graph.to_bytes(), "int8")
    assert line.startswith("it is no TFLite file by the schema: ")


@pytest.mark.parametrize("custom", ["FlexErf", "Mine"])
def test_a_custom_operator(custom):
    wrong = check_tflite(aligned("float32", custom=custom).to_bytes(), "float32")
    assert f"{custom}: not of TFLite's own operators" in wrong


def test_two_graphs():
    assert check_tflite(aligned("int8", graphs=2).to_bytes(), "int8") == [
        "it has 2 graphs, and one can run"
    ]


def test_other_names():
    graph = aligned("int8")
    graph.inputs[0].raw.name, graph.outputs[0].raw.name = "input_1", "Identity"
    assert check_tflite(graph.to_bytes(), "int8") == [
        "its input is input_1, not image",
        "its output is Identity, not probabilities",
    ]


def test_a_second_input():
    graph = aligned("int8")
    graph.subgraph.inputs = [graph.inputs[0].index, graph.operators[1].inputs[0].index]
    assert check_tflite(graph.to_bytes(), "int8") == ["its input is image, pixels, not image"]


def test_constants_that_are_not_aligned():
    (line,) = check_tflite(tiny_graphs.tflite("int8"), "int8")
    assert line.endswith("constants begin at no multiple of 16 bytes")


def test_a_float_tensor_in_an_int8_file():
    graph = aligned("int8")
    graph.operators[-1].outputs[0].raw.type = aligned("float32").operators[-1].outputs[0].raw.type
    assert check_tflite(graph.to_bytes(), "int8") == [
        "1 float tensors in a file of int8: probabilities "
        "(--keep-float LAYER allows what has no int8 form)"
    ]
    assert check_tflite(graph.to_bytes(), "int8", kept_float=True) == []


@pytest.mark.parametrize("precision", ["int8", "int8-float-io", "int16x8"])
@pytest.mark.parametrize("written", ["float32", "dynamic"])
def test_float_work_in_an_integer_file(precision, written):
    floats, products = check_tflite(aligned(written).to_bytes(), precision)
    assert "float tensors" in floats
    expected = precision.removesuffix("-float-io")
    assert products.startswith(f"2 of 2 products are not of {expected}: CONV_2D of float32")
    assert check_tflite(aligned(written).to_bytes(), precision, kept_float=True) == []


def test_the_scaling_of_pixels_may_be_in_floats_where_the_input_is():
    """CAST and MUL of the pixels, then QUANTIZE: the head of a file of int8-float-io."""
    from ai_edge_litert import schema_py_generated as schema

    graph, head = aligned("int8"), aligned("float32")
    image, pixels = graph.inputs[0], graph.operators[1].inputs[0]
    image.raw.type, image.raw.quantization = schema.TensorType.FLOAT32, None
    assert check_tflite(graph.to_bytes(), "int8-float-io") == []
    assert len(check_tflite(graph.to_bytes(), "int8")) == 1
    pixels.raw.type = head.operators[1].outputs[0].raw.type
    assert len(check_tflite(graph.to_bytes(), "int8-float-io")) == 2


@needs_onnx
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_right_onnx_file_has_nothing_wrong(precision):
    assert check_onnx(tiny_graphs.onnx(precision), precision) == []


@needs_onnx
@pytest.mark.parametrize("content", [b"", b"not a model at all", tiny_graphs.tflite()])
def test_what_is_no_onnx_file(content):
    (line,) = check_onnx(content, "float32")
    assert line.startswith("it is no ONNX file by ONNX's checker: ")


def changed(file: bytes, change) -> bytes:
    import onnx

    model = onnx.load_model_from_string(file)
    change(model)
    return model.SerializeToString()


@needs_onnx
@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.graph.node[0].input.append("nothing"),
        lambda model: (
            model.graph.output[0].type.tensor_type.shape.dim[1].__setattr__("dim_value", 11)
        ),
    ],
    ids=["a tensor from nowhere", "a shape that is another"],
)
def test_the_checker_of_onnx_is_asked_in_full(change):
    (line,) = check_onnx(changed(tiny_graphs.onnx(), change), "float32")
    assert line.startswith("it is no ONNX file by ONNX's checker: ")


@needs_onnx
def test_operators_of_onnxruntime_alone():
    wrong = check_onnx(tiny_graphs.onnx("qoperator"), "float32")
    assert wrong == [
        "QGemm (com.microsoft), QLinearGlobalAveragePool (com.microsoft): "
        "not of ONNX's own operators"
    ]


@needs_onnx
def test_a_newer_opset_and_ir_version():
    assert check_onnx(tiny_graphs.onnx(opset=18), "float32") == ["it is of opset 18, newer than 17"]
    file = changed(tiny_graphs.onnx(), lambda model: model.__setattr__("ir_version", 9))
    assert check_onnx(file, "float32") == ["it is of IR version 9, newer than 8"]


@needs_onnx
def test_other_names_in_onnx():
    def rename(model):
        model.graph.input[0].name = model.graph.node[0].input[0] = "x"

    assert check_onnx(changed(tiny_graphs.onnx(), rename), "float32") == [
        "its input is x, not image"
    ]


@needs_onnx
def test_a_product_of_floats_in_an_int8_onnx_file():
    def past_the_quantization(model):
        (dense,) = (node for node in model.graph.node if node.op_type == "Gemm")
        dense.input[0] = "flat"

    def float_weights(model):
        from onnx import numpy_helper

        (dense,) = (node for node in model.graph.node if node.op_type == "Gemm")
        weights = np.ascontiguousarray(tiny_graphs.DENSE)
        model.graph.initializer.append(numpy_helper.from_array(weights, "plain"))
        dense.input[1] = "plain"

    for change, what in {
        past_the_quantization: "float32 activations and int8 weights",
        float_weights: "uint8 activations and float32 weights",
    }.items():
        file = changed(tiny_graphs.onnx("int8"), change)
        assert check_onnx(file, "int8") == [
            f"1 of 2 products are not of int8: Gemm of {what}, logits"
        ]
        assert check_onnx(file, "int8", kept_float=True) == []
