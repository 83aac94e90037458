"""ONNX files from TFLite ones, whose batch norm is folded already, and their quantization."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.export.calibration import scaled
from edgecifar.export.tflite import METADATA
from edgecifar.models import contract

if TYPE_CHECKING:
    import onnx

OPSET = 17
# What is quantized. Softmax stays float: it costs nothing, and its int8 steps of 1/256 would make
# ties of probabilities that differ.
QUANTIZED_OPERATORS = [
    "Add",
    "Clip",
    "Conv",
    "Gemm",
    "GlobalAveragePool",
    "MatMul",
    "MaxPool",
    "Relu",
    "Squeeze",
]


def float_onnx(tflite: bytes) -> "onnx.ModelProto":
    """Convert a float TFLite file.

    Keras's own ONNX export would leave batch norm in training mode.

    Args:
        tflite: the file, `image` in and `probabilities` out.

    Returns:
        The same graph in ONNX opset 17, IR version 8, with the same names.
    """
    import tf2onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(tflite)
        model, _ = tf2onnx.convert.from_tflite(str(path), opset=OPSET)
    return model


def int8_onnx(scaled_tflite: bytes, images: np.ndarray) -> "onnx.ModelProto":
    """Convert a float TFLite file and quantize it: uint8 activations, int8 weights per channel.

    The quantization nodes are those of the QDQ format. Its first QuantizeLinear, behind the
    transposition and the resizing, goes: raw pixels are that tensor already, so they pass through
    both as uint8 and are scaled by the first DequantizeLinear.

    Args:
        scaled_tflite: the file, taking float32 images in [-1, 1], `image` in and `probabilities`
            out.
        images: to calibrate with, uint8, shape (n, 32, 32, 3).

    Returns:
        `image` uint8 (1, 32, 32, 3) to `probabilities` float32 (1, 10).
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder:
        source, quantized = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(float_onnx(scaled_tflite), source)
        quantize_static(
            source,
            quantized,
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTIZED_OPERATORS,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        model = onnx.load(quantized)
    _take_raw_pixels(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def with_metadata(model: "onnx.ModelProto", metadata: str) -> bytes:
    """The file, with a text as its metadata property named `edgecifar`."""
    import onnx

    onnx.helper.set_model_props(model, {METADATA: metadata})
    return model.SerializeToString(deterministic=True)


class _Reader:
    """Calibration images, one at a time, as ONNX Runtime's quantizer asks for them."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = iter(scaled(images))

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {contract.INPUT: image[None]}


def _take_raw_pixels(model: "onnx.ModelProto") -> None:
    """Let the quantized graph start from uint8 pixels instead of float ones."""
    import onnx

    graph = model.graph
    tensor = contract.INPUT
    while True:
        (node,) = (node for node in graph.node if tensor in node.input)
        if node.op_type == "QuantizeLinear":
            break
        if node.op_type not in ("Transpose", "Resize"):
            raise ValueError(f"{node.op_type} stands between the pixels and their quantization")
        tensor = node.output[0]
    for reader in graph.node:
        for i, name in enumerate(reader.input):
            if name == node.output[0]:
                reader.input[i] = tensor
    graph.node.remove(node)
    graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    # The stored shapes say float32 of tensors that are uint8 now; the checker infers them anew.
    del graph.value_info[:]
