"""Rounded weights are on int8 steps, and the biases make up for the mean error."""

import numpy as np
import small_graph

from edgecifar.export.quantization import bias_correction, observing, weights
from edgecifar.graphs.tflite import Graph


def weights_of(file):
    return {o.outputs[0].name: weights.taps_of(o) for o in weights.with_weights(Graph(file))}


def mean_of(file, name, images):
    """The mean of a tensor in each channel."""
    arrays = [a[name].reshape(-1, a[name].shape[-1]) for a in observing.tensors(file, images)]
    return np.concatenate(arrays).mean(axis=0)


def test_all_weights_are_whole_multiples_of_a_channels_step(parts, corrected):
    for operator in weights.with_weights(Graph(corrected)):
        taps = weights.taps_of(operator)
        steps = taps / weights.steps_of(operator)
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
        assert not np.array_equal(taps, weights_of(parts[0])[operator.outputs[0].name])


def test_the_mean_before_the_activation_is_that_before_the_rounding(parts, images):
    """Of `second`, which has no activation; the layers before it are kept from changing."""
    file, scaling = parts
    rounded = Graph(bias_correction.corrected(file, scaling(images)))
    graph = Graph(file)
    originals = graph.operators
    for place, operator in enumerate(rounded.operators):
        if operator.outputs[0].name == "second":
            for old, new in zip(originals[place].inputs[1:], operator.inputs[1:], strict=True):
                old.set_constant(new.constant)
    before = mean_of(file, "second", scaling(images))
    after = mean_of(graph.to_bytes(), "second", scaling(images))
    np.testing.assert_allclose(after, before, atol=1e-5)
    bias = next(tensor for tensor in graph.tensors if tensor.name == "second_bias")
    kept = next(tensor for tensor in Graph(file).tensors if tensor.name == "second_bias")
    bias.set_constant(kept.constant)
    uncorrected = mean_of(graph.to_bytes(), "second", scaling(images))
    assert np.abs(uncorrected - before).max() > 1e-3


def test_a_layer_without_a_bias_gets_one(parts, corrected, images):
    before, after = (
        next(o for o in Graph(file).operators if o.outputs[0].name == "logits")
        for file in (parts[0], corrected)
    )
    assert before.inputs[2] is None
    assert after.inputs[2].constant.any()
    assert small_graph.run(corrected, parts[1](images[:1])).shape == (1, 10)


def test_a_shared_bias_is_corrected_for_each_layer_by_itself(parts, images):
    file, scaling = parts
    graph = Graph(file)
    first, depthwise = (
        next(o for o in graph.operators if o.outputs[0].name == name)
        for name in ("first", "depthwise")
    )
    depthwise.raw.inputs = [*list(depthwise.raw.inputs)[:2], first.inputs[2].index]
    shared = graph.to_bytes()
    result = Graph(bias_correction.corrected(shared, scaling(images[:5])))
    biases = [operator.inputs[2].constant for operator in weights.with_weights(result)]
    assert not np.array_equal(biases[0], biases[1])
    np.testing.assert_allclose(biases[0], first.inputs[2].constant, atol=0.05)


def test_the_correction_pays(parts, corrected, images):
    """Nearer to the float graph than the rounded weights with the old biases."""
    file, scaling = parts
    pixels = scaling(images)
    uncorrected = Graph(corrected)
    old = {o.outputs[0].name: o.inputs[2] for o in weights.with_weights(Graph(file))}
    for operator in weights.with_weights(uncorrected):
        before = old[operator.outputs[0].name]
        zeros = np.zeros(operator.inputs[2].shape, np.float32)
        operator.inputs[2].set_constant(zeros if before is None else before.constant)
    errors = [
        np.abs(mean_of(which, "logits", pixels) - mean_of(file, "logits", pixels)).max()
        for which in (corrected, uncorrected.to_bytes())
    ]
    assert errors[0] < 0.5 * errors[1]
