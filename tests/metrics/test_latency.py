"""The figures by hand, and the intervals by simulation: how often they hold the truth.

The noise is that of a small virtual machine as it was measured: slow drift, bursts of some rounds,
single spikes, and processes of one file that differ for as long as they live.
"""

import math

import numpy as np
import pytest

from edgecifar.metrics import latency
from edgecifar.metrics.latency import (
    latency_intervals,
    latency_summary,
    median_half_width,
    paired_ratio,
    running_median_settled,
    unpaired_ratio,
)

MS = 1_000_000


def drift(rng: np.random.Generator, count: int, memory: float, sd: float) -> np.ndarray:
    """An autoregressive series that begins in its stationary state."""
    steps = rng.normal(0, sd * math.sqrt(1 - memory**2), count)
    series = np.empty(count)
    level = rng.normal(0, sd)
    for i, step in enumerate(steps):
        series[i] = level = memory * level + step
    return series


def bursts(rng: np.random.Generator, count: int) -> np.ndarray:
    """Now and then two or three slow rounds."""
    slow = np.zeros(count)
    for begin in np.flatnonzero(rng.random(count) < 0.03):
        slow[begin : begin + rng.geometric(0.4)] += rng.exponential(0.08)
    return slow


def blocks_of(rng: np.random.Generator, levels: np.ndarray, size: int) -> list[np.ndarray]:
    """Latencies around 1 ms times e^level, one in thirty slower, a few of them twice as slow."""
    latencies = np.exp(levels[:, None] + rng.normal(0, 0.04, (len(levels), size)))
    spikes = np.where(rng.random(latencies.shape) < 0.03, rng.exponential(0.3, latencies.shape), 0)
    return list((latencies * (1 + spikes) * MS).astype(np.int64))


def noisy_row(rng: np.random.Generator, count: int, size: int) -> list[np.ndarray]:
    return blocks_of(rng, drift(rng, count, 0.5, 0.02) + bursts(rng, count), size)


def noisy_pair(
    rng: np.random.Generator, count: int, size: int = 20, processes: int = 1, process_sd=0.0025
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """The same file twice in the same rounds, in so many pairs of processes in turn."""
    shared = drift(rng, count, 0.9, 0.03) + bursts(rng, count)
    which = np.arange(count) % processes
    own = [
        rng.normal(0, process_sd, processes)[which] + drift(rng, count, 0.5, 0.006)
        for _ in range(2)
    ]
    a, b = (blocks_of(rng, shared + one + bursts(rng, count), size) for one in own)
    return a, b, which


def test_percentiles_are_latencies_that_were_measured():
    latencies_ns = np.arange(1, 1001) * MS
    assert latency_summary(latencies_ns) == {
        "p50": 500.0,
        "p90": 900.0,
        "p99": 990.0,
        "p999": 999.0,
        "min": 1.0,
        "mean": 500.5,
        "std": pytest.approx(math.sqrt((1000**2 - 1) / 12)),
    }


def test_one_latency_is_every_percentile():
    summary = latency_summary(np.array([2_500_000]))
    assert summary.pop("std") == 0
    assert set(summary.values()) == {2.5}


@pytest.fixture(scope="module")
def truth() -> dict[str, float]:
    rng = np.random.default_rng(100)
    return latency_summary(np.concatenate(noisy_row(rng, 80_000, 20)))


@pytest.mark.parametrize(("count", "size"), [(30, 40), (60, 40), (80, 2)])
def test_latency_intervals_hold_the_truth(truth, count, size):
    rng = np.random.default_rng(1)
    trials = 100
    held = dict.fromkeys(("p50", "p90", "p99", "mean"), 0)
    for _ in range(trials):
        for name, (low, high) in latency_intervals(noisy_row(rng, count, size), 0).items():
            held[name] += low <= truth[name] <= high
    assert held.pop("p50") >= 0.9 * trials
    # A run that met no burst cannot know of the next: the docstring says so.
    assert min(held.values()) >= 0.75 * trials, held


def test_latency_intervals_of_every_figure_hold_where_no_burst_is_rare():
    rng = np.random.default_rng(14)

    def row(count: int) -> list[np.ndarray]:
        return blocks_of(rng, drift(rng, count, 0.5, 0.02), 30)

    truth = latency_summary(np.concatenate(row(40_000)))
    trials = 150
    held = dict.fromkeys(("p50", "p90", "p99", "mean"), 0)
    for _ in range(trials):
        for name, (low, high) in latency_intervals(row(40), 0).items():
            held[name] += low <= truth[name] <= high
    assert min(held.values()) >= 0.9 * trials, held


def test_an_interval_is_as_wide_as_the_spread_of_repeated_measurements():
    rng = np.random.default_rng(2)
    found = [noisy_row(rng, 60, 40) for _ in range(80)]
    medians = [np.median(np.concatenate(blocks)) / MS for blocks in found]
    ends = np.array([latency_intervals(blocks, 0)["p50"] for blocks in found])
    half_width = np.median(ends[:, 1] - ends[:, 0]) / 2
    assert 1.5 * np.std(medians) < half_width < 3 * np.std(medians)


def test_latencies_that_move_together_count_as_one():
    """Twenty blocks, each of equal latencies: more of them in a block say nothing more."""
    levels = np.random.default_rng(3).normal(1, 0.05, 20) * MS
    few = latency_intervals([np.full(5, level) for level in levels], 0)
    many = latency_intervals([np.full(500, level) for level in levels], 0)
    for name, ends in few.items():
        assert many[name] == pytest.approx(ends)
    assert few["mean"][1] - few["mean"][0] > 0.02


def test_the_grid_of_ranks_does_not_move_an_interval(monkeypatch):
    blocks = noisy_row(np.random.default_rng(4), 30, 300)
    coarse = latency_intervals(blocks, 0)
    monkeypatch.setattr(latency, "GRID", 10**6)
    for name, ends in latency_intervals(blocks, 0).items():
        assert coarse[name] == pytest.approx(ends, abs=0.05 * (ends[1] - ends[0]))


def test_a_single_block_has_no_interval():
    assert set(latency_intervals([np.arange(1, 9)], 0).values()) == {None}
    assert median_half_width([np.arange(1, 9)]) == median_half_width([]) == math.inf


def test_two_blocks_are_an_interval_by_the_widest_t():
    """Draws of two are both, or either twice: the log medians' deviation is log(1.02) / sqrt(8)."""
    blocks = [np.full(3, 1.0 * MS), np.full(3, 1.02 * MS)]
    expected = 12.706 * math.log(1.02) / math.sqrt(8) * math.sqrt(2)
    assert math.log1p(median_half_width(blocks)) == pytest.approx(expected, rel=0.1)


def test_equal_latencies_have_intervals_without_width():
    blocks = [np.full(4, 3 * MS)] * 12
    for ends in latency_intervals(blocks, 0).values():
        assert ends == pytest.approx([3, 3])
    assert median_half_width(blocks) == pytest.approx(0)


def test_the_half_width_that_stops_a_run_is_about_that_of_its_interval():
    rng = np.random.default_rng(5)
    quotients = []
    for _ in range(40):
        blocks = noisy_row(rng, 60, 40)
        low, high = latency_intervals(blocks, 0)["p50"]
        quotients.append(median_half_width(blocks) / ((high - low) / (high + low)))
    assert 0.8 < np.median(quotients) < 1.25


def test_the_same_seed_gives_the_same_intervals():
    a, b, _ = noisy_pair(np.random.default_rng(6), 30)
    for seed in (0, 1):
        assert latency_intervals(a, seed) == latency_intervals(a, seed)
        assert paired_ratio(a, b, seed) == paired_ratio(a, b, seed)
    assert latency_intervals(a, 0) != latency_intervals(a, 1)


@pytest.mark.parametrize("count", [20, 60, 200])
def test_the_same_file_twice_has_a_ratio_of_one(count):
    rng = np.random.default_rng(7)
    found = [paired_ratio(*noisy_pair(rng, count)[:2], 0)[1] for _ in range(100)]
    assert sum(low <= 1 <= high for low, high in found) >= 92
    assert np.median([(high - low) / 2 for low, high in found]) < 0.03


@pytest.mark.parametrize("process_sd", [0.0025, 0.005])
def test_several_processes_show_how_much_processes_differ(process_sd):
    """Also where they differ by twice what is assumed, which one pair could not know."""
    rng = np.random.default_rng(8)
    found = []
    for _ in range(100):
        a, b, which = noisy_pair(rng, 60, processes=6, process_sd=process_sd)
        found.append(paired_ratio(a, b, 0, which)[1])
    assert sum(low <= 1 <= high for low, high in found) >= 90


def test_more_processes_narrow_the_interval():
    a, b, which = noisy_pair(np.random.default_rng(9), 200, processes=5)
    low, high = paired_ratio(a, b, 0)[1]
    assert 0.009 < (high - low) / 2 < 0.015
    narrower_low, narrower_high = paired_ratio(a, b, 0, which)[1]
    assert narrower_high - narrower_low < 0.75 * (high - low)


def test_rounds_alone_would_claim_too_much(monkeypatch):
    """What the processes' part of the interval is for."""
    monkeypatch.setattr(latency, "PROCESS_SD", 0.0)
    rng = np.random.default_rng(10)
    found = [paired_ratio(*noisy_pair(rng, 300)[:2], 0)[1] for _ in range(50)]
    assert sum(low <= 1 <= high for low, high in found) < 40


def test_a_difference_is_found():
    a, b, _ = noisy_pair(np.random.default_rng(11), 60)
    slower = [1.04 * block for block in a]
    ratio, (low, high) = paired_ratio(slower, b, 0)
    assert 1 < low < ratio < high
    assert ratio == pytest.approx(1.04, abs=0.012)
    inverse, (inverse_low, inverse_high) = paired_ratio(b, slower, 0)
    assert (1 / inverse, 1 / inverse_high, 1 / inverse_low) == pytest.approx((ratio, low, high))


def test_drift_that_hits_a_whole_round_cancels():
    rng = np.random.default_rng(12)
    a, b = ([rng.normal(level, 0.01, 50) * MS for _ in range(40)] for level in (2, 1))
    steady = paired_ratio(a, b, 0)
    slower = np.exp(np.linspace(0, 1, 40))  # a machine that throttles
    drifting = [[x * s for x, s in zip(row, slower, strict=True)] for row in (a, b)]
    assert paired_ratio(*drifting, 0) == (
        pytest.approx(steady[0]),
        pytest.approx(steady[1]),
    )


def busy_blocks(rng: np.random.Generator, ms: float, count: int = 30) -> list[np.ndarray]:
    """Calls that wait 6 ms when a time slice of 3 ms ends in them, in blocks of a tenth second."""
    blocks = []
    for load in rng.uniform(0.9, 1.3, count):  # how often it has to wait is not always the same
        interrupted = rng.random(30) < min(ms / 3 * load, 1)
        latencies = ms * np.exp(rng.normal(0, 0.02, 30)) + 6 * interrupted
        blocks.append((latencies * MS).astype(np.int64))
    return blocks


def test_a_busy_machine_does_not_make_a_difference_of_calls_that_wait():
    """Most calls of the slower file wait and few of the faster: their medians' ratio is not 1.9."""
    rng = np.random.default_rng(14)
    holds, alone = 0, 0
    for seed in range(40):
        pair = busy_blocks(rng, 1.9), busy_blocks(rng, 1.0)
        ratio, (low, high) = paired_ratio(*pair, seed, disturbed=True)
        _, (alone_low, alone_high) = paired_ratio(*pair, seed)
        holds += low <= 1.9 <= high
        alone += alone_low <= 1.9 <= alone_high
        assert low <= alone_low <= ratio <= alone_high <= high
    assert holds >= 36
    assert alone < 20


def test_a_disturbed_pair_of_one_round_has_no_interval():
    one = [np.full(3, MS)]
    assert paired_ratio(one, one, 0, disturbed=True) == (1, None)


def test_only_shared_rounds_count():
    one, two, four = (np.full(3, n * MS) for n in (1, 2, 4))
    shared, _ = paired_ratio([two, four, two, None], [one, None, one, four], 0)
    assert shared == pytest.approx(2)
    assert paired_ratio([two, None], [one, one], 0) == (pytest.approx(2), None)
    assert paired_ratio([two, None], [None, one], 0) == (None, None)
    with pytest.raises(ValueError, match="zip"):
        paired_ratio([one], [one, two], 0)


def test_two_runs_are_compared_with_what_runs_differ_by():
    rng = np.random.default_rng(13)
    found = []
    for _ in range(60):
        a, b = (np.exp(rng.normal(0, 0.02) + drift(rng, 30, 0.5, 0.02)) for _ in range(2))
        found.append(unpaired_ratio(a, b, 0)[1])
    assert sum(low <= 1 <= high for low, high in found) >= 55
    ratio, (low, high) = unpaired_ratio([3.0] * 9, [2.0] * 7, 0)
    assert ratio == pytest.approx(1.5)
    assert (high / 1.5, 1.5 / low) == pytest.approx((1.0817, 1.0817), abs=1e-3)
    assert unpaired_ratio([3.0], [2.0, 2.0], 0) == (pytest.approx(1.5), None)


def test_t_has_its_published_quantiles():
    published = {1: 12.706, 3: 3.182, 11: 2.201, 14: 2.145, 25: 2.060, 40: 2.021, 120: 1.980}
    assert {df: latency._t(df) for df in published} == pytest.approx(published, rel=1e-3)


@pytest.mark.parametrize(
    ("latencies_ms", "settled"),
    [
        ([1] * 150, True),
        ([1] * 149, False),  # 49 ms are left for the first of three windows
        ([100] * 15, True),
        ([100] * 14, False),  # 4 inferences are left for it
        ([3] * 100 + [1] * 150, True),  # what came before them does not matter
        ([1] * 100 + [1.019] * 50, True),
        ([1] * 100 + [1.03] * 50, False),
        ([1.03] * 50 + [1] * 100, False),
        (([1] * 45 + [9] * 1) * 4, True),  # spikes leave medians alone
        ([], False),
    ],
)
def test_a_warm_up_has_settled_when_three_windows_agree(latencies_ms, settled):
    assert running_median_settled([round(ms * MS) for ms in latencies_ms]) is settled
