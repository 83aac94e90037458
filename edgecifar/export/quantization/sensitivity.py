"""What quantization does to each tensor of a graph: signal to quantization noise, in decibels."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from edgecifar.export.quantization import observing
from edgecifar.export.quantization.quantizer import NoIntegerForm, quantize
from edgecifar.export.quantization.raw_pixels import Scaling
from edgecifar.graphs.tflite import Graph, Operator


@dataclasses.dataclass(frozen=True)
class LayerNoise:
    """The noise of one operator's output.

    Attributes:
        output: the name of the tensor, by which `quantizer.quantize` keeps the operator float.
        operator: its kind, `CONV_2D` for example.
        sqnr_db: the signal's mean square over that of its difference from float, in dB; infinite
            where there is no difference.
        added_db: how much lower that is than of the noisiest tensor that the operator reads: what
            its own quantization costs; negative where it averages noise away.
    """

    output: str
    operator: str
    sqnr_db: float
    added_db: float


def noise(
    float_file: bytes, int8_file: bytes, float_images: np.ndarray, images: np.ndarray
) -> list[LayerNoise]:
    """Compare the tensors that two graphs have in common, by name.

    Args:
        float_file: what was quantized.
        int8_file: what became of it; some of its operators may be float.
        float_images: scaled pixels for the float file, float32 (n, height, width, channels).
        images: the same raw, uint8.

    Returns:
        The outputs of the operators, the noisiest first. Where an operator writes int8 values
        that a later one makes float again, it is the int8 ones that count.
    """
    graph, quantized = Graph(float_file), Graph(int8_file)
    others = {tensor.name: tensor for tensor in observing.computed(quantized)}
    operators = [
        operator
        for operator in graph.operators
        if operator.outputs[0].name in others and operator.outputs[0].dtype == "float32"
    ]
    names = [operator.outputs[0].name for operator in operators]
    signal, error = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    expected = observing.tensors(float_file, float_images, names)
    for exact, rough in zip(expected, observing.tensors(int8_file, images, names), strict=True):
        for name in names:
            values = observing.real(rough[name], others[name].quantization)
            signal[name] += float(np.square(exact[name], dtype=np.float64).sum())
            error[name] += float(np.square(exact[name] - values, dtype=np.float64).sum())
    ratios = {name: _decibels(signal[name], error[name]) for name in names}
    layers = [
        LayerNoise(name, operator.name, ratios[name], _read(operator, ratios) - ratios[name])
        for name, operator in zip(names, operators, strict=True)
    ]
    return sorted(layers, key=lambda layer: layer.sqnr_db)


def most_sensitive(
    file: bytes,
    scaling: Scaling,
    ranges: Mapping[str, tuple[float, float]],
    images: np.ndarray,
    count: int,
) -> list[str]:
    """The operators to keep float in an int8 graph for the least noise at its end.

    They are consecutive ones: a float operator between int8 ones still takes and gives int8, and
    gains nothing (measured on MobileNetV2: the six whose own quantization costs most make the
    logits no less noisy, the first six in a row by 2.5 dB). Every run of so many is tried.

    Args:
        file: the float file that is quantized, as `quantizer.quantize` takes it.
        scaling: of its pixels.
        ranges: of its tensors.
        images: to measure with, raw pixels, uint8 (n, height, width, channels).
        count: how many operators, at least 1.

    Returns:
        The names of their outputs, in the order in which they run; behind them, those of the
        operators that have no int8 form.
    """
    graph = Graph(file)
    names = [operator.outputs[0].name for operator in graph.operators]
    without_form = _without_form(file, scaling, ranges)
    end = _before_softmax(graph)
    count = min(count, len(names))
    runs = [names[start : start + count] for start in range(len(names) - count + 1)]
    exact = np.stack([arrays[end] for arrays in observing.tensors(file, scaling(images), [end])])

    def error(kept: list[str]) -> float:
        int8_file = quantize(file, scaling, "int8", ranges, [*kept, *without_form])
        known = {tensor.name: tensor.quantization for tensor in Graph(int8_file).tensors}
        rough = [arrays[end] for arrays in observing.tensors(int8_file, images, [end])]
        return float(np.square(exact - observing.real(np.stack(rough), known[end])).sum())

    best = min(runs, key=error)
    return [*best, *(name for name in without_form if name not in best)]


# Of an input that is exact, and so of infinite ratio: that of an int8 tensor with an even
# distribution over all its steps.
EXACT_DB = 20 * np.log10(2**8)


def _without_form(file: bytes, scaling: Scaling, ranges: Mapping) -> list[str]:
    """The outputs of the operators that cannot be int8."""
    try:
        quantize(file, scaling, "int8", ranges)
    except NoIntegerForm as error:
        return error.outputs
    return []


def _before_softmax(graph: Graph) -> str:
    """The last tensor that is not a probability: softmax hides what it does not turn into one."""
    last = graph.operators[-1]
    return (last.input(0) if last.name == "SOFTMAX" else last.outputs[0]).name


def _read(operator: Operator, ratios: dict[str, float]) -> float:
    """The lowest ratio among the tensors that an operator reads."""
    read = (ratios.get(tensor.name, EXACT_DB) for tensor in operator.inputs if tensor is not None)
    return min(EXACT_DB, *read)


def _decibels(signal: float, error: float) -> float:
    if error == 0:
        return float("inf")
    return float(10 * np.log10(signal / error)) if signal else float("-inf")
