"""TFLite and ONNX files with a convolution, small enough to make in a test, of every precision.

All take `image` (1, 32, 32, 3) and give `probabilities` (1, 10): a convolution of 3 x 3 with stride
2 to 8 channels, its mean, and a dense layer. Written with the schema and with ONNX's helpers, so
that they need no TensorFlow.
"""

import numpy as np

PARAMETERS = 3 * 3 * 3 * 8 + 8 + 8 * 10 + 10
MULTIPLY_ACCUMULATES = 16 * 16 * 3 * 3 * 3 * 8 + 8 * 10

GENERATOR = np.random.default_rng(0)
KERNEL = GENERATOR.normal(0, 0.2, (8, 3, 3, 3)).astype(np.float32)
DENSE = GENERATOR.normal(0, 0.3, (10, 8)).astype(np.float32)
PIXELS = (1 / 127.5, 127)
STEPS = (0.05, -3)


def tflite(precision: str = "float32", *, custom: str | None = None, graphs: int = 1) -> bytes:
    """Write a TFLite file.

    Args:
        precision: float32, float16, dynamic or int8.
        custom: the name of a custom operator to add behind the last one.
        graphs: how many times the graph is in the file.
    """
    from ai_edge_litert import schema_py_generated as tfl
    from tflite_writer import Writer

    writer = Writer()
    writer.model.subgraphs *= graphs
    tensor, operator = writer.tensor, writer.operator
    whole = precision == "int8"

    def computed(name, shape, quantization=STEPS):
        if not whole:
            return tensor(name, shape)
        return tensor(name, shape, "int8", None, quantization)

    def weights(name, values, input_scale):
        if precision == "float32":
            bias = tensor(f"{name}_bias", values.shape[:1], "float32", np.zeros(len(values), "f4"))
            return [tensor(name, values.shape, "float32", values), bias]
        if precision == "float16":
            halves = {name: values, f"{name}_bias": np.zeros(len(values))}
            return [
                operator(
                    "DEQUANTIZE",
                    [tensor(f"{part}_half", half.shape, "float16", half.astype(np.float16))],
                    tensor(part, half.shape),
                    tfl.DequantizeOptionsT(),
                )
                for part, half in halves.items()
            ]
        scales = np.abs(values).reshape(len(values), -1).max(axis=1) / 127
        steps = np.round(values / scales.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
        zeros = np.zeros(len(values), np.int64)
        kernel = tensor(name, values.shape, "int8", steps, (scales, zeros))
        if not whole:
            empty = np.zeros(len(values), np.float32)
            return [kernel, tensor(f"{name}_bias", values.shape[:1], "float32", empty)]
        empty = np.zeros(len(values), np.int32)
        known = (scales * input_scale, zeros)
        return [kernel, tensor(f"{name}_bias", values.shape[:1], "int32", empty, known)]

    image = tensor("image", (1, 32, 32, 3), "uint8", None, PIXELS if whole else None)
    if whole:
        pixels = tensor("pixels", (1, 32, 32, 3), "int8", None, (PIXELS[0], PIXELS[1] - 128))
        last = operator("QUANTIZE", [image], pixels, tfl.QuantizeOptionsT())
    else:
        pixels = tensor("pixels", (1, 32, 32, 3))
        cast = operator("CAST", [image], pixels, tfl.CastOptionsT())
        by = tensor("by", (), "float32", np.float32(PIXELS[0]))
        scaled = tensor("scaled", (1, 32, 32, 3))
        last = operator("MUL", [cast, by], scaled, tfl.MulOptionsT())
    convolution = tfl.Conv2DOptionsT()
    convolution.strideH = convolution.strideW = 2
    convolution.fusedActivationFunction = tfl.ActivationFunctionType.RELU6
    kernel = weights("kernel", KERNEL, PIXELS[0])
    features = computed("features", (1, 16, 16, 8))
    last = operator("CONV_2D", [last, *kernel], features, convolution)
    axes = tensor("axes", (2,), "int32", np.array([1, 2], np.int32))
    last = operator("MEAN", [last, axes], computed("mean", (1, 8)), tfl.ReducerOptionsT())
    dense = weights("dense", DENSE, STEPS[0])
    options = tfl.FullyConnectedOptionsT()
    last = operator("FULLY_CONNECTED", [last, *dense], computed("logits", (1, 10)), options)
    name = "shares" if whole else "probabilities"
    last = writer.softmax(last, computed(name, (1, 10), (1 / 256, -128)))
    if whole:
        given = tensor("probabilities", (1, 10), "uint8", None, (1 / 256, 0))
        last = operator("QUANTIZE", [last], given, tfl.QuantizeOptionsT())
    if custom:
        last = operator("CUSTOM", [last], computed("made", (1, 10)), custom=custom)
    return writer.to_bytes(image, last)


def onnx(
    precision: str = "float32",
    *,
    batch: int | str = 1,
    opset: int = 17,
    reduce_range: bool = True,
) -> bytes:
    """Write an ONNX file: float32, int8 (QDQ), qoperator (QLinearConv and ONNX Runtime's own).

    Args:
        precision: of these.
        batch: images at a time.
        opset: of the file.
        reduce_range: whether int8 weights keep to 7 bits, as ONNX Runtime's option of that name
            makes them; else two of them overflow on x86-64 without VNNI.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], []

    def constant(name, values):
        constants.append(numpy_helper.from_array(np.require(values, requirements="C"), name))
        return name

    def node(operator, inputs, output, **attributes):
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    scale = constant("scale", np.float32(0.02))
    zero = constant("zero", np.uint8(128))

    def quantized(name):
        steps = node("QuantizeLinear", [name, scale, zero], f"{name}_steps")
        return node("DequantizeLinear", [steps, scale, zero], f"{name}_again")

    def weights(name, values):
        largest = np.float32(64 if reduce_range else 127)
        scales = np.abs(values).reshape(len(values), -1).max(axis=1) / largest
        steps = np.round(values / scales.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
        return (
            constant(f"{name}_steps", steps),
            constant(f"{name}_scale", scales),
            constant(f"{name}_zero", np.zeros(len(values), np.int8)),
        )

    padding = {"strides": [2, 2], "pads": [0, 0, 1, 1]}
    taken = node("Transpose", ["image"], "planes", perm=[0, 3, 1, 2])
    if precision == "float32":
        cast = node("Cast", [taken], "cast", to=TensorProto.FLOAT)
        scaled = node("Mul", [cast, constant("by", np.float32(PIXELS[0]))], "scaled")
        bias = constant("kernel_bias", np.zeros(8, np.float32))
        planes = constant("kernel", KERNEL.transpose(0, 3, 1, 2))
        last = node("Conv", [scaled, planes, bias], "features", **padding)
        last = node("GlobalAveragePool", [last], "mean")
        last = node("Flatten", [last], "flat")
        bias = constant("dense_bias", np.zeros(10, np.float32))
        last = node("Gemm", [last, constant("dense", DENSE), bias], "logits", transB=1)
    elif precision == "int8":
        pixels = [constant("pixel", np.float32(PIXELS[0])), constant("gray", np.uint8(PIXELS[1]))]
        last = node("DequantizeLinear", [taken, *pixels], "pixels")
        kernel = node("DequantizeLinear", weights("k", KERNEL.transpose(0, 3, 1, 2)), "k", axis=0)
        bias = constant("kernel_bias", np.zeros(8, np.float32))
        last = quantized(node("Conv", [last, kernel, bias], "features", **padding))
        last = node("GlobalAveragePool", [last], "mean")
        last = quantized(node("Flatten", [last], "flat"))
        dense = node("DequantizeLinear", weights("d", DENSE), "d", axis=0)
        bias = constant("dense_bias", np.zeros(10, np.float32))
        last = node("Gemm", [last, dense, bias], "logits", transB=1)
    else:
        pixels = [constant("pixel", np.float32(PIXELS[0])), constant("gray", np.uint8(PIXELS[1]))]
        kernel = weights("k", KERNEL.transpose(0, 3, 1, 2))
        bias = constant("kernel_bias", np.zeros(8, np.int32))
        last = node(
            "QLinearConv", [taken, *pixels, *kernel, scale, zero, bias], "features", **padding
        )
        last = node(
            "QLinearGlobalAveragePool", [last, scale, zero, scale, zero], "mean",
            domain="com.microsoft",
        )  # fmt: skip
        last = node("Flatten", [last], "flat")
        dense, bias = weights("d", DENSE), constant("dense_bias", np.zeros(10, np.int32))
        last = node(
            "QGemm", [last, scale, zero, *dense, bias, scale, zero], "steps", transB=1,
            domain="com.microsoft",
        )  # fmt: skip
        last = node("DequantizeLinear", [last, scale, zero], "logits")
    node("Softmax", [last], "probabilities")
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, 32, 32, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, 10])],
        constants,
    )
    imports = [helper.make_opsetid("", opset)]
    if precision == "qoperator":
        imports.append(helper.make_opsetid("com.microsoft", 1))
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="a test")
    return model.SerializeToString()
