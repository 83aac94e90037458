"""A float graph quantized by ai-edge-quantizer, in any of the precisions of an export.

The recipes are data, in the quantizer's own terms: a later entry overrides an earlier one.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from edgecifar.export.quantization import editing, integer_forms, raw_pixels
from edgecifar.export.quantization.raw_pixels import Scaling
from edgecifar.export.quantization.weights import (
    WEIGHTS,
    activations_of,
    bias_of,
    per_channel,
    steps_of,
    with_weights,
)
from edgecifar.export.settings import INTEGER
from edgecifar.graphs.tflite import Graph, Operator
from edgecifar.models import contract, int8_steps

PRECISIONS = ("float16", "dynamic", "int8", "int8-float-io", "int16x8")

EVERYTHING, ALL_OPERATORS, INPUT, OUTPUT = ".*", "*", "INPUT", "OUTPUT"
QUANTIZED, HALVED, UNTOUCHED = "min_max_uniform_quantize", "float_casting", "no_quantize"
# Which operators, how, and the settings.
Entry = tuple[str, str, dict]
INT8_WEIGHTS = {"num_bits": 8, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT"}


def _activations(bits: int, symmetric: bool, dtype: str = "INT") -> dict:
    """A recipe's settings of integer activations, beside int8 weights."""
    return {
        "activation_tensor_config": {
            "num_bits": bits,
            "symmetric": symmetric,
            "granularity": "TENSORWISE",
            "dtype": dtype,
        },
        "weight_tensor_config": INT8_WEIGHTS,
        "compute_precision": "INTEGER",
        "explicit_dequantize": False,
    }


INT8 = (ALL_OPERATORS, QUANTIZED, _activations(8, symmetric=False))
FLOAT_IO: tuple[Entry, ...] = ((INPUT, UNTOUCHED, {}), (OUTPUT, UNTOUCHED, {}))
# What each precision asks of operators: which, how, and the settings.
RECIPES = {
    "float16": (
        (
            ALL_OPERATORS,
            HALVED,
            {
                "weight_tensor_config": {"num_bits": 16, "dtype": "FLOAT"},
                "compute_precision": "FLOAT",
                "explicit_dequantize": True,
            },
        ),
    ),
    "dynamic": (
        (
            ALL_OPERATORS,
            QUANTIZED,
            {
                "weight_tensor_config": INT8_WEIGHTS,
                "compute_precision": "INTEGER",
                "explicit_dequantize": False,
            },
        ),
    ),
    "int8": (
        INT8,
        (INPUT, QUANTIZED, _activations(8, symmetric=False, dtype="UINT")),
        (OUTPUT, QUANTIZED, _activations(8, symmetric=False, dtype="UINT")),
    ),
    "int8-float-io": (INT8, *FLOAT_IO),
    "int16x8": ((ALL_OPERATORS, QUANTIZED, _activations(16, symmetric=True)), *FLOAT_IO),
}

# What the quantizer puts between float and integer tensors.
BETWEEN = ("DEQUANTIZE", "QUANTIZE")
# A bias is int32 in steps of the input's times the weights': it may need this many of them.
BIAS_STEPS = 2**28


class NoIntegerForm(ValueError):
    """Operators cannot be quantized.

    Attributes:
        outputs: the names of their outputs.
    """

    def __init__(self, precision: str, operators: Sequence[Operator]) -> None:
        self.outputs = [operator.outputs[0].name for operator in operators]
        layers = ",".join(dict.fromkeys(map(_layer, self.outputs)))
        kinds = ", ".join(dict.fromkeys(operator.name for operator in operators))
        super().__init__(
            f"{layers} cannot be {precision}: there is no integer form of {kinds}; "
            f"`keep_float={layers}` leaves it in floats"
        )


def quantize(
    file: bytes,
    scaling: Scaling,
    precision: str,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    keep_float: Sequence[str] = (),
) -> bytes:
    """Quantize a float graph and give it its inputs and outputs.

    Args:
        file: a float TFLite file that takes scaled pixels, as `raw_pixels.split` makes it.
        scaling: what it said of them.
        precision: one of `PRECISIONS`.
        ranges: the smallest and largest value of every float tensor that the graph computes, by
            name; for those of `settings.INTEGER`.
        keep_float: operators that stay float, by the name of their output.

    Returns:
        The TFLite file, the same bytes for the same arguments: `image` takes raw pixels, uint8, or
        float32 for "int8-float-io"; `probabilities` are uint8 for "int8", else float32.

    Raises:
        ValueError: a name in `keep_float` is that of no operator's output.
        NoIntegerForm: the precision is of `settings.INTEGER`, and an operator has no such form and
            is not in `keep_float`.
    """
    graph = Graph(file)
    known = {output.name for operator in graph.operators for output in operator.outputs}
    if unknown := [name for name in keep_float if name not in known]:
        raise ValueError(f"no operator has the output {unknown[0]}")
    recipe = _recipe(precision, keep_float)
    if precision in INTEGER:
        assert ranges is not None, "integers need ranges"
        values = _calibration(graph, {**ranges, contract.INPUT: scaling.range})
        disguised, hidden = integer_forms.disguised(file, precision)
        quantized = integer_forms.revealed(_quantized(disguised, recipe, values), hidden)
        if left := _left_float(quantized, known.difference(keep_float)):
            raise NoIntegerForm(precision, left)
    else:
        quantized = _quantized(file, recipe, None)
    quantized = _named(quantized)
    if precision == "int8":
        return quantized
    if precision == "int8-float-io":
        # The zero point that int8 has for its offset: pixels arrive as the same int8 values.
        scale, zero_point = scaling.quantization
        return raw_pixels.with_scaling(quantized, Scaling(scale, -zero_point * scale), np.float32)
    return raw_pixels.with_scaling(quantized, scaling, np.uint8)


def _recipe(precision: str, keep_float: Sequence[str]) -> list[dict]:
    everywhere = [(EVERYTHING, *entry) for entry in RECIPES[precision]]
    kept: list[tuple[str, *Entry]] = [
        (f"^{re.escape(name)};?$", ALL_OPERATORS, UNTOUCHED, {}) for name in keep_float
    ]
    keys = ("regex", "operation", "algorithm_key", "op_config")
    return [dict(zip(keys, entry, strict=True)) for entry in [*everywhere, *kept]]


def _quantized(file: bytes, recipe: list[dict], calibration: dict | None) -> bytes:
    from ai_edge_quantizer import quantizer

    result = quantizer.Quantizer(bytearray(file), recipe).quantize(
        calibration, enable_progress_bar=False, enable_progress_report=False
    )
    return bytes(result.quantized_model)


def _left_float(file: bytes, outputs: set[str]) -> list[Operator]:
    """The operators that make any of these tensors, as floats."""
    return [
        operator
        for operator in Graph(file).operators
        if operator.name not in BETWEEN
        and any(made.name in outputs and made.dtype == "float32" for made in operator.outputs)
    ]


def _layer(output: str) -> str:
    """The layer that the converter names a tensor for, as `keep_float` takes it."""
    path = output.split(";")[0].split("/")
    return "/".join(path[1:-1] or path[-1:])


def _calibration(
    graph: Graph, ranges: Mapping[str, tuple[float, float]]
) -> dict[str, dict[str, np.ndarray]]:
    """The limits of the tensors, as the quantizer wants them: arrays of the tensor's rank."""
    limits = {}
    for tensor in graph.tensors:
        if tensor.name in ranges:
            ends = (np.full((1,) * len(tensor.shape), end) for end in ranges[tensor.name])
            limits[tensor.name] = dict(zip(("min", "max"), ends, strict=True))
    for operator in with_weights(graph):
        low, high = ranges[activations_of(operator).name]
        bound = per_channel(operator, _weight_bounds(operator, (high - low) / 255))
        limits[operator.input(WEIGHTS).name] = {"min": -bound, "max": bound}
    return limits


def _weight_bounds(operator: Operator, input_step: float) -> np.ndarray:
    """The value of 127 in each output channel, so that its step is that of `int8_steps`.

    The step is larger in a channel of weights that are zero, or nearly, whose bias would not fit
    into int32 otherwise.

    Returns:
        float32, shape (outputs,).
    """
    own = int8_steps.INT8_MAX * steps_of(operator)
    bounds = np.where(own == 0, own.max() or 1, own)
    if input_step > 0:  # a layer whose input is always zero has a bias of zero steps
        needed = int8_steps.INT8_MAX * np.abs(bias_of(operator)) / (BIAS_STEPS * input_step)
        bounds = np.maximum(bounds, needed)
    return bounds.astype(np.float32)


def _named(file: bytes) -> bytes:
    """Give the outermost tensors the names that inner ones have: the quantizer added to them."""
    graph = Graph(file)
    for tensor, name in ((graph.inputs[0], contract.INPUT), (graph.outputs[0], contract.OUTPUT)):
        for other in graph.tensors:
            if other.name == name:
                other.raw.name = f"{name}_inside".encode()
        tensor.raw.name = name.encode()
    editing.drop_unused(graph)
    return graph.to_bytes()
