"""The accuracy of a row, as fields of the result."""

from collections.abc import Sequence

import numpy as np

from edgecifar.data.cifar10 import CLASSES
from edgecifar.metrics import classification
from edgecifar.metrics.share_intervals import wilson_interval


def accuracy(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str] = CLASSES
) -> dict:
    """Compute the accuracy of a row. Among equal probabilities the first class ranks highest.

    Args:
        probabilities: float32, shape (n, C), finite, n at least 1.
        labels: integers 0 to C - 1, shape (n,).
        classes: their C names, in that order.

    Returns:
        JSON values by the names of `result.Row`: `images`, `top1`, `top1_interval`, `top5`,
        `top5_interval`, `ece`, `per_class` (see `classification.per_class_top1`) and `confusion`.
    """
    images = len(labels)
    places = classification.places(probabilities, labels)
    first, among_five = int((places == 0).sum()), int((places < 5).sum())
    counts = classification.confusion(probabilities.argmax(axis=1), labels, len(classes))
    bins = classification.reliability(probabilities.max(axis=1), places == 0)
    return {
        "images": images,
        "top1": first / images,
        "top1_interval": list(wilson_interval(first, images)),
        "top5": among_five / images,
        "top5_interval": list(wilson_interval(among_five, images)),
        "ece": classification.calibration_error(bins),
        "per_class": classification.per_class_top1(counts, classes),
        "confusion": counts.tolist(),
    }
