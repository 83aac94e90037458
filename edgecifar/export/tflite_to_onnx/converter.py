"""Converts a TFLite file with tf2onnx, and corrects what is wrong or unnamed after that."""

import functools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import edgecifar
from edgecifar.export.quantization import editing
from edgecifar.export.settings import DYNAMIC
from edgecifar.export.tflite_to_onnx import IR_VERSION, OPSET, names, qdq
from edgecifar.graphs import METADATA
from edgecifar.models import contract

if TYPE_CHECKING:
    import onnx
    from ai_edge_litert import schema_py_generated as schema

    from edgecifar.graphs.tflite import Graph, Tensor

BATCH = "batch"


def float_onnx(tflite: bytes, batch: int | str = 1) -> "onnx.ModelProto":
    """Convert a float TFLite file.

    Keras's own ONNX export would leave batch norm in training mode.

    Args:
        tflite: the file, one input and one output, of a batch of 1.
        batch: how many images the graph takes at once; "dynamic" for any number.

    Returns:
        The same graph, the same for the same file: `image` to `probabilities`.

    Raises:
        ValueError: the graph holds an operator that tf2onnx does not know, or one by which it does
            not take another batch.
    """
    model, name = _converted(tflite)
    return _finished(model, name, batch)


def quantized_onnx(
    tflite: bytes, batch: int | str = 1, float_pixels: bool = False
) -> "onnx.ModelProto":
    """Convert a TFLite file with int8 weights, and int8 activations or float ones.

    Activations become uint8, for which ONNX Runtime has its fastest kernels; probabilities stay
    float, as the softmax computes them; operators that are float in the file are float here.

    Args:
        tflite: the file; its `image` takes raw pixels, uint8 or as int8 that are 128 lower.
        batch: see `float_onnx`.
        float_pixels: whether to take raw pixels as float32 of 0 to 255; the results are the same.

    Returns:
        `image`, raw pixels, uint8 unless `float_pixels`, to `probabilities` float32.

    Raises:
        ValueError: see `float_onnx`.
    """
    model, name = _converted(tflite)
    if qdq.is_quantized(model):
        qdq.use_uint8_activations(model)
        qdq.drop_repeated_steps(model)
        qdq.give_float(model)
        qdq.drop_needless_clips(model)
        qdq.shield_float_operators(model)
        qdq.resize_by_matrices(model)
        qdq.give_weights_zero_points(model)
    else:
        qdq.let_weights_unfold(model)
    if float_pixels:
        qdq.take_float_pixels(model)
    return _finished(model, name, batch)


def float16_onnx(tflite: bytes, batch: int | str = 1) -> "onnx.ModelProto":
    """Convert a float TFLite file to float16 weights and arithmetic.

    A CPU without float16 arithmetic computes in float32 and only reads a file of half the size.

    Args:
        tflite: see `float_onnx`.
        batch: see `float_onnx`.

    Returns:
        The graph with its inputs and outputs as they were.

    Raises:
        ValueError: see `float_onnx`.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return _checked(convert_float_to_float16(float_onnx(tflite, batch), keep_io_types=True))


def with_metadata(model: "onnx.ModelProto", metadata: str) -> bytes:
    """The file, with a text as its metadata property named `edgecifar`."""
    import onnx

    onnx.helper.set_model_props(model, {METADATA: metadata})
    return model.SerializeToString(deterministic=True)


def _converted(tflite: bytes) -> tuple["onnx.ModelProto", Callable[["onnx.ModelProto"], None]]:
    """The graph as tf2onnx gives it, and what makes its names and its order canonical."""
    import tf2onnx

    from edgecifar.graphs.tflite import Graph

    graph = Graph(tflite)
    _make_dense_flat(graph)
    layers = names.layer_names(graph)
    names.mark(graph)
    (image,), (probabilities,) = graph.inputs, graph.outputs
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(graph.to_bytes())
        model, _ = tf2onnx.convert.from_tflite(str(path), opset=OPSET)
    _write_out_gelu(model)
    ends = {image.name: contract.INPUT, probabilities.name: contract.OUTPUT}
    return model, functools.partial(names.rename, layers=layers, ends=ends)


def _make_dense_flat(graph: "Graph") -> None:
    """Let each dense layer take and give matrices, with reshapes around those that do not.

    tf2onnx 1.17 flattens what such a layer takes too, and loses its bias on the way, and the sides
    of what it gives.
    """
    operators = []
    for operator in graph.operators:
        operators.append(operator.raw)
        if operator.name != "FULLY_CONNECTED":
            continue
        taken, (made,) = operator.input(0), operator.outputs
        units, count = operator.input(1).shape
        rows = math.prod(taken.shape) // count
        if len(taken.shape) != 2:
            flat = _like(graph, taken, (rows, count))
            operator.raw.inputs = [flat.index, *list(operator.raw.inputs)[1:]]
            operators.insert(-1, _reshape(graph, taken, flat, (-1, count)))
        if len(made.shape) != 2:
            flat = _like(graph, made, (rows, units))
            operator.raw.outputs = [flat.index]
            operator.raw.builtinOptions.keepNumDims = False
            operators.append(_reshape(graph, flat, made, (-1, *made.shape[1:])))
    graph.subgraph.operators = operators


def _like(graph: "Graph", tensor: "Tensor", shape: tuple[int, ...]) -> "Tensor":
    """A new tensor for the values of one."""
    flat = editing.add_tensor(graph, f"{tensor.name}/flat", shape, np.dtype(tensor.dtype))
    flat.raw.quantization = tensor.raw.quantization
    return flat


def _reshape(
    graph: "Graph", taken: "Tensor", made: "Tensor", sides: tuple[int, ...]
) -> "schema.OperatorT":
    shape = np.array(sides, np.int32)
    target = editing.add_tensor(graph, f"{made.name}/shape", shape.shape, np.int32, shape)
    return editing.new_operator(graph, "RESHAPE", [taken, target], made)


def _write_out_gelu(model: "onnx.ModelProto") -> None:
    """Put products and an Erf, or a Tanh, for each GELU: tf2onnx 1.17 leaves TFLite's operator.

    ONNX has one from opset 20 on. ONNX Runtime makes one of these again.
    """
    from onnx import helper, numpy_helper

    graph = model.graph

    def node(operator: str, *inputs: str | float, to: str | None = None) -> str:
        output = to or f"{result}/{operator.lower()}{len(graph.node)}"
        taken = []
        for given in inputs:
            if not isinstance(given, str):
                constant = numpy_helper.from_array(np.asarray(given, np.float32), f"{output}/by")
                graph.initializer.append(constant)
                given = constant.name
            taken.append(given)
        graph.node.append(helper.make_node(operator, taken, [output], name=output))
        return output

    for gelu in [node for node in graph.node if node.op_type == "TFL_GELU"]:
        (taken,), (result,) = gelu.input, gelu.output
        graph.node.remove(gelu)
        if any(held.name == "approximate" and held.i for held in gelu.attribute):
            cube = node("Mul", node("Mul", taken, taken), taken)
            bent = node("Add", taken, node("Mul", cube, 0.044715))
            share = node("Tanh", node("Mul", bent, math.sqrt(2 / math.pi)))
        else:
            share = node("Erf", node("Div", taken, math.sqrt(2)))
        node("Mul", node("Mul", taken, node("Add", share, 1.0)), 0.5, to=result)


def _finished(
    model: "onnx.ModelProto", name: Callable[["onnx.ModelProto"], None], batch: int | str
) -> "onnx.ModelProto":
    """Name all that is in a converted graph, say what it is, and check it."""
    import onnx

    name(model)
    graph = model.graph
    graph.name, graph.doc_string, model.doc_string = "edgecifar", "", ""
    model.producer_name, model.producer_version = "edgecifar", edgecifar.__version__
    model.ir_version = IR_VERSION
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    if batch != 1:
        _take_batch(model, batch)
    return _checked(model)


def _take_batch(model: "onnx.ModelProto", batch: int | str) -> None:
    """Let a graph of a batch of 1 take another number of images.

    Raises:
        ValueError: an operator holds the 1 where it cannot be changed.
    """
    import onnx
    from onnx import numpy_helper, shape_inference

    graph = model.graph
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for constant in graph.initializer:
        if constant.name in shapes:
            shape = numpy_helper.to_array(constant).copy()
            if len(shape) and shape[0] == 1:
                shape[0] = 0  # which stands for the side that the tensor had
                constant.CopyFrom(numpy_helper.from_array(shape, constant.name))
    for value in (*graph.input, *graph.output):
        _set_batch(value, batch)
    (output,) = graph.output
    expected = onnx.TypeProto()
    expected.CopyFrom(output.type)
    output.type.tensor_type.ClearField("shape")
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    sides = inferred.graph.output[0].type.tensor_type.shape.dim
    output.type.CopyFrom(expected)
    if sides and sides[0].HasField("dim_value") and sides[0].dim_value != batch:
        raise ValueError("the graph holds operators of one image only: export it with a batch of 1")


def _set_batch(value: "onnx.ValueInfoProto", batch: int | str) -> None:
    side = value.type.tensor_type.shape.dim[0]
    if batch == DYNAMIC:
        side.dim_param = BATCH
    else:
        side.dim_value = batch


def _checked(model: "onnx.ModelProto") -> "onnx.ModelProto":
    import onnx

    onnx.checker.check_model(model, full_check=True)
    return model
