"""Which weights overflow: the arithmetic of `vpmaddubsw` in numpy, and ONNX files of every kind."""

import itertools

import numpy as np
import pytest
import tiny_graphs
from onnx import TensorProto, helper, numpy_helper

from edgecifar.graphs import overflow
from edgecifar.graphs.onnx import Graph


def pair_sum(activations, weights):
    """What the instruction makes of two uint8 and two int8 values: saturated to int16."""
    return np.clip(np.dot(activations.astype(int), weights.astype(int)), -(2**15), 2**15 - 1)


def saturates(weights):
    """Whether any two of some int8 weights saturate with any activations."""
    corners = [np.array(pair, np.uint8) for pair in itertools.product((0, 255), repeat=2)]
    return any(
        pair_sum(corner, np.array(pair)) != np.dot(corner.astype(int), np.array(pair, int))
        for pair in itertools.combinations(weights, 2)
        for corner in corners
    )


@pytest.mark.parametrize(
    "weights",
    [[127, 1, 0], [127, 2, 0], [64, 64, -127], [64, 65, 0], [-100, -28], [-100, -29], [127, -127]],
)
def test_the_limit_is_that_of_the_instruction(weights):
    taps = np.array(weights, np.int8)[:, None]
    assert (overflow.largest_pairs(taps) > overflow.PAIR_LIMIT)[0] == saturates(weights)


def test_the_limit_holds_for_all_pairs_of_weights():
    first, second = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    taps = np.stack([first.ravel(), second.ravel()]).astype(np.int8)
    exact = 255 * taps.astype(int)
    # Each product alone fits; activations of 0 take a weight out, so the extremes are these.
    sums = [exact[0], exact[1], exact.sum(axis=0)]
    expected = np.any([(s < -(2**15)) | (s > 2**15 - 1) for s in sums], axis=0)
    np.testing.assert_array_equal(overflow.largest_pairs(taps) > overflow.PAIR_LIMIT, expected)


def test_pairs_are_of_one_sign_and_of_one_channel():
    taps = np.array([[5, -7], [3, 2], [-9, -1]], np.int8)
    assert overflow.largest_pairs(taps).tolist() == [9, 8]
    assert overflow.largest_pairs(taps / 2).tolist() == [4.5, 4.0]
    assert overflow.largest_pairs(taps[:1]).tolist() == [5, 7]


LARGE = [127, 100]  # at the first two taps of the first channel
CASES = {
    "Conv": (helper.make_node("Conv", ["x", "w"], ["y"]), (4, 3, 3, 3), [0, 0]),
    "two groups": (helper.make_node("Conv", ["x", "w"], ["y"], group=2), (4, 2, 3, 3), [0, 0]),
    "two outputs for each input": (
        helper.make_node("Conv", ["x", "w"], ["y"], group=4),
        (8, 1, 3, 3),
        [0, 0],
    ),
    "ConvTranspose": (helper.make_node("ConvTranspose", ["x", "w"], ["y"]), (4, 3, 2, 2), None),
    "MatMul": (helper.make_node("MatMul", ["x", "w"], ["y"]), (6, 4), None),
    "Gemm": (helper.make_node("Gemm", ["x", "w"], ["y"]), (6, 4), None),
    "Gemm, transB": (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), (4, 6), [0]),
}
SHAPES = {
    "two groups": (1, 4, 8, 8),
    "two outputs for each input": (1, 4, 8, 8),
    "depthwise": (1, 8, 8, 8),
    "ConvTranspose": (1, 4, 8, 8),
    "Conv": (1, 3, 8, 8),
}


def graph_of(node, weights, taken, activations=np.uint8, stored=np.int8):
    """A product between DequantizeLinear nodes."""
    constants = {
        "steps": weights.astype(stored),
        "scale": np.float32(0.01),
        "zero": stored(0),
        "taken_zero": activations(0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "scale", "taken_zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "taken_zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["steps", "scale", "zero"], ["w"]),
        node,
    ]
    graph = helper.make_graph(
        nodes,
        "one product",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, taken)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Graph(model.SerializeToString())


def weights_of(shape, row, values=LARGE):
    """Small weights, two of one channel large: a row of the first axis, else of a column."""
    weights = np.ones(shape, int)
    if row is None:
        weights.reshape(shape[0], -1)[:2, 0] = values
    else:
        weights.reshape(shape[0], -1)[0, :2] = values
    return weights


@pytest.mark.parametrize("name", CASES)
def test_two_large_weights_of_an_output_channel_are_found(name):
    node, shape, row = CASES[name]
    taken = SHAPES.get(name, (1, 6))
    (found,) = overflow.of_onnx(graph_of(node, weights_of(shape, row), taken))
    assert (found.name, found.operator, found.channels) == ("y", node.op_type, 1)
    # In two channels, they are no pair.
    apart = weights_of(shape, None if row is not None else [0])
    if name != "ConvTranspose" and shape[1] > 1:
        assert not overflow.of_onnx(graph_of(node, apart, taken))
    assert not overflow.of_onnx(graph_of(node, weights_of(shape, row, [100, 28]), taken))


def test_depthwise_kernels_add_no_pairs():
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=8)
    graph = graph_of(node, weights_of((8, 1, 3, 3), [0]), SHAPES["depthwise"])
    assert not overflow.of_onnx(graph)


@pytest.mark.parametrize(
    ("activations", "stored", "count"),
    [(np.uint8, np.int8, 1), (np.int8, np.int8, 1), (np.uint8, np.uint8, 0)],
)
def test_only_int8_weights_overflow(activations, stored, count):
    node, shape, row = CASES["MatMul"]
    graph = graph_of(node, weights_of(shape, row), (1, 6), activations, stored)
    assert len(overflow.of_onnx(graph)) == count


def test_a_transposed_weight_has_its_channels_on_the_other_axis():
    node = helper.make_node("MatMul", ["x", "turned"], ["y"])
    graph = graph_of(node, weights_of((4, 6), [0]), (1, 6))
    turn = helper.make_node("Transpose", ["w"], ["turned"], perm=[1, 0])
    graph.model.graph.node.insert(3, turn)
    (found,) = overflow.of_onnx(Graph(graph.model.SerializeToString()))
    assert (found.channels, found.of) == (1, 4)


def test_files_of_others_are_read_in_every_form():
    """Weights that spread over all of int8, as most exporters leave them."""
    for precision in ("int8", "qoperator"):
        found = overflow.of_onnx(Graph(tiny_graphs.onnx(precision, reduce_range=False)))
        assert len(found) == 2, precision
        assert found[0].of == 8
        assert not overflow.of_onnx(Graph(tiny_graphs.onnx(precision)))
    assert not overflow.of_onnx(Graph(tiny_graphs.onnx("float32")))
