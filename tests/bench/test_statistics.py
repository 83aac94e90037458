import numpy as np

from edgecifar.bench.statistics import latency_summary


def test_percentiles_are_latencies_that_were_measured():
    latencies_ns = np.arange(1, 101) * 1_000_000
    assert latency_summary(latencies_ns) == {
        "p50": 50.0,
        "p90": 90.0,
        "p99": 99.0,
        "mean": 50.5,
        "min": 1.0,
    }


def test_one_latency_is_every_percentile():
    assert set(latency_summary(np.array([2_500_000])).values()) == {2.5}
