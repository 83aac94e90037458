"""What latencies say, and how surely. It needs numpy only: the worker imports it too.

Latencies come in blocks, one a round, and neither latencies within a block nor neighbouring blocks
are independent: a machine drifts and is busy for seconds. So intervals come from a moving block
bootstrap: runs of consecutive blocks are drawn, not latencies. Its standard error in the logarithm,
times the quantile of Student's t for as many runs as fit into the measurement, is the half-width.
The plain percentile interval of the same draws is too narrow by a tenth or more with few runs.

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
DRAWS = 1_000
QUICK_DRAWS = 200
GRID = 2_000
# 0.999 of 1,000 latencies are 999, not a rounding error more.
ROUNDING = 1e-12
# Few bursts decide p90, p99 and the mean, however many the rounds: their spread is known as badly
# as from four runs. Chosen by simulation: without it, intervals of p99 of 200 rounds held in 76 %.
TAIL_DF = 3
# Student's t, 97.5 %, by degrees of freedom.
T_975 = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262,
    10: 2.228, 12: 2.179, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000, math.inf: 1.960,
}  # fmt: skip
# Two processes of one file differ for as long as they live, by where their memory lies, and no
# number of rounds shows it. Measured: 0.25 % (standard deviation) for the shipped int8 file, less
# for a small network, over 18 processes. Of 12 runs half a minute apart on a shared two-core
# machine, all but the slowest two differed by 2.2 % (standard deviation), all 12 by 6 %.
PROCESS_SD = 0.0025
RUN_SD = 0.02
# How much these are trusted: as if each had been estimated from five.
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
    """The 95 % intervals of percentiles and mean: of all latencies, from the spread of blocks.

    They are of this process on this run of the machine; see `paired_ratio` for what two of them
    have to say about each other. In simulated drift and bursts that of p50 held the truth in 94 to
    97 % of runs of 30 to 200 blocks and in 89 % of runs of 10; those of p90, p99 and the mean in 90
    to 96 % from 60 blocks on, 84 to 94 % with 30 and 77 to 90 % with 10: a short run that met no
    burst cannot know of the next. Two blocks tell next to nothing (t is 12.7).
    A row that ends when the interval of p50 is narrow enough ends sooner where it is too narrow by
    chance: then it held in 88 to 95 % where neighbouring blocks were alike by a correlation of 0 to
    0.5, and in 82 % at 0.8, where a fixed number of blocks gives 84 to 88 %.
    Percentiles are looked up in at most 2,000 steps of rank.

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
    """How sure the median of a row is so far; cheap enough to be asked after each round.

    It is about that of `latency_intervals`, made of the blocks' medians alone.

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
) -> tuple[float | None, tuple[float, float] | None]:
    """How many times the latency of b the latency of a is, from rounds that they shared.

    The estimate is the median over the rounds of the log ratio of block medians, so drift and
    bursts that hit a whole round cancel, and those that hit one of the two in a few rounds are
    outvoted. The interval adds in quadrature
    - the noise of rounds: see the module;
    - the difference between processes of one file, from the spread of the processes given and,
      weighing as much as four more, from `PROCESS_SD`: with one process for each row, as without
      `processes`, there is nothing else to know it from. So an interval never is narrower than
      about 1 %, one over five pairs of processes 0.4 %.
    Moderating a variance by a prior: Smyth, "Linear models and empirical Bayes methods", 2004.

    Args:
        a_blocks_ns: nanoseconds, an array for each round, None where a was not in the round.
        b_blocks_ns: the same of b, aligned.
        seed: of the draws.
        processes: which pair of processes did each round, any integers, when each row was measured
            in several processes in turn; by default one did all.

    Returns:
        The ratio, None when no round was shared, and its 95 % interval, None for a single round.

    Raises:
        ValueError: the lists are not aligned.
    """
    which = processes if processes is not None else [0] * len(a_blocks_ns)
    rounds = zip(a_blocks_ns, b_blocks_ns, which, strict=True)
    shared = [(np.median(a), np.median(b), p) for a, b, p in rounds if not (a is None or b is None)]
    if not shared:
        return None, None
    a_medians, b_medians, pairs = map(np.array, zip(*shared, strict=True))
    ratios = np.log(a_medians / b_medians)

    _, pair, sizes = np.unique(pairs, return_inverse=True, return_counts=True)
    medians = np.array([np.median(ratios[pair == i]) for i in range(len(sizes))])
    weights = sizes / len(ratios)
    centre = float(weights @ medians)
    if len(ratios) < 2:
        return math.exp(centre), None
    rounds_half_width = _median_half_width(ratios - medians[pair], DRAWS, seed)

    spread_df = len(sizes) - 1
    # The noise of the rounds is in these too: counted twice, it covers what few pairs cannot show.
    squares = float(((medians - medians.mean()) ** 2).sum())
    variance = (PRIOR_DF * 2 * PROCESS_SD**2 + squares) / (PRIOR_DF + spread_df)
    process_half_width = _t(PRIOR_DF + spread_df) * math.sqrt(variance * float(weights @ weights))
    return _ratio(centre, rounds_half_width, process_half_width)


def unpaired_ratio(
    a_block_medians: Sequence[float], b_block_medians: Sequence[float], seed: int
) -> tuple[float, tuple[float, float] | None]:
    """How many times the latency of b the latency of a is, from two runs.

    What differs between two runs (the clock, neighbours, memory) differs in every round, so beside
    the noise of the rounds the interval has `RUN_SD` for each run: at least 8 % to each side. That
    does not cover a run on a busy machine, which may be 20 % off: see the marks of the row.
    For less, measure both in one run.

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
    return np.median(logs[_drawn_blocks(len(logs), draws, seed)], axis=1)


def _half_width(log_draws: np.ndarray, blocks: int, most_df: float = math.inf) -> float:
    runs = blocks / _run_length(blocks)
    return float(_t(min(runs - 1, most_df)) * log_draws.std() * math.sqrt(blocks / (blocks - 1)))


def _run_length(blocks: int) -> int:
    """How many consecutive blocks are drawn together; at least four such runs from eight blocks.

    Twice the cube root: with the root alone, A/A intervals held in 91 % of simulated noise.
    """
    return max(1, min(round(2 * blocks ** (1 / 3)), blocks // 4))


def _drawn_blocks(blocks: int, draws: int, seed: int) -> np.ndarray:
    """Which blocks each draw is made of, int64 (draws, blocks); after the last comes the first."""
    length = _run_length(blocks)
    runs = math.ceil(blocks / length)
    begins = np.random.default_rng(seed).integers(0, blocks, (draws, runs, 1))
    return ((begins + np.arange(length)) % blocks).reshape(draws, -1)[:, :blocks]


def _times_drawn(blocks: int, draws: int, seed: int) -> np.ndarray:
    """How often each draw holds each block, float64 (draws, blocks)."""
    cells = _drawn_blocks(blocks, draws, seed) + blocks * np.arange(draws)[:, None]
    counts = np.bincount(cells.ravel(), minlength=draws * blocks)
    return counts.reshape(draws, blocks).astype(float)


def _nearest_rank(ordered: np.ndarray, share: float) -> float:
    """The lowest value that is not below so large a share of the values."""
    return float(ordered[math.ceil((share - ROUNDING) * len(ordered)) - 1])


def _steps(ordered: np.ndarray) -> np.ndarray:
    """The distinct values, or some at equal distances of rank; the highest always."""
    ranks = np.linspace(0, len(ordered) - 1, min(GRID, len(ordered))).round().astype(int)
    return np.unique(ordered[ranks])


def _t(df: float) -> float:
    """The quantile; between two degrees of freedom it is nearly a line in their inverse."""
    inverse = [1 / known for known in T_975]
    return float(np.interp(1 / df, inverse[::-1], list(T_975.values())[::-1]))


def milliseconds(value: float | None) -> str:
    """Milliseconds in three figures, as the rest is noise; empty for None."""
    if value is None:
        return ""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"
