"""Files as other projects publish them: two dense layers behind every kind of input and output.

The answers of each are known without a runtime, and a fitted one is right on CIFAR-10 only when
its pixels are normalized as it was fitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HIDDEN = 256


@dataclass(frozen=True)
class Network:
    """`head @ tanh(hidden @ values + shift) + bias`, of values in row order, channels last.

    Attributes:
        size: side of the images in pixels.
        hidden: float32 (units, 3 * size * size).
        shift: float32 (units,).
        head: float32 (classes, units).
        bias: float32 (classes,).
    """

    size: int
    hidden: np.ndarray
    shift: np.ndarray
    head: np.ndarray
    bias: np.ndarray

    @property
    def classes(self) -> int:
        return len(self.bias)

    def logits(self, values: np.ndarray) -> np.ndarray:
        """float64 (n, classes), of (n, size, size, 3)."""
        flat = values.reshape(len(values), -1).astype(np.float64)
        return np.tanh(flat @ self.hidden.T + self.shift) @ self.head.T + self.bias

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """float64 (n, classes), of (n, size, size, 3)."""
        exponents = np.exp(self.logits(values))
        return exponents / exponents.sum(axis=1, keepdims=True)


def untrained(values: np.ndarray, classes: int = 10) -> Network:
    """A network that answers differently to each of these values, (n, size, size, 3)."""
    hidden, shift = _features(values, units=32)
    random = np.random.default_rng(1)
    head = random.normal(0, 1, (classes, len(hidden))).astype(np.float32)
    bias = random.normal(0, 0.1, classes).astype(np.float32)
    return Network(values.shape[1], hidden, shift, head, bias)


def fitted(values: np.ndarray, labels: np.ndarray) -> Network:
    """A network whose head is the ridge regression of the labels on its random features.

    Args:
        values: the images as it is to take them, (n, size, size, 3).
        labels: theirs, of ten classes.
    """
    hidden, shift = _features(values, HIDDEN)
    flat = values.reshape(len(values), -1)
    features = np.c_[np.tanh(flat @ hidden.T + shift), np.ones(len(flat))].astype(np.float64)
    targets = 10 * (np.eye(10)[labels] - 0.1)
    ridge = 1e-3 * len(flat) * np.eye(HIDDEN + 1)
    head = np.linalg.solve(features.T @ features + ridge, features.T @ targets).T
    head = head.astype(np.float32)
    return Network(values.shape[1], hidden, shift, head[:, :-1].copy(), head[:, -1].copy())


def _features(values: np.ndarray, units: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    flat = values.reshape(len(values), -1).astype(np.float64)
    hidden = random.normal(0, 2 / np.sqrt((flat**2).sum(axis=1).mean()), (units, flat.shape[1]))
    return hidden.astype(np.float32), random.normal(0, 1, units).astype(np.float32)


def write_tflite(
    path: Path,
    network: Network,
    *,
    dtype: str = "FLOAT32",
    quantization: tuple[float, int] | None = None,
    layout: str = "NHWC",
    batch: int = 1,
    open_sides: bool = False,
    softmax: bool = True,
    output_dtype: str = "FLOAT32",
    output_quantization: tuple[float, int] | None = None,
    output_shape: Sequence[int] | None = None,
    further_output: bool = False,
) -> Path:
    """Write a `.tflite` file.

    Args:
        path: of the file.
        network: what it computes.
        dtype: of its input, as the schema names it.
        quantization: the input's scale and zero point.
        layout: "NHWC" or "NCHW".
        batch: images a call.
        open_sides: whether its input leaves its sides open.
        softmax: whether it gives probabilities.
        output_dtype: of its output; without `output_quantization` a plain cast.
        output_quantization: the output's scale and zero point.
        output_shape: instead of (batch, classes).
        further_output: whether the hidden units are its first output.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as tfl

    model, graph = tfl.ModelT(), tfl.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [tfl.BufferT()]
    model.operatorCodes, graph.tensors, graph.operators = [], [], []

    def tensor(shape, dtype="FLOAT32", data=None, quantization=None):
        added = tfl.TensorT()
        added.name, added.shape = f"t{len(graph.tensors)}", list(shape)
        added.type = getattr(tfl.TensorType, dtype)
        if quantization:
            added.quantization = tfl.QuantizationParametersT()
            added.quantization.scale = [quantization[0]]
            added.quantization.zeroPoint = [quantization[1]]
        if data is not None:
            buffer = tfl.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            model.buffers.append(buffer)
            added.buffer = len(model.buffers) - 1
        graph.tensors.append(added)
        return len(graph.tensors) - 1

    def constant(data):
        return tensor(data.shape, data.dtype.name.upper(), data)

    def operator(name, inputs, output, options=None):
        code, added = tfl.OperatorCodeT(), tfl.OperatorT()
        code.builtinCode = getattr(tfl.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        model.operatorCodes.append(code)
        added.opcodeIndex = len(model.operatorCodes) - 1
        added.inputs, added.outputs = inputs, [output]
        if options is not None:
            added.builtinOptions = options
            added.builtinOptionsType = getattr(
                tfl.BuiltinOptions, type(options).__name__.removesuffix("T")
            )
        graph.operators.append(added)
        return output

    side = network.size
    shape = (batch, side, side, 3) if layout == "NHWC" else (batch, 3, side, side)
    image = last = tensor(shape, dtype, quantization=quantization)
    if open_sides:
        graph.tensors[image].shape = [batch, 1, 1, 3]
        graph.tensors[image].shapeSignature = [batch, -1, -1, 3]
    if quantization:
        last = operator("DEQUANTIZE", [last], tensor(shape))
    elif dtype != "FLOAT32":
        last = operator("CAST", [last], tensor(shape), tfl.CastOptionsT())
    if layout == "NCHW":
        axes = constant(np.array([0, 2, 3, 1], np.int32))
        last = operator("TRANSPOSE", [last, axes], tensor((batch, side, side, 3)))
    flat = (batch, 3 * side * side)
    last = operator("RESHAPE", [last, constant(np.array(flat, np.int32))], tensor(flat))
    for weights, bias in (network.hidden, network.shift), (network.head, network.bias):
        found = tensor((batch, len(bias)))
        inputs = [last, constant(weights), constant(bias)]
        last = operator("FULLY_CONNECTED", inputs, found, tfl.FullyConnectedOptionsT())
        if bias is network.shift:
            last = units = operator("TANH", [last], tensor((batch, len(bias))))
    given = (batch, network.classes)
    if softmax:
        options = tfl.SoftmaxOptionsT()
        options.beta = 1.0
        last = operator("SOFTMAX", [last], tensor(given), options)
    if output_shape:
        given = output_shape
        last = operator("RESHAPE", [last, constant(np.array(given, np.int32))], tensor(given))
    if output_quantization:
        found = tensor(given, output_dtype, quantization=output_quantization)
        last = operator("QUANTIZE", [last], found, tfl.QuantizeOptionsT())
    elif output_dtype != "FLOAT32":
        last = operator("CAST", [last], tensor(given, output_dtype), tfl.CastOptionsT())
    graph.inputs, graph.outputs = [image], [units, last] if further_output else [last]

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path


def write_onnx(
    path: Path,
    network: Network,
    *,
    dtype: str = "FLOAT",
    layout: str = "NCHW",
    shape: Sequence[int | str] | None = None,
    softmax: bool = False,
    activation: str | None = None,
    output_dtype: str = "FLOAT",
    output_shape: Sequence[int | str] | None = ("batch", 10),
    outputs: Sequence[str] = ("classes",),
) -> Path:
    """Write an `.onnx` file.

    Args:
        path: of the file.
        network: what it computes.
        dtype: of its input, as ONNX names it.
        layout: "NHWC" or "NCHW".
        shape: of its input; names are dimensions left open. By default the batch is.
        softmax: whether it gives probabilities.
        activation: the operator at its end instead of a softmax, "Sigmoid" for example.
        output_dtype: of its output.
        output_shape: to which its output is reshaped; None declares none.
        outputs: which it gives, of "units", "logits", "classes" and "twice": the hidden units,
            what goes into the softmax, and the classes once more.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    side = network.size
    if shape is None:
        shape = ("batch", 3, side, side) if layout == "NCHW" else ("batch", side, side, 3)
    wanted = list(output_shape or ("batch", 10))
    wanted = [-1 if side == "batch" else 10 if side == "classes" else side for side in wanted]
    constants = {
        "hidden": np.ascontiguousarray(network.hidden.T),
        "shift": network.shift,
        "head": np.ascontiguousarray(network.head.T),
        "bias": network.bias,
        "wanted": np.array(wanted),
    }
    nodes = [helper.make_node("Cast", ["image"], ["values"], to=TensorProto.FLOAT)]
    axes = [0, 2, 3, 1] if layout == "NCHW" else [0, 1, 2, 3]
    nodes += [
        helper.make_node("Transpose", ["values"], ["last"], perm=axes),
        helper.make_node("Flatten", ["last"], ["flat"]),
        helper.make_node("Gemm", ["flat", "hidden", "shift"], ["sums"]),
        helper.make_node("Tanh", ["sums"], ["units"]),
        helper.make_node("Gemm", ["units", "head", "bias"], ["logits"]),
        helper.make_node(
            activation or ("Softmax" if softmax else "Identity"), ["logits"], ["answers"]
        ),
        helper.make_node("Reshape", ["answers", "wanted"], ["shaped"]),
        helper.make_node("Cast", ["shaped"], ["classes"], to=getattr(TensorProto, output_dtype)),
        helper.make_node("Cast", ["shaped"], ["twice"], to=getattr(TensorProto, output_dtype)),
    ]
    declared = {
        "units": helper.make_tensor_value_info(
            "units", TensorProto.FLOAT, ["batch", len(network.shift)]
        ),
        "logits": helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10]),
    } | {
        name: helper.make_tensor_value_info(name, getattr(TensorProto, output_dtype), output_shape)
        for name in ("classes", "twice")
    }
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("image", getattr(TensorProto, dtype), shape)],
        [declared[name] for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path


def write_onnx_of_any_input(path: Path, shape: Sequence[int]) -> Path:
    """Write an `.onnx` file that gives (1, 10) of the mean of float values of that shape."""
    from onnx import TensorProto, helper, numpy_helper, save

    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "weights"], ["classes"]),
        ],
        "mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("classes", TensorProto.FLOAT, (1, 10))],
        [numpy_helper.from_array(np.ones((1, 10), np.float32), "weights")],
    )
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path


def write_keras(path: Path, network: Network, *, softmax: bool = True) -> Path:
    """Write a `.keras` checkpoint that takes floats of the network's size."""
    import keras

    image = keras.Input((network.size, network.size, 3), name="photo")
    hidden = keras.layers.Dense(len(network.shift), "tanh")
    head = keras.layers.Dense(network.classes, "softmax" if softmax else None)
    model = keras.Model(image, head(hidden(keras.layers.Flatten()(image))))
    hidden.set_weights([network.hidden.T, network.shift])
    head.set_weights([network.head.T, network.bias])
    model.save(path)
    return path


def put_weights_beside(path: Path) -> None:
    """Move the weights of an `.onnx` file to another file, as PyTorch does by default."""
    import onnx

    model = onnx.load(path)
    onnx.save(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=f"{path.name}.data",
        size_threshold=64,
    )
