"""What each kind of product costs, counted by hand."""

import importlib.util

import numpy as np
import pytest
import tiny_graphs
from ai_edge_litert import schema_py_generated as schema

from edgecifar.graphs import products
from edgecifar.graphs.tflite import Graph

needs_onnx = pytest.mark.skipif(
    not importlib.util.find_spec("onnx"), reason="onnx is not installed"
)


@needs_onnx
@pytest.mark.parametrize(
    ("operator", "taken", "weights", "attributes", "count"),
    [
        # What is given is (1, 6, 7, 7): 3 x 3 x 4 products for each of its values.
        ("Conv", (1, 4, 9, 9), (6, 4, 3, 3), {}, 6 * 7 * 7 * 3 * 3 * 4),
        ("Conv", (1, 4, 9, 9), (6, 2, 3, 3), {"group": 2}, 6 * 7 * 7 * 3 * 3 * 2),
        ("Conv", (1, 4, 9, 9), (4, 1, 3, 3), {"group": 4, "strides": [2, 2]}, 4 * 4 * 4 * 9),
        # Each value that it takes adds to 2 x 2 positions of 6 channels.
        ("ConvTranspose", (1, 4, 5, 5), (4, 6, 2, 2), {"strides": [2, 2]}, 4 * 25 * 6 * 4),
        ("Gemm", (3, 5), (5, 7), {}, 3 * 5 * 7),
        ("Gemm", (3, 5), (7, 5), {"transB": 1}, 3 * 5 * 7),
        ("Gemm", (5, 3), (5, 7), {"transA": 1}, 3 * 5 * 7),
        ("MatMul", (2, 3, 5), (2, 5, 7), {}, 2 * 3 * 5 * 7),
        ("MatMul", (3, 5), (5,), {}, 3 * 5),
    ],
)
def test_onnx(operator, taken, weights, attributes, count):
    from onnx import TensorProto, helper, numpy_helper

    from edgecifar.graphs.onnx import Graph as OnnxGraph

    held = numpy_helper.from_array(np.ones(weights, np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node(operator, ["x", "w"], ["product"], **attributes),
            helper.make_node("Relu", ["product"], ["y"]),
        ],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, taken)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [held],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    (product,) = products.of_onnx(OnnxGraph(model.SerializeToString()))
    assert (product.operator, product.multiply_accumulates) == (operator, count)


@needs_onnx
def test_shapes_behind_onnxruntimes_own_operators_are_known():
    from edgecifar.graphs.onnx import Graph as OnnxGraph

    graph = OnnxGraph(tiny_graphs.onnx("qoperator"))
    assert graph.shape("mean") == (1, 8, 1, 1)
    assert graph.shape("steps") == (1, 10)


@pytest.mark.parametrize(
    ("builtin", "shapes", "count"),
    [
        # In the order of the operator's inputs, then what it gives.
        ("CONV_2D", [(1, 9, 9, 4), (6, 3, 3, 4), (1, 7, 7, 6)], 7 * 7 * 6 * 3 * 3 * 4),
        ("DEPTHWISE_CONV_2D", [(1, 9, 9, 4), (1, 3, 3, 8), (1, 7, 7, 8)], 7 * 7 * 8 * 3 * 3),
        ("FULLY_CONNECTED", [(1, 1, 1, 5), (7, 5), (1, 7)], 5 * 7),
        ("BATCH_MATMUL", [(2, 3, 5), (2, 5, 7), (2, 3, 7)], 2 * 3 * 5 * 7),
        ("TRANSPOSE_CONV", [(4,), (6, 2, 2, 4), (1, 5, 5, 4), (1, 10, 10, 6)], 25 * 4 * 6 * 4),
    ],
)
def test_tflite(builtin, shapes, count):
    graph = Graph(tiny_graphs.tflite())
    operator = graph.operators[2]
    assert operator.name == "CONV_2D"
    code = graph.model.operatorCodes[operator.raw.opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, builtin)
    changed = [*operator.inputs[: len(shapes) - 1], *operator.outputs]
    for tensor, shape in zip(changed, shapes, strict=True):
        tensor.raw.shape = list(shape)
    first = products.of_tflite(graph)[0]
    assert (first.operator, first.multiply_accumulates) == (builtin, count)
