"""A quantized ONNX graph, as a TFLite file gives it, put into the form that runs fast.

The form is QDQ: every integer tensor stands between a QuantizeLinear and a DequantizeLinear, which
ONNX Runtime fuses with the operator around them
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
"""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.export.tflite_to_onnx import IR_VERSION, OPSET
from edgecifar.graphs import RESIZING

if TYPE_CHECKING:
    import onnx

# The second input of these is weights, which stay int8.
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_QDQ = ("QuantizeLinear", "DequantizeLinear")
# Of a resize that costs no more as two matrix products, which are several times faster.
_LARGEST_RESIZE_MACS = 20e6


def is_quantized(model: "onnx.ModelProto") -> bool:
    """Whether activations are integers; weights alone may be."""
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def use_uint8_activations(model: "onnx.ModelProto") -> None:
    """Make int8 activations uint8: the same values, 128 higher. Weights stay int8.

    ONNX Runtime has its fastest kernels for uint8 activations with int8 weights; with int8
    activations it takes other operators than convolutions in float on x86-64.
    """
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    constants = {constant.name: constant for constant in graph.initializer}
    weights = {
        name
        for node in graph.node
        if node.op_type in _WEIGHTED
        for name in node.input[1:]
        if name not in constants
    }
    raised: dict[str, onnx.TensorProto] = {}

    def in_uint8(name: str) -> str:
        values = numpy_helper.to_array(constants[name])
        if values.dtype != np.int8:
            return name
        new = f"{name}_uint8"
        higher = (values.astype(np.int16) + 128).astype(np.uint8)
        raised[new] = numpy_helper.from_array(higher, new)
        return new

    for node in graph.node:
        if node.op_type not in _QDQ:
            continue
        constant = node.input[0] in constants
        if constant and node.output[0] in weights:
            continue
        if constant:
            node.input[0] = in_uint8(node.input[0])
        node.input[2] = in_uint8(node.input[2])
    graph.initializer.extend(raised.values())
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.INT8:
            value.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    del graph.value_info[:]


def give_weights_zero_points(model: "onnx.ModelProto") -> None:
    """Give all int8 weights a zero point of their own, where tf2onnx lets them share one.

    ONNX Runtime's `session.x64quantprecision` makes uint8 of the weights and of their zero points,
    and opens no file in which two weights share one.
    """
    from onnx import numpy_helper

    graph = model.graph
    constants = {constant.name: constant for constant in graph.initializer}
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in constants:
            continue
        values, _, zero_point = _values(constants, node.input)
        if values.dtype == np.int8:
            node.input[2] = f"{node.input[0]}_zero_point"
            own = numpy_helper.from_array(zero_point, node.input[2])
            graph.initializer.append(own)


def let_weights_unfold(model: "onnx.ModelProto") -> None:
    """Put a Cast and a Mul for every DequantizeLinear of int8 weights in a float graph.

    ONNX Runtime computes the two once, when it opens the file, so that the network runs as fast as
    a float one; it keeps a DequantizeLinear, and computes it again for every image.
    """
    import onnx
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {constant.name: constant for constant in graph.initializer}
    for node in list(graph.node):
        if node.op_type != "DequantizeLinear" or node.input[0] not in constants:
            continue
        values, scale, zero_point = _values(constants, node.input)
        if zero_point.any():
            continue
        if scale.size > 1:
            axis = next(part.i for part in node.attribute if part.name == "axis")
            scale = scale.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        (output,) = node.output
        steps, cast = f"{output}_steps", f"{output}_cast"
        graph.initializer.append(numpy_helper.from_array(scale, steps))
        position = list(graph.node).index(node)
        graph.node.remove(node)
        product = helper.make_node("Mul", [cast, steps], [output], name=output)
        to_float = helper.make_node(
            "Cast", [node.input[0]], [cast], name=cast, to=onnx.TensorProto.FLOAT
        )
        graph.node.insert(position, product)
        graph.node.insert(position, to_float)


def give_float(model: "onnx.ModelProto") -> None:
    """Let the graph end with what its last operator computes, in float.

    The int8 steps of 1/256 that TFLite gives would make ties of probabilities that differ.
    """
    import onnx

    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    (output,) = graph.output
    last = makers[output.name]
    while last.op_type in _QDQ:
        last = makers[last.input[0]]
    if last.output[0] == output.name:
        return
    old = last.output[0]
    gone = [node for node in graph.node if output.name in node.output]
    for node in gone:
        graph.node.remove(node)
    last.output[0] = output.name
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = output.name
    output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def drop_repeated_steps(model: "onnx.ModelProto") -> None:
    """Take out what dequantizes a tensor only to quantize it again to the same."""
    graph = model.graph
    constants = {constant.name: constant for constant in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    instead = {}
    for node in graph.node:
        before = makers.get(node.input[0])
        if (
            node.op_type == "QuantizeLinear"
            and before is not None
            and before.op_type == "DequantizeLinear"
            and _same_values(constants, before.input[1:], node.input[1:])
        ):
            instead[node.output[0]] = before.input[0]
    outputs = {output.name for output in graph.output}
    for node in list(graph.node):
        for i, name in enumerate(node.input):
            while name in instead:
                name = node.input[i] = instead[name]
        if node.output[0] in instead and node.output[0] not in outputs:
            graph.node.remove(node)


def drop_needless_clips(model: "onnx.ModelProto") -> None:
    """Remove each Relu and Clip whose limits the quantization after it has anyway."""
    graph = model.graph
    constants = {constant.name: constant for constant in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        clip = makers.get(node.input[0])
        if node.op_type != "QuantizeLinear" or clip is None or readers[clip.output[0]] != 1:
            continue
        low, high = _limits(clip, constants)
        scale, zero_point = _values(constants, node.input[1:])
        if scale.size != 1 or zero_point.dtype != np.uint8:
            continue
        if low <= scale * (0.0 - zero_point) and scale * (255.0 - zero_point) <= high * (1 + 1e-6):
            node.input[0] = clip.input[0]


def _limits(node: "onnx.NodeProto", constants: dict) -> tuple[float, float]:
    """Between what a Relu or a Clip gives; an empty range for any other operator."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    if node.op_type != "Clip" or not all(name in constants for name in node.input[1:3]):
        return np.inf, -np.inf
    low, high = _values(constants, node.input[1:3])
    return float(low), float(high)


def shield_float_operators(model: "onnx.ModelProto") -> None:
    """Keep operators float that the TFLite file has in float between quantized tensors.

    ONNX Runtime quantizes the weights of what stands between a DequantizeLinear and a
    QuantizeLinear, its WeightBiasQuantization; so that it sees no DequantizeLinear before them,
    what is one is written as a Cast, a Sub and a Mul.
    """
    import onnx
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {constant.name: constant for constant in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for node in list(graph.node):
        before = makers.get(node.input[0])
        if node.op_type not in _WEIGHTED or node.input[1] not in constants:
            continue
        if before is None or before.op_type != "DequantizeLinear":
            continue
        scale, zero_point = _values(constants, before.input[1:])
        prefix = f"read_by_{node.output[0]}"
        graph.initializer.extend(
            [
                numpy_helper.from_array(scale, f"{prefix}_scale"),
                numpy_helper.from_array(np.asarray(zero_point, np.float32), f"{prefix}_zero_point"),
            ]
        )
        whole, centered, real = (f"{prefix}_{part}" for part in ("whole", "centered", "real"))
        steps = [
            helper.make_node("Cast", [before.input[0]], [whole], to=onnx.TensorProto.FLOAT),
            helper.make_node("Sub", [whole, f"{prefix}_zero_point"], [centered]),
            helper.make_node("Mul", [centered, f"{prefix}_scale"], [real]),
        ]
        graph.node.extend(steps)  # `names.rename` puts them in their place
        node.input[0] = real


def take_float_pixels(model: "onnx.ModelProto") -> None:
    """Let a graph of uint8 pixels take float32 ones of 0 to 255, rounded to whole pixels."""
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    (image,) = graph.input
    pixels = f"{image.name}_pixels"
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == image.name:
                node.input[i] = pixels
    constants = {f"{pixels}_scale": np.float32(1), f"{pixels}_zero_point": np.uint8(0)}
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    rounding = onnx.helper.make_node("QuantizeLinear", [image.name, *constants], [pixels])
    graph.node.insert(0, rounding)
    image.type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def resize_by_matrices(model: "onnx.ModelProto") -> None:
    """Put two products with constant matrices for every small resize of quantized pixels.

    ONNX Runtime's Resize of uint8 cuts fractions off, so that all pixels are nearly half a step too
    dark; TFLite rounds, and so does the QuantizeLinear after the products. It is also the slowest
    node of a small network, three times as slow as they are.
    """
    from onnx import numpy_helper, shape_inference

    graph = model.graph
    constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in shape_inference.infer_shapes(model).graph.value_info
    }
    for node in list(graph.node):
        if node.op_type != "Resize":
            continue
        before, after = makers.get(node.input[0]), node.output[0]
        source, result = shapes.get(node.input[0]), shapes.get(after)
        if before is None or before.op_type != "DequantizeLinear" or readers[after] != 1:
            continue
        if not source or not result or len(source) != 4 or source[:2] != result[:2]:
            continue
        _, channels, height, width = source
        macs = channels * result[3] * height * (width + result[2])
        if 0 in (*source[1:], *result[1:]) or macs > _LARGEST_RESIZE_MACS:
            continue
        _put_matrices(graph, node, constants, source, result)


def _put_matrices(
    graph: "onnx.GraphProto",
    node: "onnx.NodeProto",
    constants: dict[str, np.ndarray],
    source: list[int],
    result: list[int],
) -> None:
    from onnx import helper, numpy_helper

    rows = _resize_matrix(node, source[2], result[2])
    columns = _resize_matrix(node, source[3], result[3]).T
    # Named for the tensor that is quantized after them, which is the layer's.
    (reader,) = (other for other in graph.node if node.output[0] in other.input)
    left, right, wide = (f"{reader.output[0]}_{part}" for part in ("rows", "columns", "wide"))
    graph.initializer.append(numpy_helper.from_array(rows, left))
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(columns), right))
    position = list(graph.node).index(node)
    graph.node.remove(node)
    products = [
        helper.make_node("MatMul", [node.input[0], right], [wide], name=wide),
        helper.make_node("MatMul", [left, wide], node.output, name=left),
    ]
    for product in reversed(products):
        product.doc_string = RESIZING
        graph.node.insert(position, product)


def _resize_matrix(node: "onnx.NodeProto", before: int, after: int) -> np.ndarray:
    """What a Resize does along one axis, as a float32 matrix (after, before): it is linear."""
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    resize = helper.make_node("Resize", ["units", "", "", "sizes"], ["resized"])
    resize.attribute.extend(node.attribute)
    shape, sizes = [1, before, before, 1], np.array([1, before, after, 1], np.int64)
    graph = helper.make_graph(
        [resize],
        "resize",
        [helper.make_tensor_value_info("units", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("resized", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(sizes, "sizes")],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    units = np.eye(before, dtype=np.float32).reshape(shape)
    return session.run(None, {"units": units})[0].reshape(before, after).T.copy()


def _same_values(constants: dict, first: list[str], second: list[str]) -> bool:
    pairs = zip(_values(constants, first), _values(constants, second), strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def _values(constants: dict, names: list[str]) -> list[np.ndarray]:
    from onnx import numpy_helper

    return [numpy_helper.to_array(constants[name]) for name in names]
