"""Each precision has the inputs, outputs and tensors that it promises, and computes alike."""

import numpy as np
import pytest
import small_graph

from edgecifar.export.quantization import (
    calibration,
    observing,
    raw_pixels,
    weights,
)
from edgecifar.export.quantization.quantizer import PRECISIONS, quantize
from edgecifar.export.settings import INTEGER
from edgecifar.graphs import overflow
from edgecifar.graphs.tflite import Graph

INTEGERS = {"int8", "uint8", "int32"}


@pytest.fixture(scope="module")
def made(corrected, parts, ranges):
    """A function that quantizes as the exporter does: only integer files get rounded weights."""

    def quantized(precision):
        source = corrected if precision in INTEGER else parts[0]
        return quantize(source, parts[1], precision, ranges)

    return quantized


@pytest.fixture(scope="module")
def files(made):
    return {precision: made(precision) for precision in PRECISIONS}


def real(file, images):
    """Probabilities, float32."""
    output = Graph(file).outputs[0]
    array = small_graph.run(file, images)
    if output.quantization is None:
        return array
    scale, zero_point = output.quantization
    return (array.astype(np.float32) - zero_point) * scale


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_classifies_as_the_float_file_does(precision, files, float_file, images):
    pixels = images.astype(np.float32) if precision == "int8-float-io" else images
    largest = np.abs(real(files[precision], pixels) - real(float_file, images)).max()
    assert largest < (0.01 if precision in ("float16", "int16x8") else 0.05)


@pytest.mark.parametrize(
    ("precision", "taken", "given"),
    [
        ("float16", "uint8", "float32"),
        ("dynamic", "uint8", "float32"),
        ("int8", "uint8", "uint8"),
        ("int8-float-io", "float32", "float32"),
        ("int16x8", "uint8", "float32"),
    ],
)
def test_inputs_outputs_and_signature(precision, taken, given, files):
    graph = Graph(files[precision])
    (image,), (probabilities,) = graph.inputs, graph.outputs
    assert (image.name, image.dtype, image.shape) == ("image", taken, (1, 32, 32, 3))
    assert (probabilities.name, probabilities.dtype) == ("probabilities", given)
    (signature,) = graph.model.signatureDefs
    assert [entry.tensorIndex for entry in signature.inputs] == [image.index]
    assert [entry.tensorIndex for entry in signature.outputs] == [probabilities.index]
    assert len({tensor.name for tensor in graph.tensors}) == len(list(graph.tensors))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_arguments_give_the_same_bytes(precision, files, made):
    assert made(precision) == files[precision]


def test_every_tensor_of_an_int8_file_is_integer(files):
    graph = Graph(files["int8"])
    assert {tensor.dtype for tensor in graph.tensors} <= INTEGERS
    assert [operator.name for operator in graph.operators][:2] == ["QUANTIZE", "CONV_2D"]


def test_pixels_arrive_exactly(files):
    pixels = np.arange(32 * 32 * 3).astype(np.uint8).reshape(1, 32, 32, 3)
    graph = Graph(files["int8"])
    scale, zero_point = graph.inputs[0].quantization
    np.testing.assert_allclose(scale, [1 / 127.5], rtol=1e-6)
    assert zero_point.tolist() == [127]
    inside = graph.operators[0].outputs[0]
    (arrays,) = observing.tensors(files["int8"], pixels)
    np.testing.assert_array_equal(arrays[inside.name], pixels.astype(np.int16) - 128)


def test_float_inputs_and_outputs_change_nothing_between_them(files, images):
    np.testing.assert_array_equal(
        real(files["int8-float-io"], images.astype(np.float32)), real(files["int8"], images)
    )


def test_the_output_is_probabilities_in_steps_of_a_256th(files):
    scale, zero_point = Graph(files["int8"]).outputs[0].quantization
    assert (scale.tolist(), zero_point.tolist()) == ([1 / 256], [0])


def test_int8_weights_are_those_of_the_correction(files, corrected):
    exact = {o.outputs[0].name: o for o in weights.with_weights(Graph(corrected))}
    for operator in Graph(files["int8"]).operators:
        if operator.name in weights.OUTPUT_AXES:
            scales = operator.inputs[1].quantization[0]
            np.testing.assert_allclose(
                operator.inputs[1].constant * weights.per_channel(operator, scales),
                exact[operator.outputs[0].name].inputs[1].constant,
                atol=1e-6,
            )


def test_no_two_int8_weights_overflow(files):
    for precision in ("int8", "int8-float-io", "int16x8"):
        seen = {}
        for operator in Graph(files[precision]).operators:
            if operator.name in weights.OUTPUT_AXES:
                taps = weights.taps_of(operator)
                seen[operator.outputs[0].name] = overflow.largest_pairs(taps).max()
        assert seen.keys() >= {"first", "depthwise", "second"}
        assert seen.pop("depthwise") > 128  # kernels do not add its products in pairs
        assert all(pair <= 128 for pair in seen.values())


def test_uncorrected_weights_do_not_overflow_either(parts, ranges):
    quantized = Graph(quantize(*parts, "int8", ranges))
    second = next(o for o in quantized.operators if o.outputs[0].name == "second")
    assert overflow.largest_pairs(weights.taps_of(second)).tolist() == [128] * 12


def test_a_dead_channel_keeps_its_bias(images):
    """Its weights are zero: steps as small as they allow would not fit the bias into int32."""
    whole = small_graph.network(dead_channel=True)
    file, scaling = raw_pixels.split(whole)
    ranges = calibration.ranges(calibration.observe(file, scaling(images)), "minmax")
    quantized = quantize(file, scaling, "int8", ranges)
    first = next(o for o in Graph(quantized).operators if o.outputs[0].name == "first")
    bias = first.inputs[2].constant[3] * first.inputs[2].quantization[0][3]
    assert bias == pytest.approx(1.5, rel=1e-3)
    assert np.abs(real(quantized, images) - real(whole, images)).max() < 0.05


def test_operators_kept_float_are_float(corrected, parts, ranges, float_file, images):
    kept = ["depthwise", "second"]
    file = quantize(corrected, parts[1], "int8", ranges, kept)
    graph = Graph(file)
    floats = {o.outputs[0].name for o in graph.operators if o.outputs[0].dtype == "float32"}
    assert set(kept) <= floats
    assert "first" not in floats
    (dtype,) = (o.inputs[1].dtype for o in graph.operators if o.outputs[0].name == "second")
    assert dtype == "float32"
    assert np.abs(real(file, images) - real(float_file, images)).max() < 0.05
    with pytest.raises(ValueError, match="no operator has the output nowhere"):
        quantize(corrected, parts[1], "int8", ranges, ["nowhere"])


def test_float16_and_dynamic_files_have_smaller_weights(files):
    dtypes = {
        precision: {
            operator.inputs[1].dtype
            for operator in Graph(files[precision]).operators
            if operator.name == "CONV_2D"
        }
        for precision in ("dynamic", "int8", "int16x8")
    }
    assert dtypes == {"dynamic": {"int8"}, "int8": {"int8"}, "int16x8": {"int8"}}
    assert "float16" in {tensor.dtype for tensor in Graph(files["float16"]).tensors}
