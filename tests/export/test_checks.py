"""Each check on a file that is right but for one thing."""

import importlib.util

import numpy as np
import pytest
import small_graph
import tiny_graphs

from edgecifar.data import shipped
from edgecifar.export.checks import check_onnx, check_tflite
from edgecifar.export.quantization import editing
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
    assert line.startswith("it does not follow the TFLite schema: ")


def test_another_identifier():
    file = bytearray(aligned("int8").to_bytes())
    file[4:8] = b"TFL2"
    (line,) = check_tflite(bytes(file), "int8")
    assert "does not begin as TFLite files do" in line


def test_an_operator_that_reads_a_tensor_that_is_not_there():
    graph = aligned("int8")
    graph.subgraph.operators[1].inputs[1] = 999
    (line,) = check_tflite(graph.to_bytes(), "int8")
    assert line.startswith("it does not follow the TFLite schema: ")


@pytest.mark.parametrize("custom", ["FlexErf", "Mine"])
def test_a_custom_operator(custom):
    wrong = check_tflite(aligned("float32", custom=custom).to_bytes(), "float32")
    assert f"{custom}: not among TFLite's own operators" in wrong


def test_two_graphs():
    assert check_tflite(aligned("int8", graphs=2).to_bytes(), "int8") == [
        "it has 2 graphs, and only one can run"
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
    assert line.endswith("constants do not begin at a multiple of 16 bytes")


def test_a_float_tensor_in_an_int8_file():
    graph = aligned("int8")
    graph.operators[-1].outputs[0].raw.type = aligned("float32").operators[-1].outputs[0].raw.type
    assert check_tflite(graph.to_bytes(), "int8") == [
        "1 float tensors in a file of int8: probabilities "
        "(`keep_float=LAYER` allows what has no int8 form)"
    ]


@pytest.fixture(scope="module")
def quantized():
    """Files of a precision with some operators kept float, as an export makes them."""
    from edgecifar.export.quantization import calibration, quantizer, raw_pixels

    split, scaling = raw_pixels.split(small_graph.network(resize=40))
    images = scaling(shipped.calibration_set().images(slice(5)))
    ranges = calibration.ranges(calibration.observe(split, images), "minmax")

    def made(precision, *kept):
        return quantizer.quantize(split, scaling, precision, ranges, kept)

    return made


KEPT = [("first",), ("depthwise", "second"), ("mean",), ("logits", "probabilities"), ("resized",)]


@pytest.mark.parametrize("precision", ["int8", "int8-float-io", "int16x8"])
@pytest.mark.parametrize("kept", KEPT)
def test_operators_that_are_kept_float_are_allowed_and_no_others(quantized, precision, kept):
    file = quantized(precision, *kept)
    assert check_tflite(file, precision, kept) == []
    for number, name in enumerate(kept):
        others = kept[:number] + kept[number + 1 :]
        lines = check_tflite(file, precision, others)
        assert "float tensors in a file of" in lines[0], name
        assert len(lines) == 1 + (name in ("first", "depthwise", "second", "logits"))
    assert check_tflite(file, precision) != []


@pytest.mark.parametrize("precision", ["int8", "int8-float-io", "int16x8"])
def test_an_operator_that_was_to_stay_float_and_is_not(quantized, precision):
    file = quantized(precision, "first")
    (line,) = check_tflite(file, precision, ["first", "second"])
    assert line.startswith("1 of 2 products are not of float32: CONV_2D of int")


def test_a_scaling_in_floats_behind_the_first_quantized_tensor(quantized):
    """The pixels of an int8 file of float pixels are scaled in floats, and nothing behind them."""
    from ai_edge_litert import schema_py_generated as schema

    graph = Graph(quantized("int8-float-io"))
    resized = next(t for t in graph.tensors if t.name == "resized")
    real, twice = (editing.add_tensor(graph, name, resized.shape) for name in ("real", "twice"))
    by = editing.add_tensor(graph, "by", (), constant=np.float32(2))
    at = [operator.name for operator in graph.operators].index("RESIZE_BILINEAR") + 1
    graph.subgraph.operators[at:at] = [
        editing.new_operator(graph, "DEQUANTIZE", [resized], real, schema.DequantizeOptionsT()),
        editing.new_operator(graph, "MUL", [real, by], twice, schema.MulOptionsT()),
    ]
    (line,) = check_tflite(graph.to_bytes(), "int8-float-io")
    assert line.startswith("3 float tensors in a file of int8-float-io: real, twice, by")


@needs_onnx
def test_products_of_onnx_that_are_kept_float_are_allowed_and_no_others(quantized):
    from edgecifar.export.tflite_to_onnx import converter as onnx

    model = onnx.quantized_onnx(quantized("int8", "depthwise", "logits"))
    onnx_model = onnx.with_metadata(model, "{}")
    assert check_onnx(onnx_model, "int8", ["depthwise", "logits"]) == []
    (line,) = check_onnx(onnx_model, "int8", ["depthwise"])
    assert line.startswith("1 of 3 products are not of int8: MatMul of float32 activations")
    assert line.endswith("logits")
    (line,) = check_onnx(onnx_model, "int8", ["depthwise", "first", "logits"])
    assert line.startswith("2 of 3 products that were to stay float are: ")
    # As many floats, but elsewhere.
    assert len(check_onnx(onnx_model, "int8", ["depthwise", "first"])) == 2
    assert check_onnx(onnx_model, "int8") != []


@pytest.mark.parametrize("precision", ["float16", "dynamic"])
def test_weights_that_silently_stayed_float32(precision):
    (line,) = check_tflite(aligned("float32").to_bytes(), precision)
    assert line.startswith(f"2 of 2 products are not of {precision}: CONV_2D of float32 ")
    other = {"float16": "dynamic", "dynamic": "float16"}[precision]
    assert len(check_tflite(aligned(other).to_bytes(), precision)) == 1


@pytest.mark.parametrize("precision", ["float16", "dynamic"])
def test_one_layer_whose_weights_stayed_float32(precision):
    graph, whole = aligned(precision), aligned("float32")
    dense = next(one for one in graph.operators if one.name == "FULLY_CONNECTED")
    weights = next(one for one in whole.operators if one.name == "FULLY_CONNECTED").inputs[1]
    plain = editing.add_tensor(graph, "plain", weights.shape, constant=weights.constant)
    dense.raw.inputs = [dense.raw.inputs[0], plain.index, dense.raw.inputs[2]]
    (line,) = check_tflite(graph.to_bytes(), precision)
    assert line.startswith(f"1 of 2 products are not of {precision}: FULLY_CONNECTED of float32")


@needs_onnx
@pytest.mark.parametrize("precision", ["float16", "dynamic"])
def test_weights_of_onnx_that_silently_stayed_float32(precision):
    (line,) = check_onnx(tiny_graphs.onnx(), precision)
    assert line.startswith(f"2 of 2 products are not of {precision}: Conv of float32 activations")


@needs_onnx
def test_a_product_of_two_activations_has_no_weights_to_make_smaller():
    def self_product(model):
        import onnx

        (dense,) = (node for node in model.graph.node if node.op_type == "Gemm")
        column = onnx.numpy_helper.from_array(np.array([8, 1], np.int64), "column")
        model.graph.initializer.append(column)
        square = [
            onnx.helper.make_node("Reshape", ["flat", "column"], ["tall"]),
            onnx.helper.make_node("MatMul", ["tall", "flat"], ["square"]),
            onnx.helper.make_node("MatMul", ["flat", "square"], ["attended"]),
        ]
        at = list(model.graph.node).index(dense)
        for node in reversed(square):
            model.graph.node.insert(at, node)
        dense.input[0] = "attended"

    file = changed(tiny_graphs.onnx(), self_product)
    (line,) = check_onnx(file, "dynamic")
    assert line.startswith("2 of 2 products are not of dynamic: Conv")


@pytest.mark.parametrize("precision", ["int8", "int8-float-io", "int16x8"])
@pytest.mark.parametrize("written", ["float32", "dynamic"])
def test_float_work_in_an_integer_file(precision, written):
    floats, products = check_tflite(aligned(written).to_bytes(), precision)
    assert "float tensors" in floats
    expected = precision.removesuffix("-float-io")
    assert products.startswith(f"2 of 2 products are not of {expected}: CONV_2D of float32")


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
    assert line.startswith("ONNX's checker refuses it: ")


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
    assert line.startswith("ONNX's checker refuses it: ")


@needs_onnx
def test_operators_of_onnxruntime_alone():
    wrong = check_onnx(tiny_graphs.onnx("qoperator"), "float32")
    assert wrong == [
        "QGemm (com.microsoft), QLinearGlobalAveragePool (com.microsoft): "
        "not among ONNX's own operators"
    ]


@needs_onnx
def test_a_newer_opset_and_ir_version():
    assert check_onnx(tiny_graphs.onnx(opset=18), "float32") == ["it has opset 18, newer than 17"]
    file = changed(tiny_graphs.onnx(), lambda model: model.__setattr__("ir_version", 9))
    assert check_onnx(file, "float32") == ["it has IR version 9, newer than 8"]


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
