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
    from ai_edge_litert import schema_py_generated as tfl
    from tflite_writer import Writer

    writer = Writer()
    tensor, operator = writer.tensor, writer.operator
    classes = len(weights)
    image = tensor("image", (1, 32, 32, 3), input_dtype)
    last = operator("CAST", [image], tensor("cast", (1, 32, 32, 3)), tfl.CastOptionsT())
    flat_shape = writer.constant("flat_shape", np.array([1, 3072], np.int32))
    last = operator("RESHAPE", [last, flat_shape], tensor("flat", (1, 3072)))
    matrix = writer.constant("weights", weights.astype(np.float32))
    last = operator(
        "FULLY_CONNECTED",
        [last, matrix, -1],
        tensor("logits", (1, classes)),
        tfl.FullyConnectedOptionsT(),
    )
    last = writer.softmax(last, tensor("softmax", (1, classes)))
    if output_dtype != "FLOAT32":
        steps = (scale, zero_point)
        quantized = tensor("probabilities", (1, classes), output_dtype, None, steps)
        last = operator("QUANTIZE", [last], quantized, tfl.QuantizeOptionsT())
    path.write_bytes(writer.to_bytes(image, last))
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


def write_means_onnx(path: Path, shape: tuple[int | str, int | str, int | str, int | str]) -> Path:
    """A file that classifies by the mean color, and takes NCHW images of that shape."""
    from onnx import TensorProto, helper, numpy_helper, save

    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image"], ["color"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["color", "weights"], ["logits"]),
        ],
        "means",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [shape[0], 10])],
        [numpy_helper.from_array(np.linspace(-1, 1, 30, dtype="f4").reshape(3, 10), "weights")],
    )
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
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
