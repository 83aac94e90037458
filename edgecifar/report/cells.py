"""How the values of a table are written: numbers, shares, ratios and their intervals."""

from collections.abc import Callable, Sequence

# From this on, a number is written with an exponent.
UNREADABLE = 1e15


def number(decimals: int, unit: float = 1.0) -> Callable[[float], str]:
    """A format of numbers: in `unit`, with `decimals` decimals."""

    def text(value: float) -> str:
        scaled = value / unit
        return f"{scaled:.{decimals}f}" if abs(scaled) < UNREADABLE else f"{scaled:.3g}"

    return text


def count(value: int) -> str:
    """A whole number, with commas between the thousands."""
    return f"{value:,}"


def percent(share: float) -> str:
    """A share, 0 to 1, in percent."""
    return f"{100 * share:.2f}"


def interval(ends: Sequence[float]) -> str:
    """Two shares in percent, from the lower to the upper."""
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


def ratio(value: float) -> str:
    """A ratio, with no more digits than noise leaves."""
    return number(3 if value < 10 else 1)(value)


def ratio_interval(ends: Sequence[float]) -> str:
    """Two ratios, from the lower to the upper."""
    return f"{ratio(ends[0])} to {ratio(ends[1])}"


def points(difference: float) -> str:
    """The difference of two shares in percentage points."""
    return f"{100 * difference:+.2f}"


def points_interval(ends: Sequence[float]) -> str:
    """Two differences of shares in percentage points, from the lower to the upper."""
    return f"{points(ends[0])} to {points(ends[1])}"


def short(value: float) -> str:
    """Two significant digits."""
    return f"{value:.2g}"


def listed(values: Sequence[str]) -> str:
    """Words with commas between them."""
    return ", ".join(values)
