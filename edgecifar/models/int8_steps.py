"""The steps that int8 weights lie on: symmetric, -127 to 127, one step an output channel."""

import numpy as np

INT8_MAX = 127


def rounded(taps: np.ndarray) -> np.ndarray:
    """Round weights to the int8 steps of each output channel.

    Args:
        taps: float32, shape (taps, outputs).

    Returns:
        float32 of the same shape; a channel of zeros stays so.
    """
    step = np.abs(taps).max(axis=0) / INT8_MAX
    return np.round(taps / np.where(step == 0, 1, step)) * step
