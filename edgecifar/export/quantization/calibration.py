"""The calibration images, the values of a graph's tensors on them, and the ranges for int8."""

import numpy as np

from edgecifar.data import cifar10, shipped
from edgecifar.export.quantization import observing
from edgecifar.export.quantization.range_methods import BINS, METHODS, Values
from edgecifar.export.settings import CALIBRATION_IMAGES
from edgecifar.graphs.tflite import Graph

# The number of values of a tensor that each image adds to its histogram: whole pixels, at different
# places in each image. The minimum and the maximum use all values.
SAMPLED = 4096


def calibration_images(count: int = CALIBRATION_IMAGES) -> np.ndarray:
    """Training images that ship with the package, equally many of each class.

    Args:
        count: 1 to 1,000.

    Returns:
        uint8, shape (count, 32, 32, 3).
    """
    data = shipped.calibration_set()
    return data.images(cifar10.balanced(data.labels, count))


def judging_rows(count: int = CALIBRATION_IMAGES) -> np.ndarray:
    """The shipped training images that are left to judge calibrations on.

    Args:
        count: of the calibration images that are left out.

    Returns:
        Their numbers in `shipped.calibration_set()`, int64.
    """
    data = shipped.calibration_set()
    return np.setdiff1d(np.arange(len(data)), cifar10.balanced(data.labels, count))


Observations = dict[str, Values]


def observe(file: bytes, images: np.ndarray) -> Observations:
    """Watch every float tensor that a graph computes, in two passes: limits, then histograms.

    Args:
        file: a float TFLite file.
        images: in its input's dtype, shape (n, height, width, channels).

    Returns:
        By tensor name.
    """
    graph = Graph(file)
    observations = {
        tensor.name: Values() for tensor in observing.computed(graph) if tensor.dtype == "float32"
    }
    for arrays in observing.tensors(file, images, observations):
        for name, array in arrays.items():
            values = observations[name]
            values.low = min(values.low, float(array.min()))
            values.high = max(values.high, float(array.max()))
    for number, arrays in enumerate(observing.tensors(file, images, observations)):
        for name, array in arrays.items():
            _count(observations[name], array, number)
    return observations


def ranges(observations: Observations, method: str) -> dict[str, tuple[float, float]]:
    """Choose the range of each tensor.

    Args:
        observations: of every tensor.
        method: one of `range_methods.METHODS`.

    Returns:
        Its smallest and largest value by tensor name; 0 is among them, so that the outputs of a
        fused ReLU start there.
    """
    choose = METHODS[method]
    return {name: choose(values) for name, values in observations.items()}


def _count(values: Values, array: np.ndarray, number: int) -> None:
    """Add the values of a tensor to its histogram, or those of pixels at regular distances."""
    if values.high == values.low:
        return
    pixels = array.reshape(-1, array.shape[-1])
    every = max(1, array.size // SAMPLED)
    sample = pixels[number % min(every, len(pixels)) :: every]
    sample = sample[sample != 0]
    bins = ((sample - values.low) * (BINS / (values.high - values.low))).astype(np.int64)
    values.counts += np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)
