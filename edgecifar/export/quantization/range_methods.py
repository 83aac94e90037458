"""Four ways to choose the range that the steps of int8 cover, from the values of a tensor.

Min-max wastes no value and spends steps on the rarest one. The others clip: percentile by count,
entropy by what it does to the distribution (Migacz 2017, "8-bit Inference with TensorRT", GTC), MSE
by the mean squared error of the quantized values.
"""

import dataclasses

import numpy as np

PERCENTILE = 99.99
STEPS = 255
BINS = 2048
# The ends that entropy and MSE try, as parts of the largest.
PARTS = np.linspace(1, 0.25, 76)


@dataclasses.dataclass
class Values:
    """What one tensor held.

    Attributes:
        low: the smallest value, or 0 where that is above it.
        high: the largest value, or 0 where that is below it.
        counts: int64 (2048,), how many of the sampled values lie in each bin between low and high.
            Zeros are left out: every quantization holds them exactly.
    """

    low: float = 0.0
    high: float = 0.0
    counts: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(BINS, np.int64))

    @property
    def centers(self) -> np.ndarray:
        """The middle of each bin, float64 (2048,)."""
        return self.low + (np.arange(BINS) + 0.5) * (self.high - self.low) / BINS


def _min_max(values: Values) -> tuple[float, float]:
    return values.low, values.high


def _percentile(values: Values) -> tuple[float, float]:
    """Cut as many values off each end as the percentile leaves over."""
    over = values.counts.sum() * (1 - PERCENTILE / 100)
    edges = np.linspace(values.low, values.high, BINS + 1)
    below = np.concatenate([[0], np.cumsum(values.counts)])
    low = edges[np.searchsorted(below, over, side="right") - 1]
    high = edges[np.searchsorted(below, below[-1] - over)]
    return min(0.0, float(low)), max(0.0, float(high))


def _mse(values: Values) -> tuple[float, float]:
    """The ends whose clipping and rounding make the least mean squared error together.

    Rounding is taken for uniform noise of a step's width, whose mean square is its square / 12.
    """
    lows, highs = values.low * PARTS, values.high * PARTS
    counts, centers = values.counts, values.centers
    too_low = np.array([(counts * np.minimum(centers - end, 0) ** 2).sum() for end in lows])
    too_high = np.array([(counts * np.maximum(centers - end, 0) ** 2).sum() for end in highs])
    step = (highs[None, :] - lows[:, None]) / STEPS
    errors = too_low[:, None] + too_high[None, :] + counts.sum() * step**2 / 12
    low, high = np.unravel_index(errors.argmin(), errors.shape)
    return float(lows[low]), float(highs[high])


def _entropy(values: Values) -> tuple[float, float]:
    """The part of the range whose 255 steps lose the least information on the distribution.

    Both ends are drawn in together. What is clipped counts at the ends in the distribution that is
    to be kept, and is missing in the one that quantization makes of it: their Kullback-Leibler
    divergence grows with either loss.
    """
    if not values.counts.any():
        return values.low, values.high
    divergences = [_divergence(values, part) for part in PARTS]
    part = PARTS[int(np.argmin(divergences))]
    return float(values.low * part), float(values.high * part)


def _divergence(values: Values, part: float) -> float:
    counts, centers = values.counts.astype(np.float64), values.centers
    inside = (centers >= values.low * part) & (centers <= values.high * part)
    first, last = np.flatnonzero(inside)[[0, -1]]
    kept = counts[first : last + 1]
    clipped = kept.copy()
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last + 1 :].sum()
    # Each step gives its count evenly to those of its bins that hold anything.
    step = np.arange(len(kept)) * (STEPS + 1) // len(kept)
    held = kept > 0
    sums = np.bincount(step, kept)
    members = np.bincount(step, held)
    spread = np.where(held, (sums / np.maximum(members, 1))[step], 0)
    target, made = clipped / clipped.sum(), spread / max(spread.sum(), 1)
    filled = target > 0
    return float(np.sum(target[filled] * np.log(target[filled] / np.maximum(made[filled], 1e-9))))


# How the range of a tensor is chosen, by the name of the method, in the order of trying them.
METHODS = {"minmax": _min_max, "percentile": _percentile, "entropy": _entropy, "mse": _mse}
