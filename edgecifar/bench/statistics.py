"""What a list of latencies says."""

import numpy as np

PERCENTILES = (50, 90, 99)


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
