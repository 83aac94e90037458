"""Models of one matrix, small enough to make in a test, with predictions known without a runtime.

The TFLite file is written with the schema that LiteRT ships, so the tests of the edge half need no
TensorFlow.
"""

from pathlib import Path

import numpy as np

WEIGHTS = np.random.default_rng(0).normal(0, 1e-3, (10, 3072)).astype(np.float32)


def probabilities(images: np.ndarray) -> np.ndarray:
    """What every model here gives, computed by numpy: uint8 (n, 32, 32, 3) to float64 (n, 10)."""
    logits = images.reshape(len(images), -1).astype(np.float64) @ WEIGHTS.T.astype(np.float64)
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def write_tflite(
    path: Path,
    *,
    input_dtype: str = "UINT8",
    weights: np.ndarray = WEIGHTS,
    output_dtype: str = "FLOAT32",
    scale: float = 1 / 256,
    zero_point: int = 0,
) -> Path:
    """Write CAST, RESHAPE, FULLY_CONNECTED, SOFTMAX and, for a quantized output, QUANTIZE."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as tfl

    model, graph = tfl.ModelT(), tfl.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [tfl.BufferT()]
    model.operatorCodes, graph.tensors, graph.operators = [], [], []

    def tensor(name, shape, dtype, data=None):
        added = tfl.TensorT()
        added.name, added.shape, added.type = name, list(shape), getattr(tfl.TensorType, dtype)
        if data is not None:
            buffer = tfl.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            model.buffers.append(buffer)
            added.buffer = len(model.buffers) - 1
        graph.tensors.append(added)
        return len(graph.tensors) - 1

    def operator(name, inputs, output, options=None):
        code, added = tfl.OperatorCodeT(), tfl.OperatorT()
        code.builtinCode = getattr(tfl.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        model.operatorCodes.append(code)
        added.opcodeIndex = len(model.operatorCodes) - 1
        added.inputs, added.outputs = inputs, [output]
        if options is not None:
            added.builtinOptionsType = getattr(
                tfl.BuiltinOptions, type(options).__name__.removesuffix("T")
            )
            added.builtinOptions = options
        graph.operators.append(added)
        return output

    classes = len(weights)
    image = tensor("image", (1, 32, 32, 3), input_dtype)
    last = operator("CAST", [image], tensor("cast", (1, 32, 32, 3), "FLOAT32"), tfl.CastOptionsT())
    flat_shape = tensor("flat_shape", (2,), "INT32", np.array([1, 3072], np.int32))
    last = operator("RESHAPE", [last, flat_shape], tensor("flat", (1, 3072), "FLOAT32"))
    matrix = tensor("weights", weights.shape, "FLOAT32", weights)
    last = operator(
        "FULLY_CONNECTED",
        [last, matrix, -1],
        tensor("logits", (1, classes), "FLOAT32"),
        tfl.FullyConnectedOptionsT(),
    )
    softmax = tfl.SoftmaxOptionsT()
    softmax.beta = 1.0
    last = operator("SOFTMAX", [last], tensor("softmax", (1, classes), "FLOAT32"), softmax)
    if output_dtype != "FLOAT32":
        quantized = tensor("probabilities", (1, classes), output_dtype)
        parameters = tfl.QuantizationParametersT()
        parameters.scale, parameters.zeroPoint = [scale], [zero_point]
        graph.tensors[quantized].quantization = parameters
        last = operator("QUANTIZE", [last], quantized, tfl.QuantizeOptionsT())
    graph.inputs, graph.outputs = [image], [last]

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path


def write_onnx(path: Path, *, input_dtype: str = "UINT8", batch: int | str = 1) -> Path:
    """Write Cast, Flatten, MatMul, Softmax."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    nodes = [
        helper.make_node("Cast", ["image"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["cast"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    taken = getattr(TensorProto, input_dtype)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", taken, [batch, 32, 32, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, 10])],
        [numpy_helper.from_array(np.ascontiguousarray(WEIGHTS.T), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    checker.check_model(model)
    save(model, str(path))
    return path


def write_keras(path: Path) -> Path:
    """Write the same model as a Keras 3 checkpoint."""
    import keras

    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    pixels = keras.layers.Rescaling(1.0)(image)
    flat = keras.layers.Flatten()(pixels)
    dense = keras.layers.Dense(10, "softmax", use_bias=False, name="probabilities")
    model = keras.Model(image, dense(flat))
    dense.set_weights([WEIGHTS.T])
    model.save(path)
    return path
