"""Summaries of latencies and their confidence intervals.

It needs numpy only, because the worker imports it too.

Latencies come in blocks, one for each round. Neither the latencies in a block nor neighbouring
blocks are independent, because a machine drifts and is busy for seconds at a time. So the intervals
come from a moving block bootstrap, which draws runs of consecutive blocks instead of latencies. The
half-width is the bootstrap's standard error of the logarithm, times the quantile of Student's t for
the number of runs that fit into the measurement. With few runs, the plain percentile interval of
the same draws is too narrow by a tenth or more.

Sources: Künsch, "The jackknife and the bootstrap for general stationary observations", Annals of
Statistics 17, 1989; Politis and Romano, "A circular block-resampling procedure for stationary
data", 1992; Hesterberg, "What teachers should know about the bootstrap", The American Statistician
69, 2015 (the t quantile for small samples).
"""

import math
from collections.abc import Sequence

import numpy as np

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
WITH_INTERVAL = ("p50", "p90", "p99")
# From this on, milliseconds are written with an exponent: nothing takes so long.
UNREADABLE_MS = 1e9
DRAWS = 1_000
QUICK_DRAWS = 200
# Limits the memory that the draws of many blocks take, to about 60 MB.
DRAWN_AT_ONCE = 2_000_000
GRID = 2_000
# 0.999 * 1,000 must count as 999, in spite of its rounding error.
ROUNDING = 1e-12
# A few bursts decide p90, p99 and the mean, even in many rounds: their spread is known as badly as
# from four runs. Chosen by simulation: without this limit, the intervals of p99 of 200 rounds
# contained the true value in 76 % of the runs.
TAIL_DF = 3
# Student's t, 97.5 %, by degrees of freedom.
T_975 = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262,
    10: 2.228, 12: 2.179, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000, math.inf: 1.960,
}  # fmt: skip
# Two processes of one file differ as long as they live, because their memory lies at different
# addresses, and more rounds do not show it. Measured over 18 processes: a standard deviation of
# 0.25 % for the shipped int8 file, less for a small network. Of 12 runs half a minute apart on a
# shared two-core machine, ten had a standard deviation of 2.2 %, all 12 with the slowest two 6 %.
PROCESS_SD = 0.0025
RUN_SD = 0.02
# The share of a block's calls, the fastest, that other work hardly ever interrupts. Where it
# interrupts most of the others, this is a higher quantile of those that are left: up to 1.5 % more.
UNDISTURBED = 0.1
UNDISTURBED_SD = 0.005
# The weight of these as a prior: as if each had been estimated from five values.
PRIOR_DF = 4

SETTLED_WINDOWS = 3
SETTLED_SPREAD = 0.02
WINDOW_INFERENCES = 5
WINDOW_NS = 50e6


def latency_summary(latencies_ns: np.ndarray) -> dict[str, float]:
    """Percentiles, minimum, mean and standard deviation of latencies.

    Args:
        latencies_ns: nanoseconds, shape (n,), at least one.

    Returns:
        Milliseconds by the names `p50`, `p90`, `p99`, `p999`, `min`, `mean` and `std`. A percentile
        is a latency that was measured (the nearest rank), not a point between two.
    """
    latencies_ms = np.sort(np.asarray(latencies_ns)) / 1e6
    return {name: _nearest_rank(latencies_ms, share) for name, share in PERCENTILES.items()} | {
        "min": float(latencies_ms.min()),
        "mean": float(latencies_ms.mean()),
        "std": float(latencies_ms.std()),
    }


def latency_intervals(blocks_ns: Sequence[np.ndarray], seed: int) -> dict[str, list[float] | None]:
    """The 95 % intervals of percentiles and mean, from the spread of the blocks.

    They hold for this process in this run; to compare two processes, use `paired_ratio`.
    Percentiles are looked up in at most 2,000 steps of rank.

    How often the intervals contained the true value, in simulations with drift and bursts:

    - p50: 94 to 97 % of the runs with 30 to 200 blocks, and 89 % with 10 blocks.
    - p90, p99 and the mean: 90 to 96 % with 60 blocks or more, 84 to 94 % with 30, and 77 to 90 %
      with 10, because a short run without a burst has no sign of the next one.
    - Two blocks say almost nothing: t is 12.7.
    - A row that ends as soon as the interval of p50 is narrow enough ends too early when the
      interval is too narrow by chance. Then p50 has 88 to 95 % when neighbouring blocks have a
      correlation of 0 to 0.5, and 82 % at 0.8, where a fixed number of blocks has 84 to 88 %.

    Args:
        blocks_ns: nanoseconds, a block for each round in order, each of one latency at least.
        seed: of the draws.

    Returns:
        [lowest, highest] in milliseconds by the names `p50`, `p90`, `p99` and `mean`; each None
        for fewer than two blocks, which show no spread.
    """
    if len(blocks_ns) < 2:
        return dict.fromkeys((*WITH_INTERVAL, "mean"))
    latencies = np.sort(np.concatenate(blocks_ns))
    sizes = np.array([len(block) for block in blocks_ns], float)
    steps = _steps(latencies)
    # How many latencies of a block are at most each step: draws then only add rows up.
    up_to = np.array([np.searchsorted(np.sort(b), steps, side="right") for b in blocks_ns], float)
    sums = np.array([float(np.sum(block)) for block in blocks_ns])

    blocks = len(sizes)
    drawn = _times_drawn(blocks, DRAWS, seed)
    sizes_drawn = drawn @ sizes
    shares_drawn = (drawn @ up_to) / sizes_drawn[:, None]
    draws = {"mean": (drawn @ sums) / sizes_drawn}
    centres = {"mean": float(latencies.mean())}
    for name in WITH_INTERVAL:
        share = PERCENTILES[name]
        below = (shares_drawn < share - ROUNDING).sum(axis=1)
        draws[name] = steps[below]
        centres[name] = _nearest_rank(latencies, share)
    intervals = {}
    for name in (*WITH_INTERVAL, "mean"):
        df = math.inf if name == "p50" else TAIL_DF
        half_width = _half_width(np.log(draws[name]), blocks, df)
        ends = centres[name] * np.exp([-half_width, half_width]) / 1e6
        intervals[name] = ends.tolist()
    return intervals


def median_half_width(blocks_ns: Sequence[np.ndarray], seed: int = 0) -> float:
    """The half-width of the interval of the median so far; fast enough to be called in each round.

    It is close to the one of `latency_intervals`, but computed from the medians of the blocks only.

    Args:
        blocks_ns: latencies in nanoseconds, a block for each round in order.
        seed: of the draws.

    Returns:
        Half the width of the 95 % interval, relative to the median: 0.01 is 1 %; infinite for
        fewer than two blocks.
    """
    if len(blocks_ns) < 2:
        return math.inf
    medians = np.log([np.median(block) for block in blocks_ns])
    return math.expm1(_median_half_width(medians, QUICK_DRAWS, seed))


def paired_ratio(
    a_blocks_ns: Sequence[np.ndarray | None],
    b_blocks_ns: Sequence[np.ndarray | None],
    seed: int,
    processes: Sequence[int] | None = None,
    disturbed: bool = False,
) -> tuple[float | None, tuple[float, float] | None]:
    """The ratio of the latency of a to the latency of b, from the rounds that both took part in.

    The estimate is the median over the rounds of the logarithm of the ratio of block medians. So
    drift and bursts that affect a whole round cancel, and those that affect one of the two in a few
    rounds do not change the median. The interval adds two errors in quadrature:

    - the noise of the rounds, see the module;
    - the difference between processes of one file. It is estimated from the spread of the given
      processes and, with the weight of four more, from `PROCESS_SD`, which is the only source when
      each row has one process. So an interval is never narrower than about 1 %, or 0.4 % over five
      pairs of processes.

    The variance is moderated by a prior as in Smyth, "Linear models and empirical Bayes methods",
    2004.

    On a busy machine a call that is interrupted waits for the other processes, which takes as long
    for a fast model as for a slow one. Where half of the calls are interrupted, the ratio of the
    medians is far from the ratio on an idle machine, in every round, so no number of rounds shows
    it. The fastest tenth of a block has hardly any interrupted call. So the interval of a disturbed
    pair reaches over the interval of the ratio of the lowest deciles too.

    Args:
        a_blocks_ns: nanoseconds, an array for each round, None where a was not in the round.
        b_blocks_ns: the same of b, aligned.
        seed: of the draws.
        processes: which pair of processes did each round, any integers, when each row was measured
            in several processes in turn; by default one did all.
        disturbed: whether other work took time of the processor meanwhile.

    Returns:
        The ratio, None when no round was shared, and its 95 % interval, None for a single round.

    Raises:
        ValueError: the lists are not aligned.
    """
    which = processes if processes is not None else [0] * len(a_blocks_ns)
    rounds = zip(a_blocks_ns, b_blocks_ns, which, strict=True)
    shared = [(a, b, process) for a, b, process in rounds if not (a is None or b is None)]
    if not shared:
        return None, None
    a_blocks, b_blocks, pairs = zip(*shared, strict=True)
    ratio, interval = _ratio_of_quantiles(a_blocks, b_blocks, pairs, 0.5, PROCESS_SD, seed)
    if disturbed and interval:
        _, lowest = _ratio_of_quantiles(
            a_blocks, b_blocks, pairs, UNDISTURBED, UNDISTURBED_SD, seed
        )
        both = interval + (lowest or ())
        interval = min(both), max(both)
    return ratio, interval


def _ratio_of_quantiles(
    a_blocks_ns: Sequence[np.ndarray],
    b_blocks_ns: Sequence[np.ndarray],
    pairs: Sequence[int],
    share: float,
    process_sd: float,
    seed: int,
) -> tuple[float, tuple[float, float] | None]:
    """The ratio of a quantile of the blocks, and its interval; see `paired_ratio`."""
    ratios = np.array(
        [
            math.log(np.quantile(a, share) / np.quantile(b, share))
            for a, b in zip(a_blocks_ns, b_blocks_ns, strict=True)
        ]
    )
    _, pair, sizes = np.unique(pairs, return_inverse=True, return_counts=True)
    medians = np.array([np.median(ratios[pair == i]) for i in range(len(sizes))])
    weights = sizes / len(ratios)
    centre = float(weights @ medians)
    if len(ratios) < 2:
        return math.exp(centre), None
    rounds_half_width = _median_half_width(ratios - medians[pair], DRAWS, seed)

    spread_df = len(sizes) - 1
    # These contain the noise of the rounds too. It counts twice, which covers for few pairs.
    squares = float(((medians - medians.mean()) ** 2).sum())
    variance = (PRIOR_DF * 2 * process_sd**2 + squares) / (PRIOR_DF + spread_df)
    process_half_width = _t(PRIOR_DF + spread_df) * math.sqrt(variance * float(weights @ weights))
    return _ratio(centre, rounds_half_width, process_half_width)


def unpaired_ratio(
    a_block_medians: Sequence[float], b_block_medians: Sequence[float], seed: int
) -> tuple[float, tuple[float, float] | None]:
    """The ratio of the latency of a to the latency of b, from two separate runs.

    What differs between two runs (the clock, other virtual machines, memory) differs in every
    round. So the interval has `RUN_SD` for each run in addition to the noise of the rounds: at
    least 8 % to each side. This does not cover a run on a busy machine, which may be wrong by 20 %:
    see the marks of the row. For a narrower interval, measure both in one run.

    Args:
        a_block_medians: the median latency of each block of the one, in order, in any unit; one
            at least.
        b_block_medians: the same of the other, in the same unit.
        seed: of the draws.

    Returns:
        The ratio of the medians and its 95 % interval, None when either has a single block.
    """
    a, b = np.log(a_block_medians), np.log(b_block_medians)
    centre = float(np.median(a) - np.median(b))
    if min(len(a), len(b)) < 2:
        return math.exp(centre), None
    return _ratio(
        centre,
        _median_half_width(a, DRAWS, seed),
        _median_half_width(b, DRAWS, seed + 1),
        _t(PRIOR_DF) * math.sqrt(2) * RUN_SD,
    )


def running_median_settled(latencies_ns: Sequence[int]) -> bool:
    """Whether a warm-up may end: the last three windows of latencies have medians within 2 %.

    A window is at least 5 inferences and 50 ms long. Windows are counted back from the last
    inference, so it can be asked after each.

    Args:
        latencies_ns: nanoseconds, in order.
    """
    medians: list[float] = []
    end = begin = len(latencies_ns)
    window_ns = 0
    while begin > 0 and len(medians) < SETTLED_WINDOWS:
        begin -= 1
        window_ns += latencies_ns[begin]
        if end - begin >= WINDOW_INFERENCES and window_ns >= WINDOW_NS:
            medians.append(float(np.median(latencies_ns[begin:end])))
            end, window_ns = begin, 0
    return len(medians) == SETTLED_WINDOWS and max(medians) <= min(medians) * (1 + SETTLED_SPREAD)


def _ratio(centre: float, *half_widths: float) -> tuple[float, tuple[float, float]]:
    """From logarithms; the errors are independent."""
    half_width = math.hypot(*half_widths)
    return math.exp(centre), (math.exp(centre - half_width), math.exp(centre + half_width))


def _median_half_width(logs: np.ndarray, draws: int, seed: int) -> float:
    return _half_width(_median_draws(logs, draws, seed), len(logs))


def _median_draws(logs: np.ndarray, draws: int, seed: int) -> np.ndarray:
    blocks = len(logs)
    begins = _begins(blocks, draws, seed)
    some = max(1, DRAWN_AT_ONCE // blocks)
    parts = [begins[start : start + some] for start in range(0, draws, some)]
    return np.concatenate([np.median(logs[_drawn_blocks(blocks, part)], axis=1) for part in parts])


def _half_width(log_draws: np.ndarray, blocks: int, most_df: float = math.inf) -> float:
    runs = blocks / _run_length(blocks)
    return float(_t(min(runs - 1, most_df)) * log_draws.std() * math.sqrt(blocks / (blocks - 1)))


def _run_length(blocks: int) -> int:
    """How many consecutive blocks are drawn together; eight blocks or more give four runs or more.

    It is twice the cube root of the number of blocks. With the cube root alone, only 91 % of the
    95 % intervals contained the true value in simulated noise.
    """
    return max(1, min(round(2 * blocks ** (1 / 3)), blocks // 4))


def _begins(blocks: int, draws: int, seed: int) -> np.ndarray:
    """The first blocks of the runs that each draw is made of, int64 (draws, runs)."""
    runs = math.ceil(blocks / _run_length(blocks))
    return np.random.default_rng(seed).integers(0, blocks, (draws, runs))


def _drawn_blocks(blocks: int, begins: np.ndarray) -> np.ndarray:
    """Which blocks each draw is made of, int64 (draws, blocks); after the last comes the first."""
    drawn = (begins[:, :, None] + np.arange(_run_length(blocks))) % blocks
    return drawn.reshape(len(begins), -1)[:, :blocks]


def _times_drawn(blocks: int, draws: int, seed: int) -> np.ndarray:
    """How often each draw contains each block, float64 (draws, blocks)."""
    cells = _drawn_blocks(blocks, _begins(blocks, draws, seed)) + blocks * np.arange(draws)[:, None]
    counts = np.bincount(cells.ravel(), minlength=draws * blocks)
    return counts.reshape(draws, blocks).astype(float)


def _nearest_rank(ordered: np.ndarray, share: float) -> float:
    """The nearest-rank quantile: the lowest value with at least `share` of the values up to it."""
    return float(ordered[math.ceil((share - ROUNDING) * len(ordered)) - 1])


def _steps(ordered: np.ndarray) -> np.ndarray:
    """The distinct values, or some at equal distances of rank; the highest always."""
    ranks = np.linspace(0, len(ordered) - 1, min(GRID, len(ordered))).round().astype(int)
    return np.unique(ordered[ranks])


def _t(df: float) -> float:
    """The 97.5 % quantile of Student's t, interpolated linearly in 1 / df between known values."""
    inverse = [1 / known for known in T_975]
    return float(np.interp(1 / df, inverse[::-1], list(T_975.values())[::-1]))


def milliseconds(value: float | None) -> str:
    """Milliseconds in three figures, as the rest is noise; empty for None."""
    if value is None:
        return ""
    if value >= UNREADABLE_MS:
        return f"{value:.3g}"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"
