"""Reads the weights of a float TFLite graph, as taps for each output channel, and rounds them.

The quantizer gets the same steps, so weights that were rounded here are on its steps already.
"""

from collections.abc import Iterable

import numpy as np

from edgecifar.graphs import products
from edgecifar.graphs.tflite import Graph, Operator, Tensor
from edgecifar.models import int8_steps

# Where the output channels are among the axes of an operator's weights.
OUTPUT_AXES = {
    "CONV_2D": 0,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 0,
    "TRANSPOSE_CONV": 0,
}
WEIGHTS = 1  # the input that holds them, of each of these operators
_BIASES = {"TRANSPOSE_CONV": 3}  # else 2


def with_weights(graph: Graph) -> list[Operator]:
    """The operators of a graph that have constant float weights."""
    return [
        operator
        for operator in graph.operators
        if operator.name in OUTPUT_AXES
        and operator.input(WEIGHTS).dtype == "float32"
        and operator.input(WEIGHTS).constant is not None
    ]


def activations_of(operator: Operator) -> Tensor:
    """The input that is multiplied by the weights."""
    return operator.input(products.TFLITE[operator.name][0])


def bias_slot(operator: Operator) -> int:
    """The place of the bias among an operator's inputs; it may be missing there."""
    return _BIASES.get(operator.name, 2)


def bias_of(operator: Operator) -> np.ndarray:
    """The bias, float32 (outputs,); zeros where the operator has none."""
    slot = bias_slot(operator)
    tensor = operator.inputs[slot] if len(operator.inputs) > slot else None
    if tensor is not None:
        return tensor.values
    return np.zeros(operator.input(WEIGHTS).shape[OUTPUT_AXES[operator.name]], np.float32)


def taps_of(operator: Operator) -> np.ndarray:
    """The weights as float32 (taps, outputs), in the order (height, width, input channel)."""
    weights, axis = operator.input(WEIGHTS).values, OUTPUT_AXES[operator.name]
    return np.moveaxis(weights, axis, -1).reshape(-1, weights.shape[axis])


def per_channel(operator: Operator, values: np.ndarray) -> np.ndarray:
    """One value for each output channel in the rank of the weights, to be broadcast over them."""
    shape = [1] * len(operator.input(WEIGHTS).shape)
    shape[OUTPUT_AXES[operator.name]] = -1
    return values.reshape(shape)


def steps_of(operator: Operator) -> np.ndarray:
    """The int8 step of each output channel, float64 (outputs,); see `int8_steps.steps`."""
    return int8_steps.steps(taps_of(operator), _is_depthwise(operator))


def round_weights(operators: Iterable[Operator]) -> None:
    """Put the weights of operators on int8 steps; operators that share them share the result."""
    for operator in {one.input(WEIGHTS).raw.buffer: one for one in operators}.values():
        tensor, axis = operator.input(WEIGHTS), OUTPUT_AXES[operator.name]
        rounded = int8_steps.rounded(taps_of(operator), _is_depthwise(operator))
        moved = np.moveaxis(tensor.values, axis, -1)
        tensor.set_constant(np.moveaxis(rounded.reshape(moved.shape), -1, axis))


def _is_depthwise(operator: Operator) -> bool:
    """Whether each input channel makes one output channel: with more, kernels add pairs."""
    if operator.name != "DEPTHWISE_CONV_2D":
        return False
    return activations_of(operator).shape[-1] == operator.outputs[0].shape[-1]
