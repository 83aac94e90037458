import struct

import numpy as np
import pytest
import tiny_graphs
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgecifar.graphs import flatbuffer
from edgecifar.graphs.tflite import Graph, fused_activation, unaligned_buffers


def outputs(file: bytes, images: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=file)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for image in images:
        interpreter.set_tensor(taken["index"], image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(given["index"])[0])
    return np.array(found)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)


@pytest.fixture
def graph() -> Graph:
    return Graph(tiny_graphs.tflite("int8"))


def named(graph: Graph, name: str):
    return next(tensor for tensor in graph.tensors if tensor.name == name)


def test_operators_come_in_their_order_with_their_tensors(graph):
    operators = graph.operators
    assert [operator.name for operator in operators] == [
        "QUANTIZE", "CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX", "QUANTIZE",
    ]  # fmt: skip
    assert not any(operator.custom for operator in operators)
    taken = [tensor.name for tensor in operators[1].inputs]
    assert taken == ["pixels", "kernel", "kernel_bias"]
    assert [tensor.name for tensor in operators[1].outputs] == ["features"]
    assert [tensor.name for tensor in graph.inputs + graph.outputs] == ["image", "probabilities"]


def test_a_tensor_says_its_shape_dtype_and_quantization(graph):
    image, kernel = named(graph, "image"), named(graph, "kernel")
    assert (image.shape, image.dtype) == ((1, 32, 32, 3), "uint8")
    scales, zero_points = image.quantization
    assert (scales.dtype, zero_points.dtype) == (np.float32, np.int64)
    assert (float(scales[0]), int(zero_points[0])) == (np.float32(1 / 127.5), 127)
    assert (kernel.dtype, kernel.quantization[0].shape) == ("int8", (8,))
    assert named(Graph(tiny_graphs.tflite()), "image").quantization is None


def test_a_dtype_that_numpy_has_not_is_the_schemas_own(graph):
    tensor = named(graph, "kernel")
    tensor.raw.type = schema.TensorType.INT4
    assert tensor.dtype == "int4"
    assert tensor.constant is None
    tensor.raw.type = 99
    assert tensor.dtype == "type 99"


def test_constants_are_those_that_the_file_holds():
    graph = Graph(tiny_graphs.tflite())
    np.testing.assert_array_equal(named(graph, "kernel").constant, tiny_graphs.KERNEL)
    assert named(graph, "by").constant.shape == ()
    assert named(graph, "axes").constant.tolist() == [1, 2]
    assert named(graph, "features").constant is None


def test_an_empty_buffer_of_its_own_makes_no_constant(graph):
    empty = schema.BufferT()
    empty.data = np.zeros(0, np.uint8)
    graph.model.buffers.append(empty)
    named(graph, "features").raw.buffer = len(graph.model.buffers) - 1
    assert named(Graph(graph.to_bytes()), "features").constant is None


def test_an_optional_input_that_is_left_out_is_none(graph):
    graph.operators[1].raw.inputs[2] = -1
    assert [t and t.name for t in graph.operators[1].inputs] == ["pixels", "kernel", None]
    assert graph.readers(named(graph, "kernel_bias")) == []
    assert [operator.name for operator in graph.readers(named(graph, "pixels"))] == ["CONV_2D"]


def test_an_operator_says_what_it_reads_now(graph):
    convolution, mean = graph.operators[1:3]
    mean.raw.inputs[0] = convolution.inputs[0].index
    assert [tensor.name for tensor in mean.inputs] == ["pixels", "axes"]
    assert [reader.name for reader in graph.readers(convolution.inputs[0])] == ["CONV_2D", "MEAN"]
    assert graph.readers(convolution.outputs[0]) == []


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_an_operator_of_a_tensor_that_is_not_there_is_refused(graph, side):
    getattr(graph.operators[2].raw, side)[0] = 99
    with pytest.raises(ValueError, match="an operator names tensor 99, and it has 1"):
        Graph(graph.to_bytes())


def test_a_graph_that_leaves_its_vectors_out_is_empty(graph):
    for vector in ("operators", "tensors", "inputs", "outputs"):
        setattr(graph.subgraph, vector, None)
    assert (graph.operators, graph.inputs, graph.outputs, list(graph.tensors)) == ([], [], [], [])


def test_a_fused_activation_has_a_name(graph):
    assert [fused_activation(operator) for operator in graph.operators[:3]] == [
        "NONE", "RELU6", "NONE",
    ]  # fmt: skip


def test_a_custom_operator_has_its_own_name():
    last = Graph(tiny_graphs.tflite(custom="FlexErf")).operators[-1]
    assert (last.name, last.custom) == ("FlexErf", True)


def test_changed_constants_are_what_runs(images):
    graph = Graph(tiny_graphs.tflite())
    bias = np.zeros(10, np.float64)
    bias[7] = 50
    named(graph, "dense_bias").set_constant(bias)
    assert outputs(graph.to_bytes(), images).argmax(axis=1).tolist() == [7] * 5


def test_only_a_constant_takes_values_of_its_shape():
    graph = Graph(tiny_graphs.tflite())
    with pytest.raises(ValueError, match=r"by is of shape \(\), not \(1,\)"):
        named(graph, "by").set_constant(np.ones(1))
    with pytest.raises(ValueError, match="mean is computed"):
        named(graph, "mean").set_constant(np.ones((1, 8)))
    assert named(graph, "features").constant is None


def test_metadata_can_be_read_where_it_was_put(graph):
    graph.set_metadata("card", b"\0\xff")
    assert graph.metadata == {"card": b"\0\xff"}
    assert Graph(graph.to_bytes()).metadata == {"card": b"\0\xff"}


def test_metadata_is_read_without_the_graph_too(graph):
    assert flatbuffer.metadata(graph.to_bytes(), "card") is None
    graph.set_metadata("card", b"\0\xff")
    graph.set_metadata("another", b"")
    for file in (graph.to_bytes(), behind_the_flatbuffer(graph)):
        known = Graph(file).metadata
        assert known == {"card": b"\0\xff", "another": b""}
        assert {name: flatbuffer.metadata(file, name) for name in known} == known
        assert flatbuffer.metadata(file, "none") is None


def test_metadata_of_a_damaged_file_is_refused(graph):
    graph.set_metadata("card", b"\0\xff")
    graph.model.metadata[0].buffer = 10_000
    with pytest.raises(ValueError, match="its metadata names buffer 10000"):
        flatbuffer.metadata(graph.to_bytes(), "card")
    with pytest.raises(ValueError, match=r"cut short|points to|no table"):
        flatbuffer.metadata(graph.to_bytes()[:-50], "card")


def test_names_can_be_text_or_bytes(graph):
    graph.inputs[0].raw.name = "pixels in"
    assert graph.inputs[0].name == "pixels in"
    assert Graph(graph.to_bytes()).inputs[0].name == "pixels in"


@pytest.mark.parametrize("precision", ["float32", "dynamic", "int8"])
def test_what_is_written_computes_the_same_and_is_written_the_same_again(precision, images):
    file = tiny_graphs.tflite(precision)
    written = Graph(file).to_bytes()
    np.testing.assert_array_equal(outputs(written, images), outputs(file, images))
    assert len({tuple(row) for row in outputs(file, images)}) > 1
    assert Graph(written).to_bytes() == written


def test_constants_are_written_at_multiples_of_16_bytes():
    file = tiny_graphs.tflite("int8")
    assert unaligned_buffers(file)
    assert unaligned_buffers(Graph(file).to_bytes()) == []


def behind_the_flatbuffer(graph: Graph) -> bytes:
    """The file with its constants behind the flatbuffer, as files over 2 GB have them."""
    held = [buffer.data for buffer in graph.model.buffers]
    for buffer, data in zip(graph.model.buffers, held, strict=True):
        if data is not None:
            buffer.data, buffer.offset, buffer.size = None, 2**20, len(data)
    start = len(graph.to_bytes())
    parts = []
    for buffer, data in zip(graph.model.buffers, held, strict=True):
        if data is not None:
            at = start + sum(map(len, parts))
            parts.append(bytes(-at % 16))
            buffer.offset = at + len(parts[-1])
            parts.append(data.tobytes())
    return graph.to_bytes() + b"".join(parts)


def test_constants_behind_the_flatbuffer_are_read_and_written(graph, images):
    file = behind_the_flatbuffer(graph)
    again = Graph(file)
    assert named(again, "axes").constant.tolist() == [1, 2]
    assert unaligned_buffers(file) == []
    plain = tiny_graphs.tflite("int8")
    np.testing.assert_array_equal(outputs(again.to_bytes(), images), outputs(plain, images))
    with pytest.raises(ValueError, match="cut short"):
        Graph(file[:-1])


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        (b"", "does not begin"),
        (b"not a model at all", "does not begin"),
        (b"\0\0\0\0TFL3", "no table"),
        (b"\xff\xff\0\0TFL3", "points to byte 65535, and has 8"),
        (tiny_graphs.tflite(graphs=0), "has no graph"),
    ],
)
def test_what_is_no_model_is_said_in_a_line(file, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        Graph(file)
    assert "\n" not in str(caught.value)


def test_every_truncation_is_noticed():
    file = tiny_graphs.tflite("int8")
    for kept in range(0, len(file), 7):
        with pytest.raises(ValueError):  # noqa: PT011
            Graph(file[:kept])


def test_tables_over_each_other_are_refused():
    """Thousands of entries in one place would be read thousands of times."""
    count, size = 50_000, 1000
    vtable = struct.pack("<9H2x", 18, 8, 0, 0, 0, 0, 0, 0, 4)  # a model with metadata
    head = struct.pack("<I4s", 28, b"TFL3") + vtable + struct.pack("<iI", 20, 4)
    entries = [40 + 4 * count + 4 - (40 + 4 * i) for i in range(count)]  # all lead to one table
    shared = struct.pack("<HHi", 4, size, 4) + bytes(size)
    file = head + struct.pack(f"<I{count}I", count, *entries) + shared
    with pytest.raises(ValueError, match="its tables overlap"):
        Graph(file)
