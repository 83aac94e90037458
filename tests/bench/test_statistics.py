import numpy as np
import pytest

from edgecifar.bench.statistics import latency_summary, wilson_interval


@pytest.mark.parametrize(
    ("right", "count", "expected"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, Table I.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_interval_has_the_published_values(right, count, expected):
    assert wilson_interval(right, count) == pytest.approx(expected, abs=5e-5)


def test_wilson_interval_of_all_right_ends_at_one():
    low, high = wilson_interval(10_000, 10_000)
    assert high == 1.0
    assert 0.999 < low < 1.0


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
