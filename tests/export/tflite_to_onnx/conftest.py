"""A float graph that resizes its pixels, and its quantized files, made once."""

import pytest
import small_graph

from edgecifar.data import shipped
from edgecifar.export.quantization import calibration, quantizer, raw_pixels
from edgecifar.export.tflite_to_onnx.converter import quantized_onnx


@pytest.fixture(scope="session")
def images():
    return shipped.calibration_set().images(slice(40))


@pytest.fixture(scope="session")
def float_file():
    """A float TFLite file that resizes its pixels."""
    return small_graph.network(resize=48)


@pytest.fixture(scope="session")
def quantized(float_file, images):
    """A function that gives its TFLite file of a precision."""
    split, scaling = raw_pixels.split(float_file)
    ranges = calibration.ranges(calibration.observe(split, scaling(images)), "minmax")

    def quantize(precision, keep_float=()):
        return quantizer.quantize(split, scaling, precision, ranges, keep_float)

    return quantize


@pytest.fixture(scope="session")
def int8_file(quantized):
    return quantized("int8")


@pytest.fixture(scope="session")
def int8_model(int8_file):
    return quantized_onnx(int8_file)
