"""Probabilities, sigmoids and logits: which of them a model gives, and how they are read."""

import numpy as np

# How far the sum of a row of probabilities may be from 1. Ten terms that half precision rounds to
# 8 bits each need this much; a quantized output adds its own steps.
SUM_TOLERANCE = 0.02
# A probability below this counts as this much where its logarithm is taken: int8 files know no
# smaller one than 1/256.
SMALLEST = 1 / 512


def are_probabilities(rows: np.ndarray, tolerance: float = SUM_TOLERANCE) -> bool:
    """Whether rows of real values are distributions: each sums to 1, and no value is negative.

    Args:
        rows: any float dtype, shape (n, classes). Rows with a value that is not a finite number
            are left out, as long as there are others.
        tolerance: how far a sum may be from 1.
    """
    rows = rows[np.isfinite(rows).all(axis=1)].astype(np.float64)
    return bool(len(rows) and rows.min() >= 0 and np.abs(rows.sum(axis=1) - 1).max() <= tolerance)


def are_sigmoids(rows: np.ndarray) -> bool:
    """Whether rows of real values are probabilities of each class by itself, as of sigmoids.

    Args:
        rows: any float dtype, shape (n, classes), that `are_probabilities` refuses.
    """
    rows = rows[np.isfinite(rows).all(axis=1)]
    return bool(len(rows) and rows.min() >= 0 and rows.max() <= 1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float32 (n, classes), of logits of that shape and dtype."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)
