"""ONNX files from TFLite ones, of every precision.

The TFLite file is the one graph of an export; its ONNX twin has the same operators, and a quantized
one the same integers: weights, biases, scales and zero points are those of the TFLite file.

Opset 17 and IR version 8 are read by onnxruntime 1.15.0 and later, the first release that pip
installs for the Python 3.11 of a 64-bit Raspberry Pi OS Bookworm.
"""

import functools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import edgecifar
from edgecifar.export import onnx_names, onnx_quantization
from edgecifar.export.quantization import editing
from edgecifar.graphs import METADATA
from edgecifar.models import contract

if TYPE_CHECKING:
    import onnx

    from edgecifar.graphs.tflite import Graph

OPSET, IR_VERSION = 17, 8
DYNAMIC = "dynamic"
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

    Activations become uint8, which is what ONNX Runtime is fast with; probabilities stay float,
    as the softmax computes them; operators that are float in the file are float here.

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
    if onnx_quantization.is_quantized(model):
        onnx_quantization.use_uint8_activations(model)
        onnx_quantization.drop_repeated_steps(model)
        onnx_quantization.give_float(model)
        onnx_quantization.drop_needless_clips(model)
        onnx_quantization.shield_float_operators(model)
        onnx_quantization.resize_by_matrices(model)
    else:
        onnx_quantization.let_weights_unfold(model)
    if float_pixels:
        onnx_quantization.take_float_pixels(model)
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
    _flatten_before_dense(graph)
    layers = onnx_names.layer_names(graph)
    onnx_names.mark(graph)
    (image,), (probabilities,) = graph.inputs, graph.outputs
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(graph.to_bytes())
        model, _ = tf2onnx.convert.from_tflite(str(path), opset=OPSET)
    ends = {image.name: contract.INPUT, probabilities.name: contract.OUTPUT}
    return model, functools.partial(onnx_names.rename, layers=layers, ends=ends)


def _flatten_before_dense(graph: "Graph") -> None:
    """Put a reshape before each dense layer that flattens its input by itself.

    tf2onnx 1.17 does that too, and loses the layer's bias on the way.
    """
    operators = []
    for operator in graph.operators:
        taken = operator.inputs[0] if operator.inputs else None
        if operator.name == "FULLY_CONNECTED" and len(taken.shape) != 2:
            count = operator.inputs[1].shape[1]
            shape = np.array([-1, count], np.int32)
            target = editing.add_tensor(
                graph, f"{taken.name}/flat_shape", shape.shape, np.int32, shape
            )
            sides = (math.prod(taken.shape) // count, count)
            flat = editing.add_tensor(graph, f"{taken.name}/flat", sides, np.dtype(taken.dtype))
            flat.raw.quantization = taken.raw.quantization
            operators.append(editing.new_operator(graph, "RESHAPE", [taken, target], flat))
            operator.raw.inputs = [flat.index, *list(operator.raw.inputs)[1:]]
        operators.append(operator.raw)
    graph.subgraph.operators = operators


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
