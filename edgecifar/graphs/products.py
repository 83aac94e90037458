"""The operators whose multiplications add to sums: how many they are, and on what numbers.

Convolutions and matrix products. What is left out (pooling, resizing, element by element) is little
beside them in an image classifier; recurrent layers are left out too.
"""

import dataclasses
import math
from typing import TYPE_CHECKING

from edgecifar.graphs import RESIZING
from edgecifar.graphs.onnx import product

if TYPE_CHECKING:
    import onnx

    from edgecifar.graphs.onnx import Graph as OnnxGraph
    from edgecifar.graphs.tflite import Graph as TfliteGraph
    from edgecifar.graphs.tflite import Operator, Tensor

INTEGERS = {"int2", "int4", "uint4", "int8", "uint8", "int16", "uint16"}
FLOATS = {"float32", "float16", "bfloat16", "float64"}
HALF = {"float16", "bfloat16"}
UNKNOWN = "unknown"

# By name: which inputs are the activations and the weights.
TFLITE = {
    "BATCH_MATMUL": (0, 1),
    "CONV_2D": (0, 1),
    "CONV_3D": (0, 1),
    "CONV_3D_TRANSPOSE": (2, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "FULLY_CONNECTED": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
}
ONNX = {
    "Conv": (0, 1),
    "ConvInteger": (0, 1),
    "ConvTranspose": (0, 1),
    "DynamicQuantizeMatMul": (0, 1),
    "FusedConv": (0, 1),
    "FusedGemm": (0, 1),
    "FusedMatMul": (0, 1),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "MatMulIntegerToFloat": (0, 1),
    "QGemm": (0, 3),
    "QLinearConv": (0, 3),
    "QLinearMatMul": (0, 3),
}
ONNX_INTEGER = {name for name in ONNX if "Integer" in name or name.startswith(("Q", "Dynamic"))}
GEMMS = ("Gemm", "FusedGemm", "QGemm")


@dataclasses.dataclass(frozen=True)
class Product:
    """One convolution or matrix product.

    Attributes:
        operator: its operator.
        name: of the tensor that it gives.
        multiply_accumulates: of one inference; None where a shape is open or not known.
        activations: dtype of what it is fed by the operators before it.
        weights: dtype of its weights as the file holds them.
        on_integers: whether it multiplies integers. Weights that are kept as integers and
            dequantized first do not count; activations that are quantized on the way do.
    """

    operator: str
    name: str
    multiply_accumulates: int | None
    activations: str
    weights: str
    on_integers: bool

    @property
    def precision(self) -> str:
        """float32, float16, dynamic, int8, int16x8, or mixed for anything else."""
        if self.activations in FLOATS:
            if self.weights in INTEGERS:
                return "dynamic"
            return {"float32": "float32"}.get(
                self.weights, "float16" if self.weights in HALF else "mixed"
            )
        kinds = self.activations.removeprefix("u"), self.weights.removeprefix("u")
        return {("int8", "int8"): "int8", ("int16", "int8"): "int16x8"}.get(kinds, "mixed")


def of_tflite(graph: "TfliteGraph") -> list[Product]:
    """The products of a TFLite file's graph."""
    makers = {made.index: operator for operator in graph.operators for made in operator.outputs}
    products = []
    for operator in graph.operators:
        if operator.custom or operator.name not in TFLITE:
            continue
        taken, weights = (operator.inputs[slot] for slot in TFLITE[operator.name])
        if taken is None or weights is None:
            raise ValueError(f"{operator.name} lacks an input")
        stored = weights
        maker = makers.get(weights.index)
        if maker is not None and maker.name in ("DEQUANTIZE", "DENSIFY"):
            stored = maker.inputs[0] or weights
        # Float activations beside integer weights are quantized in the kernel.
        integers = weights.dtype in INTEGERS
        products.append(
            Product(
                operator.name,
                operator.outputs[0].name,
                _tflite_count(operator, taken, weights),
                taken.dtype,
                stored.dtype,
                integers,
            )
        )
    return products


def of_onnx(graph: "OnnxGraph") -> list[Product]:
    """The products of an ONNX file's graph."""
    products = []
    for node in graph.nodes:
        slots = ONNX.get(node.op_type)
        if node.doc_string == RESIZING:
            continue
        if slots is None or max(slots) >= len(node.input):
            continue
        taken, weights = (node.input[slot] for slot in slots)
        activations, stored = graph.dtype(taken), graph.stored_dtype(weights)
        integers = node.op_type in ONNX_INTEGER
        maker = graph.maker(taken)
        if maker is not None and maker.op_type == "DequantizeLinear":
            activations = graph.dtype(maker.input[0])
            integers = activations in INTEGERS and stored in INTEGERS
        elif maker is not None and maker.op_type == "DynamicQuantizeLinear":
            activations = graph.dtype(maker.input[0])
        products.append(
            Product(
                node.op_type,
                node.output[0],
                _onnx_count(graph, node, taken, weights),
                activations or UNKNOWN,
                stored or UNKNOWN,
                integers,
            )
        )
    return products


def _tflite_count(operator: "Operator", taken: "Tensor", weights: "Tensor") -> int:
    given = operator.outputs[0]
    if operator.name == "BATCH_MATMUL":
        transposed = getattr(operator.raw.builtinOptions, "adjX", False)
        return math.prod(given.shape) * taken.shape[-2 if transposed else -1]
    # A kernel stands at every position of what a convolution gives, or a transposed one takes.
    ranged = taken if "TRANSPOSE" in operator.name else given
    return math.prod(ranged.shape[:-1]) * math.prod(weights.shape)


def _onnx_count(graph: "OnnxGraph", node: "onnx.NodeProto", taken: str, weights: str) -> int | None:
    kernel, size = graph.shape(weights), graph.size(node.output[0])
    if node.op_type == "ConvTranspose":
        size = graph.size(taken)
    if size is None or not kernel:
        return None
    if "Conv" in node.op_type:
        summed = kernel[1:]  # of a transposed one: all outputs that an input adds to
    elif node.op_type in GEMMS:
        transposed = any(held.name == "transB" and held.i for held in node.attribute)
        summed = kernel[1:] if transposed else kernel[:1]
    else:
        summed = kernel[-2:-1] or kernel
    return product((size, *summed))
