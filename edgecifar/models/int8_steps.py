"""The steps that int8 weights lie on: symmetric, one step for each output channel.

The weights of a depthwise channel spread over -127 ... 127. In every other layer the two largest
weights of one sign also add up to 128 at most, so that kernels that add pairs of products in 16
bits cannot overflow (`edgecifar.graphs.overflow`). That makes a step up to twice as wide. Its cost,
compared with other ways, is in benchmarks/overflow_forms.json.
"""

import numpy as np

from edgecifar.graphs import overflow

INT8_MAX = 127
# Two weights that lie within this of half a step are both rounded towards zero, else their sum
# could be rounded up twice.
HALF = 0.5 - 1e-9


def steps(taps: np.ndarray, depthwise: bool) -> np.ndarray:
    """The step of each output channel.

    Args:
        taps: float32, shape (taps, outputs).
        depthwise: whether each input channel makes one output channel of its own.

    Returns:
        float64, shape (outputs,); 0 for a channel of zeros.
    """
    widest = np.abs(taps).max(axis=0).astype(np.float64) / INT8_MAX
    if depthwise:
        return widest
    return np.maximum(widest, overflow.largest_pairs(taps) / overflow.PAIR_LIMIT)


def rounded(taps: np.ndarray, depthwise: bool) -> np.ndarray:
    """Round weights to the steps of their output channels; see `steps`.

    Returns:
        float32 of the same shape. Weights that lie on their steps already stay as they are.
    """
    step = steps(taps, depthwise)
    exact = taps / np.where(step == 0, 1, step)
    whole = np.sign(exact) * np.floor(np.abs(exact) + HALF)
    return (whole * step).astype(np.float32)
