"""Checks a result against limits, so that a build can fail."""

import math
import re
from dataclasses import dataclass

from edgecifar.bench.results.comparison import Measured, beside, doubts, match
from edgecifar.bench.results.names import row_names
from edgecifar.errors import UserError
from edgecifar.metrics.latency import milliseconds

DEFAULT_MAX_REGRESSION = 0.05
BASELINE = "the baseline"


@dataclass(frozen=True)
class Limits:
    """Limits for a result; None checks nothing.

    Attributes:
        min_top1: the least share of the test images classified right, 0 to 1.
        max_p90_ms: the highest 90th percentile of the latency of a call, milliseconds.
        max_size_mb: the largest file, in 10^6 bytes.
        baseline: an earlier result, see `result.load`; `comparison` says which rows are the same.
        max_regression: how much more time than the baseline a row may take, as a share; 5 % by
            default.
    """

    min_top1: float | None = None
    max_p90_ms: float | None = None
    max_size_mb: float | None = None
    baseline: dict | None = None
    max_regression: float | None = None

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            UserError: a limit is not above 0, or there is a `max_regression` and no baseline.
        """
        for name in ("max_p90_ms", "max_size_mb"):
            limit = getattr(self, name)
            if limit is not None and not (math.isfinite(limit) and limit > 0):
                raise UserError(f"`{name}={limit:g}`: give a number above 0")
        if self.max_regression is not None and self.baseline is None:
            raise UserError("`max_regression` needs a `baseline` to compare the result with")


def check(result: dict, limits: Limits) -> list[str]:
    """Check every row of a result against limits.

    A limit is compared with the measured figure itself. A baseline is a measurement too, so a
    difference that noise explains is not a regression. A row fails as slower when the whole 95 %
    interval of the ratio of its median latency to the baseline's is above `1 + max_regression`, so
    that a build does not fail by chance; see `latency.unpaired_ratio` for the width of this
    interval. A baseline without rounds (an old result) gives no interval: then the ratio itself
    decides. Top-1 fails when the whole 95 % interval of the difference is below 0. A row of the
    baseline fails when it is missing now or has an error. A row that had an error in the baseline
    is left out, and a baseline with such rows only fails.

    Args:
        result: see `edgecifar.bench.results.result`.
        limits: for it.

    Returns:
        A line for each check that failed, none when all pass. With any limit given, a row fails
        that has an error or lacks the figure.
    """
    if limits == Limits():
        return []
    rows = result["rows"]
    failed = [] if rows else ["nothing was measured"]
    for name, row in zip(row_names(rows), rows, strict=True):
        reasons = [row["error"]] if row["error"] else _above(row, limits)
        failed += [f"{name}: {reason}{_marks(row['marks'])}" for reason in reasons]
    if limits.baseline is not None:
        given = limits.max_regression
        allowed = DEFAULT_MAX_REGRESSION if given is None else given
        failed += _regressions(limits.baseline, result, allowed)
    return failed


def doubtful(result: dict, limits: Limits) -> list[str]:
    """Why the comparison with the baseline is doubtful, a line for each reason; see `doubts`."""
    if limits.baseline is None:
        return []
    return doubts([(BASELINE, limits.baseline), ("this result", result)])


def parse_percent(option: str, text: str) -> float:
    """A share from a percentage: "5%", "5 %" and "5" are 0.05.

    A number between 0 and 1 without a percent sign is refused: it may be a share or a percentage,
    and the wrong reading would make a gate that checks the wrong limit.

    Args:
        option: that has the value, for messages.
        text: the value.

    Raises:
        UserError: it is not a percentage, or it is ambiguous.
    """
    number = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?)\s*", text)
    if not number:
        raise UserError(f"{option} {text}: expected a percentage, such as 5%")
    share = float(f"{number[1]}e-2")  # in one rounding: 95.56 % is 9556 of 10,000 exactly
    if 0 < share < 0.01 and not number[2]:
        raise UserError(f"{option} {text}: write {text.strip()}%, or {100 * float(number[1]):g}%")
    return share


def _above(row: dict, limits: Limits) -> list[str]:
    """Why a row fails the limits that need no baseline."""
    min_top1, max_p90_ms, max_size_mb = limits.min_top1, limits.max_p90_ms, limits.max_size_mb
    top1, p90_ms, size_bytes = row["top1"], row["latency_ms"]["p90"], row["size_bytes"]
    reasons = []
    if min_top1 is not None and top1 is None:
        reasons.append("no top-1 was measured")
    elif min_top1 is not None and top1 < min_top1:
        reasons.append(f"top-1 {_percent(top1)} is below {_percent(min_top1)}")
    if max_p90_ms is not None and p90_ms is None:
        reasons.append("no p90 was measured")
    elif max_p90_ms is not None and p90_ms > max_p90_ms:
        reasons.append(f"p90 {p90_ms:.4g} ms is above {max_p90_ms:g} ms")
    if max_size_mb is not None and size_bytes is None:
        reasons.append("the size of the file is not known")
    elif max_size_mb is not None and size_bytes > max_size_mb * 1e6:
        reasons.append(f"{size_bytes / 1e6:.4g} MB are above {max_size_mb:g} MB")
    return reasons


def _regressions(baseline: dict, result: dict, allowed: float) -> list[str]:
    matched = [(then, now) for then, now in match([baseline, result]) if then and not then["error"]]
    failed = [] if matched else [f"{BASELINE} has no row that was measured"]
    names = row_names([then for then, _ in matched])
    for name, (then, now) in zip(names, matched, strict=True):
        if now is None:
            failed.append(f"{name}: is in the baseline and was not measured now")
        elif not now["error"]:  # which has failed already
            reasons = _regression(then, beside(now, then, BASELINE), allowed)
            failed += [f"{name}: {reason}{_marks(now['marks'])}" for reason in reasons]
    return failed


def _regression(then: dict, now: Measured, allowed: float) -> list[str]:
    """Why a row is worse than in the baseline."""
    reasons = []
    if now.ratio is None:
        reasons.append("its p50 cannot be compared with the baseline's")
    elif (now.ratio_interval or (now.ratio,))[0] > 1 + allowed:
        interval = "[{:.3f}, {:.3f}] ".format(*now.ratio_interval) if now.ratio_interval else ""
        reasons.append(
            f"p50 {milliseconds(now.p50_ms)} ms is {now.ratio:.3f} {interval}of the baseline's "
            f"{milliseconds(then['latency_ms']['p50'])} ms: more than {_percent(allowed)} slower"
        )
    if now.row.top1 is None:
        if then["top1"] is not None:
            reasons.append("no top-1 was measured, and the baseline has one")
    elif now.top1_difference_interval and now.top1_difference_interval[1] < 0:
        reasons.append(
            f"top-1 {_percent(now.row.top1)} is below the baseline's {_percent(then['top1'])} by "
            "more than chance"
        )
    return reasons


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _marks(marks: list[str]) -> str:
    return f" ({', '.join(marks)})" if marks else ""
