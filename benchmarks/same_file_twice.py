"""How often `edgecifar bench` sees a difference where there is none: one file, given to it twice.

Each run is a bench of its own, with its own processes and its own seed. A correct interval of 95 %
leaves 1 out in 2 of 40 runs. At least 36 should contain it, and the median of the half-widths
should be at most 3 %, whatever else the machine does at the time. `--disturbers N` starts N
processes that compute and rest in bursts of random length. The record is written after every run,
so that a benchmark that was stopped leaves the runs that it made. Found: 40 of 40 contain 1, with
two disturbers too; the median half-width is 1.1 %, and 1.8 % with these.

    python benchmarks/same_file_twice.py [MODEL] [--runs 40] [--disturbers 0]
        --json benchmarks/same_file_twice.json
"""

import argparse
import multiprocessing
import random
import statistics
import time
from operator import itemgetter
from pathlib import Path

import numpy as np

from edgecifar import files
from edgecifar.bench.runner import bench
from edgecifar.bench.settings import BenchSettings
from edgecifar.hardware import summary
from edgecifar.metrics.latency import milliseconds
from edgecifar.report.cells import listed
from edgecifar.report.progress import progress_bar, stdout_console
from edgecifar.report.tables import Column, Table, print_line, print_table

MODEL = Path(__file__).parents[1] / "exported" / "model.tflite"
# Mean seconds that a disturber computes, and that it rests.
BURST_S = 0.5
COLUMNS = (
    Column("seed", itemgetter("seed")),
    Column("load", lambda run: run["load_average"] or None),
    Column("first p50", lambda run: run["p50_ms"][0], milliseconds, "ms"),
    Column("second p50", lambda run: run["p50_ms"][1], milliseconds, "ms"),
    Column("ratio", itemgetter("ratio"), "{:.3f}".format),
    Column(
        "interval",
        lambda run: (
            "{:.3f} to {:.3f}".format(*run["ratio_interval"])
            + ("" if run["contains_1"] else " without 1")
        ),
    ),
    Column("±", lambda run: 100 * run["half_width"], "{:.1f}".format, "%"),
    Column("marks", itemgetter("marks"), listed, left=True),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", type=Path, default=MODEL)
    parser.add_argument("--runtime", default="litert")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--max-seconds", type=float, default=5.0)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--disturbers", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    files.check_writable(arguments.json.parent)
    for seed in range(arguments.disturbers):
        multiprocessing.Process(target=disturb, args=(seed,), daemon=True).start()
    made = []
    with progress_bar("benching one file twice", arguments.runs, "runs") as update:
        for seed in range(arguments.runs):
            settings = BenchSettings(
                seed=seed, max_seconds=arguments.max_seconds, samples=arguments.samples
            )
            started = time.monotonic()
            result = bench([arguments.model] * 2, [arguments.runtime], settings)
            made.append(figures(result) | {"seconds": round(time.monotonic() - started, 1)})
            files.write_json(arguments.json, record(arguments, made))
            update(len(made))
    show(record(arguments, made))


def disturb(seed: int) -> None:
    """Compute and rest in turn, forever."""
    lengths = random.Random(seed)
    matrix = np.ones((256, 256), np.float32)
    while True:
        until = time.monotonic() + lengths.expovariate(1 / BURST_S)
        while time.monotonic() < until:
            matrix @ matrix
        time.sleep(lengths.expovariate(1 / BURST_S))


def figures(result: dict) -> dict:
    """What a run says about the two."""
    first, second = result["rows"]
    (pair,) = result["pairs"]
    low, high = pair["ratio_interval"]
    return {
        "seed": result["settings"]["seed"],
        "started": result["started"],
        "load_average": result["machine"]["conditions"]["before"].get("load_average"),
        "p50_ms": [round(row["latency_ms"]["p50"], 4) for row in (first, second)],
        "timed_inferences": [row["timed_inferences"] for row in (first, second)],
        "settled": [row["settled"] for row in (first, second)],
        "marks": first["marks"],
        "ratio": round(pair["ratio"], 5),
        "ratio_interval": [round(low, 5), round(high, 5)],
        "half_width": round((high / low) ** 0.5 - 1, 5),
        "contains_1": low <= 1 <= high,
    }


def record(arguments: argparse.Namespace, made: list[dict]) -> dict:
    """All runs, and their summary."""
    return {
        "machine": summary(),
        "model": arguments.model.name,
        "runtime": arguments.runtime,
        "max_seconds": arguments.max_seconds,
        "disturbers": arguments.disturbers,
        "runs": len(made),
        "busy_runs": sum(bool(run["marks"]) for run in made),
        "contain_1": sum(run["contains_1"] for run in made),
        "median_half_width": statistics.median(run["half_width"] for run in made),
        "largest_half_width": max(run["half_width"] for run in made),
        "median_ratio": statistics.median(run["ratio"] for run in made),
        "made": made,
    }


def show(found: dict) -> None:
    console = stdout_console()
    print_table(console, Table(COLUMNS, found["made"]))
    print_line(
        console,
        f"{found['contain_1']} of {found['runs']} intervals contain 1; median half-width "
        f"{found['median_half_width']:.2%}, largest {found['largest_half_width']:.2%}",
    )


if __name__ == "__main__":
    main()
