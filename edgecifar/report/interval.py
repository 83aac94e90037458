"""How sure a share is that was counted on so many images."""

import math

Z_95 = 1.959964


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
