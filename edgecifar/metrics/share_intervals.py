"""Confidence intervals of a share of counted images, and of the difference of two shares."""

import math

Z_95 = 1.959964


def wilson_interval(right: int, count: int, z: float = Z_95) -> tuple[float, float]:
    """The score interval of a proportion. Unlike the normal interval it is right near 0 and 1 too.

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


def difference_interval(
    right_a: int, count_a: int, right_b: int, count_b: int, z: float = Z_95
) -> tuple[float, float]:
    """The interval of the difference of two shares that were counted independently.

    For two classifiers on the same images it is wider than necessary, because they are mostly
    right on the same ones; see `classification.mcnemar` for those.

    Source: Newcombe, "Interval estimation for the difference between independent proportions:
    comparison of eleven methods", Statistics in Medicine 17, 1998, method 10.

    Args:
        right_a: successes of the first, 0 to `count_a`.
        count_a: its trials, at least 1.
        right_b: successes of the second, 0 to `count_b`.
        count_b: its trials, at least 1.
        z: standard normal quantile; 95 % by default.

    Returns:
        Lower and upper end of the first share less the second, both in -1 to 1.
    """
    share_a, share_b = right_a / count_a, right_b / count_b
    low_a, high_a = wilson_interval(right_a, count_a, z)
    low_b, high_b = wilson_interval(right_b, count_b, z)
    difference = share_a - share_b
    return (
        difference - math.hypot(share_a - low_a, high_b - share_b),
        difference + math.hypot(high_a - share_a, share_b - low_b),
    )
