"""How far two models' answers to the same images are apart."""

import dataclasses

import numpy as np

from edgecifar.runtimes.probabilities import SMALLEST


@dataclasses.dataclass(frozen=True)
class Divergence:
    """Two answers to the same images.

    Attributes:
        agreement: share of the images on which both chose the same class.
        largest_difference: the largest difference of any probability on any image.
        kl_divergence: in nats, the mean over the images.
    """

    agreement: float
    largest_difference: float
    kl_divergence: float


def divergence(expected: np.ndarray, found: np.ndarray) -> Divergence:
    """Compare two answers to the same images, each float32, shape (n, classes)."""
    return Divergence(
        agreement=float(np.mean(expected.argmax(axis=1) == found.argmax(axis=1))),
        largest_difference=float(np.abs(found - expected).max()),
        kl_divergence=float(kl_divergences(expected, found).mean()),
    )


def kl_divergences(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How far probabilities are from those expected, of each image (Kullback and Leibler 1951).

    Args:
        expected: shape (n, classes).
        found: the same shape; a probability below `SMALLEST` counts as that much.

    Returns:
        float64, shape (n,), in nats; NaN where either is not a number.
    """
    expected, found = (np.maximum(p.astype(np.float64), SMALLEST) for p in (expected, found))
    # Where both probabilities were cut off, only rounding is left, which may be below 0.
    return np.maximum(np.sum(expected * np.log(expected / found), axis=1), 0)
