import pytest

from edgecifar.metrics.share_intervals import difference_interval, wilson_interval


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


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # Newcombe, "Interval estimation for the difference between independent proportions", 1998,
        # Table II, method 10.
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((6, 7, 2, 7), (0.0582, 0.8062)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((0, 10, 0, 20), (-0.1611, 0.2775)),
        ((10, 10, 0, 10), (0.6075, 1.0)),
    ],
)
def test_difference_interval_has_the_published_values(counts, expected):
    assert difference_interval(*counts) == pytest.approx(expected, abs=5e-5)
