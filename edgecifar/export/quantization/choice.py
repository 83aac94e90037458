"""Finds the best calibration method for a graph, on training images that do not calibrate."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from edgecifar.export.quantization import calibration, observing, quantizer
from edgecifar.export.quantization.range_methods import METHODS
from edgecifar.export.quantization.raw_pixels import Scaling
from edgecifar.metrics.divergence import kl_divergences


@dataclasses.dataclass(frozen=True)
class Tried:
    """How a method compares with the float graph.

    Attributes:
        method: of `range_methods.METHODS`.
        kl_divergence: of the int8 probabilities from the float ones, in nats, the mean.
        agreement: share of the images on which both chose the same class.
        top1: share that int8 classified correctly; None without labels.
    """

    method: str
    kl_divergence: float
    agreement: float
    top1: float | None


def try_methods(
    file: bytes,
    scaling: Scaling,
    observations: calibration.Observations,
    images: np.ndarray,
    expected: np.ndarray,
    labels: np.ndarray | None,
    keep_float: Sequence[str] = (),
) -> list[Tried]:
    """Quantize a graph with each method, and compare the results.

    Args:
        file: the float graph that is quantized, of scaled pixels.
        scaling: of the pixels.
        observations: of the graph's tensors.
        images: to judge by, uint8, shape (n, 32, 32, 3).
        expected: the float probabilities of these images, float32, shape (n, classes).
        labels: their classes, uint8, shape (n,), or None.
        keep_float: see `quantizer.quantize`.

    Returns:
        The best first: divergence decides, because a few hundred images hardly differ in top-1.
    """
    tried = []
    for method in METHODS:
        ranges = calibration.ranges(observations, method)
        quantized = quantizer.quantize(file, scaling, "int8", ranges, keep_float)
        found = observing.outputs(quantized, images)
        chosen = found.argmax(axis=1)
        tried.append(
            Tried(
                method,
                float(kl_divergences(expected, found).mean()),
                float(np.mean(chosen == expected.argmax(axis=1))),
                None if labels is None else float(np.mean(chosen == labels)),
            )
        )
    return sorted(tried, key=lambda one: one.kl_divergence)
