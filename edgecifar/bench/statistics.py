"""What a list of latencies or a count of right answers says."""

import math

import numpy as np

Z_95 = 1.959964
PERCENTILES = (50, 90, 99)


def wilson_interval(right: int, count: int, z: float = Z_95) -> tuple[float, float]:
    """The score interval of a proportion, honest near 0 and 1 where the normal one is not.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22, 1927.

    Args:
        right: successes, 0 to `count`.
        count: trials, at least 1.
        z: standard normal quantile; 95 % by default.

    Returns:
        Lower and upper end, both in 0 to 1.
    """
    share = right / count
    centre = share + z**2 / (2 * count)
    half_width = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return max(0.0, (centre - half_width) / scale), min(1.0, (centre + half_width) / scale)


def latency_summary(latencies_ns: np.ndarray) -> dict[str, float]:
    """Percentiles, mean and minimum of latencies.

    Args:
        latencies_ns: nanoseconds, shape (n,), at least one.

    Returns:
        Milliseconds by the names `p50`, `p90`, `p99`, `mean` and `min`. A percentile is a latency
        that was measured (the nearest rank), not a point between two.
    """
    latencies_ms = np.asarray(latencies_ns) / 1e6
    ranked = np.percentile(latencies_ms, PERCENTILES, method="inverted_cdf")
    summary = {f"p{q}": float(value) for q, value in zip(PERCENTILES, ranked, strict=True)}
    return summary | {"mean": float(latencies_ms.mean()), "min": float(latencies_ms.min())}
