import pytest

from edgecifar.report.interval import wilson_interval


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
