"""Int8 weights that overflow the 16-bit sums of x86-64 processors without VNNI.

`vpmaddubsw`, the instruction under the int8 kernels of AVX2 and of AVX-512 before VNNI, multiplies
unsigned activations by signed weights, adds the products of two neighbours in 16 bits, and
saturates: 255 * (w0 + w1) must stay within -32768 ... 32767, so w0 + w1 within -128 ... 128. ONNX
Runtime's documentation calls it U8S8 saturation and avoids it with `reduce_range`, NNCF's with
`overflow_fix`. Processors with VNNI and Arm's add in 32 bits.

Which two weights of an output channel are neighbours is the kernel's choice: ONNX Runtime takes
them in the order (height, width, input channel), and OpenVINO within one position of the kernel
(measured by benchmarks/saturating_pairs.py). A channel of which no two weights overflow is safe in
any order. Depthwise kernels of both add in 32 bits.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.graphs import products

if TYPE_CHECKING:
    import onnx

    from edgecifar.graphs.onnx import Graph

# 255 * 128 is the largest multiple of 255 that int16 holds, on either side of 0.
PAIR_LIMIT = 128
EIGHT_BITS = ("int8", "uint8")
# To find out whether a processor overflows, the answers of a runtime's fast kernels are compared
# with those of its exact kernels on COMPARED_IMAGES images. Their mean divergence is in nats.
# Measured with AVX2 and no VNNI, in ONNX Runtime and OpenVINO: 0.019 and 0.030 for a MobileNetV2
# whose weights overflow; 0 and 0.0001, which is rounding, for one whose weights do not; 0.0015 for
# an untrained network.
COMPARED_IMAGES = 200
MAX_DIVERGENCE = 5e-4


@dataclasses.dataclass(frozen=True)
class Overflow:
    """A convolution or matrix product of which two weights can overflow.

    Attributes:
        name: of the tensor that it gives.
        operator: its operator, `Conv` for example.
        channels: how many of its output channels have such a pair.
        of: how many output channels it has.
    """

    name: str
    operator: str
    channels: int
    of: int


def largest_pairs(taps: np.ndarray) -> np.ndarray:
    """The largest sum of two weights of one sign in each output channel, as a magnitude.

    Args:
        taps: integers or floats, shape (taps, outputs).

    Returns:
        int64 or float64, shape (outputs,). A channel of one weight has no pair: its magnitude.
    """
    wide = taps.astype(np.int64 if np.issubdtype(taps.dtype, np.integer) else np.float64)
    if len(wide) < 2:
        return np.abs(wide).max(axis=0, initial=0)
    pairs = [np.partition(side, -2, axis=0)[-2:] for side in (wide, -wide)]
    return np.maximum(*(np.maximum(pair, 0).sum(axis=0) for pair in pairs))


def of_onnx(graph: "Graph") -> list[Overflow]:
    """The products of an ONNX file that can overflow, by its integers alone.

    Those of 8-bit activations and of int8 weights that the file holds; uint8 weights take kernels
    that add in 32 bits.
    """
    found = []
    for product in products.of_onnx(graph):
        if not product.on_integers or product.weights != "int8":
            continue
        if product.activations not in EIGHT_BITS:
            continue
        node = graph.maker(product.name)
        taps = None if node is None else _taps(graph, node)
        if taps is None:
            continue
        overflowing = largest_pairs(taps) > PAIR_LIMIT
        if overflowing.any():
            channels = int(overflowing.sum())
            found.append(Overflow(product.name, product.operator, channels, len(overflowing)))
    return found


def may_overflow(file: bytes) -> bool:
    """Whether an ONNX file can overflow; also True where the file's integers cannot be read.

    Args:
        file: its bytes. They can be read where the onnx package is installed.
    """
    from edgecifar.graphs.onnx import Graph

    try:
        return bool(of_onnx(Graph(file)))
    except Exception:  # numbers that a damaged file makes up raise anything
        return True


def _taps(graph: "Graph", node: "onnx.NodeProto") -> np.ndarray | None:
    """The weights of a product as integers (taps, outputs); None where kernels add no pairs."""
    from edgecifar.graphs.onnx import MOVES

    name, transposed = node.input[products.ONNX[node.op_type][1]], False
    for _ in graph.nodes:  # a damaged graph may be a ring
        maker = graph.maker(name)
        if maker is None or maker.op_type not in (*MOVES, "DequantizeLinear"):
            break
        transposed ^= maker.op_type == "Transpose"
        name = maker.input[0]
    weights = graph.value(name)
    if weights is None or weights.ndim < 2:
        return None
    attributes = {held.name: held.i for held in node.attribute}
    groups = attributes.get("group", 1)
    if "Conv" in node.op_type:
        if node.op_type == "ConvTranspose":  # (inputs, outputs of a group, height, width)
            inputs, outputs = weights.shape[:2]
            weights = weights.reshape(groups, inputs // groups, outputs, -1)
            return weights.transpose(1, 3, 0, 2).reshape(-1, groups * outputs)
        if weights.shape[1] == 1 and groups == len(weights) > 1:
            return None  # depthwise, one output for each input
        return weights.reshape(len(weights), -1).T
    if node.op_type in products.GEMMS and attributes.get("transB"):
        transposed = not transposed
    rows = weights.reshape(-1, *weights.shape[-2:])  # those of a stack are channels of their own
    return np.concatenate([matrix.T if transposed else matrix for matrix in rows], axis=1)
