"""Operators that the quantizer knows no integer form of get one, or are refused by name."""

import functools

import numpy as np
import pytest
import small_graph
from ai_edge_litert import schema_py_generated as schema

from edgecifar.export.quantization import calibration, integer_forms, raw_pixels, sensitivity
from edgecifar.export.quantization.quantizer import NoIntegerForm, quantize
from edgecifar.graphs.tflite import Graph

NAME = "classifier/subject/it"
SHAPE = (1, 16, 16, 12)


def unary(operator, writer, taken, options=None):
    return writer.add(operator, [taken], SHAPE, NAME, options)


def leaky(writer, taken):
    options = schema.LeakyReluOptionsT()
    options.alpha = 0.3
    return unary("LEAKY_RELU", writer, taken, options)


def parametric(writer, taken):
    slopes = writer.constant("slopes", np.linspace(-0.2, 0.6, 12, dtype=np.float32))
    return writer.add("PRELU", [taken, slopes], SHAPE, NAME)


def minimum(writer, taken):
    half = writer.constant("half", np.float32(0.5))
    halved = writer.add("MUL", [taken, half], SHAPE, "halved", schema.MulOptionsT())
    return writer.add("MINIMUM", [taken, halved], SHAPE, NAME, schema.MaximumMinimumOptionsT())


def tiled(writer, taken):
    multiples = writer.constant("multiples", np.array([1, 1, 3, 1], np.int32))
    return writer.add("TILE", [taken, multiples], (1, 16, 48, 12), NAME, schema.TileOptionsT())


def largest(writer, taken, axes=(1, 2), shape=(1, 1, 1, 12)):
    reduced = writer.constant("reduced", np.array(axes, np.int32))
    options = schema.ReducerOptionsT()
    options.keepDims = len(shape) == 4
    return writer.add("REDUCE_MAX", [taken, reduced], shape, NAME, options)


def largest_without_sides(writer, taken):
    pooled = largest(writer, taken, (-2, 1), (1, 12))
    shape = writer.constant("sides", np.array([1, 1, 1, 12], np.int32))
    return writer.add("RESHAPE", [pooled, shape], (1, 1, 1, 12), "spread")


def largest_channel(writer, taken):
    mask = largest(writer, taken, (3,), (1, 16, 16, 1))
    return writer.add("MUL", [taken, mask], SHAPE, "masked", schema.MulOptionsT())


# What each becomes in an int8 file.
SUBJECTS = {
    "ABS": (functools.partial(unary, "ABS"), ["ABS"]),
    "ELU": (functools.partial(unary, "ELU"), ["ELU"]),
    "LEAKY_RELU": (leaky, ["LEAKY_RELU"]),
    "MINIMUM": (minimum, ["MUL", "MINIMUM"]),
    "NEG": (functools.partial(unary, "NEG"), ["MUL"]),
    "PRELU": (parametric, ["PRELU"]),
    "REDUCE_MAX": (largest, ["MAX_POOL_2D"]),
    "REDUCE_MAX without sides": (largest_without_sides, ["MAX_POOL_2D", "RESHAPE", "RESHAPE"]),
    "REDUCE_MAX of channels": (largest_channel, ["REDUCE_MAX", "MUL"]),
    "RELU6": (functools.partial(unary, "RELU6"), ["RELU6"]),
    "SQUARE": (functools.partial(unary, "SQUARE"), ["MUL"]),
    "TILE": (tiled, ["CONCATENATION"]),
}
EXPONENTIAL = functools.partial(unary, "EXP")


@functools.cache
def made(subject):
    """A float file, its scaling and its ranges; and the whole file."""
    images = calibration.calibration_images(20)
    whole = small_graph.network(subject=subject)
    split, scaling = raw_pixels.split(whole)
    split = integer_forms.rewritten(split)
    ranges = calibration.ranges(calibration.observe(split, scaling(images)), "minmax")
    return split, scaling, ranges, whole


def subjects_of(file):
    """The operators behind `second` and before the mean."""
    kinds = [operator.name for operator in Graph(file).operators if operator.name != "QUANTIZE"]
    return kinds[3 : kinds.index("MEAN")]


def noise(subject, file, images):
    """Signal to noise of what the subject gives, in decibels."""
    split, scaling, _, _ = made(subject)
    rows = sensitivity.noise(split, file, scaling(images), images)
    return next(row.sqnr_db for row in rows if row.output == NAME)


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_rewritten_float_graph_computes_the_same(name, images):
    split, scaling, _, whole = made(SUBJECTS[name][0])
    found = small_graph.run(split, scaling(images[:5]))
    np.testing.assert_allclose(found, small_graph.run(whole, images[:5]), atol=1e-6)
    assert NAME in {operator.outputs[0].name for operator in Graph(split).operators}


@pytest.mark.parametrize("name", SUBJECTS)
def test_it_is_computed_in_int8_and_right(name, images):
    subject, expected = SUBJECTS[name]
    split, scaling, ranges, _ = made(subject)
    file = quantize(split, scaling, "int8", ranges)
    assert subjects_of(file) == expected
    assert "float32" not in {tensor.dtype for tensor in Graph(file).tensors}
    assert noise(subject, file, images[:10]) > 20


@pytest.mark.parametrize("name", SUBJECTS)
def test_int16_runs_what_has_a_kernel_and_refuses_the_rest(name, images):
    subject, _ = SUBJECTS[name]
    split, scaling, ranges, _ = made(subject)
    if name in integer_forms.INT8_ONLY:
        with pytest.raises(
            NoIntegerForm, match=f"subject cannot be int16x8: there is no integer form of {name}; "
        ):
            quantize(split, scaling, "int16x8", ranges)
        return
    file = quantize(split, scaling, "int16x8", ranges)
    assert noise(subject, file, images[:10]) > 30


def test_a_graph_without_any_of_them_stays_as_it_is(parts):
    assert integer_forms.rewritten(parts[0]) is parts[0]
    assert integer_forms.disguised(parts[0], "int8") == (parts[0], {})


def test_what_has_no_form_is_refused_and_may_be_kept_float(images):
    split, scaling, ranges, _ = made(EXPONENTIAL)
    for precision in ("int8", "int8-float-io", "int16x8"):
        with pytest.raises(NoIntegerForm) as refused:
            quantize(split, scaling, precision, ranges)
        assert refused.value.outputs == [NAME]
        assert str(refused.value) == (
            f"subject cannot be {precision}: there is no integer form of EXP; "
            "`keep_float=subject` leaves it in floats"
        )
    file = quantize(split, scaling, "int8", ranges, [NAME])
    (kept,) = (o for o in Graph(file).operators if o.name == "EXP")
    assert kept.outputs[0].dtype == "float32"
    assert noise(EXPONENTIAL, file, images[:10]) > 20


def test_a_hidden_operator_may_be_kept_float_too(images):
    split, scaling, ranges, _ = made(leaky)
    file = quantize(split, scaling, "int8", ranges, [NAME])
    (kept,) = (o for o in Graph(file).operators if o.name == "LEAKY_RELU")
    assert kept.outputs[0].dtype == "float32"
    assert noise(leaky, file, images[:10]) > 20


def test_those_kept_float_by_themselves_are_joined_by_what_has_no_form(images):
    split, scaling, ranges, _ = made(EXPONENTIAL)
    kept = sensitivity.most_sensitive(split, scaling, ranges, images[:5], 1)
    assert NAME in kept
    assert quantize(split, scaling, "int8", ranges, kept)
