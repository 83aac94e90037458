"""Which two weights of an output channel do the int8 kernels of this processor add in 16 bits?

Every output channel of a layer tries one pair: those two weights are 127, all others 0, and all
activations 255. Where the kernel adds the two products in 16 bits, the sum saturates to half.

    python benchmarks/saturating_pairs.py > benchmarks/saturating_pairs.json
"""

import itertools
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from edgecifar.hardware import int8_features, processor, text
from edgecifar.runtimes import Options, environments, named

RUNTIMES = ("onnxruntime", "openvino")
# Name, operator, kernel (height, width), input channels of a group, groups (0: depthwise).
LAYERS = (
    ("1x1 convolution", "Conv", (1, 1), 8, 1),
    ("1x1 convolution, odd channels", "Conv", (1, 1), 7, 1),
    ("3x3 convolution", "Conv", (3, 3), 8, 1),
    ("3x3 convolution, 3 channels", "Conv", (3, 3), 3, 1),
    ("3x3 convolution, 5 channels", "Conv", (3, 3), 5, 1),
    ("5x5 convolution, 1 channel", "Conv", (5, 5), 1, 1),
    ("3x3 convolution, 2 groups", "Conv", (3, 3), 4, 2),
    ("3x3 depthwise convolution", "Conv", (3, 3), 1, 0),
    ("5x5 depthwise convolution", "Conv", (5, 5), 1, 0),
    ("dense layer (Gemm)", "Gemm", (1, 1), 12, 1),
    ("dense layer (MatMul)", "MatMul", (1, 1), 11, 1),
    ("transposed convolution", "ConvTranspose", (1, 1), 8, 1),
)


def main() -> None:
    found = {}
    for name, operator, kernel, channels, groups in LAYERS:
        taps = list(itertools.product(*map(range, kernel), range(channels)))
        pairs = list(itertools.combinations(range(len(taps)), 2))
        model, image = layer(operator, kernel, channels, groups, len(taps), pairs)
        found[name] = {"pairs": len(pairs)}
        for runtime in RUNTIMES:
            saturated = run(model, image, runtime) < 0.9 * 2
            added = [pair for pair, one in zip(pairs, saturated, strict=False) if one]
            found[name][runtime] = {"added": len(added), "order": order(added, taps, channels)}
    result = {
        "processor": processor(),
        "int8_features": int8_features(text("/proc/cpuinfo") or ""),
        "runtimes": {name: environments.version_of(named(name)) for name in RUNTIMES},
        "layers": found,
    }
    print(json.dumps(result, indent=2))


def layer(
    operator: str,
    kernel: tuple[int, int],
    channels: int,
    groups: int,
    taps: int,
    pairs: Sequence[tuple[int, int]],
) -> tuple[object, np.ndarray]:
    """A layer between quantized tensors, an output channel a pair, and its input of ones."""
    outputs = math.ceil(len(pairs) / 32) * 32
    weights = np.zeros((outputs, taps), np.int8)
    for row, pair in zip(weights, pairs, strict=False):
        row[list(pair)] = 127
    weights = weights.reshape(outputs, *kernel, channels).transpose(0, 3, 1, 2)
    groups = groups or outputs
    if operator in ("Gemm", "MatMul"):
        weights, shape = weights.reshape(outputs, taps).T, (1, taps)
    else:
        shape = (1, channels * groups, 7, 7)
    if operator == "ConvTranspose":
        weights = weights.transpose(1, 0, 2, 3)
    axis = 0 if operator == "Conv" else 1
    constants = {
        "weights": np.ascontiguousarray(weights),
        "weight_scale": np.full(outputs, 1 / 127, np.float32),
        "weight_zero": np.zeros(outputs, np.int8),
        "step": np.float32(1 / 255),
        "wide_step": np.float32(4 / 255),
        "zero": np.uint8(0),
    }
    options = {"group": groups} if operator == "Conv" else {}
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["x"]),
        helper.make_node(
            "DequantizeLinear", ["weights", "weight_scale", "weight_zero"], ["w"], axis=axis
        ),
        helper.make_node(operator, ["x", "w"], ["y"], **options),
        helper.make_node("QuantizeLinear", ["y", "wide_step", "zero"], ["y_q"]),
        helper.make_node("DequantizeLinear", ["y_q", "wide_step", "zero"], ["sums"]),
    ]
    graph = helper.make_graph(
        nodes,
        "pairs",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8), np.ones(shape, np.float32)


def run(model: object, image: np.ndarray, runtime: str) -> np.ndarray:
    """The sum that each output channel gives; 2 is right."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.onnx"
        save(model, path)
        session = named(runtime).session(path, Options())
        session.set_input(image)
        session.invoke()
        sums = np.array(session.get_output())
    return sums.reshape(sums.shape[1], -1)[:, sums[0, 0].size // 2]


def order(added: list[tuple[int, int]], taps: Sequence, channels: int) -> str:
    """In which order the kernel takes the weights, as the pairs that it adds tell."""
    neighbours = [(i, i + 1) for i in range(0, len(taps) - 1, 2)]
    if not added:
        return "none: sums in 32 bits"
    if added == neighbours:
        return "neighbours in the order (height, width, input channel)"
    starts = range(0, len(taps), channels)
    if added == [(s + i, s + i + 1) for s in starts for i in range(0, channels - 1, 2)]:
        return "neighbours among the input channels at each position"
    return f"another order: {added[:5]}"


if __name__ == "__main__":
    main()
