"""Whether the ratio of two files, measured on a busy machine, is that of an idle machine.

The two files are first measured with nothing else at work, for a longer time: that ratio is the
truth. A virtual machine shares its processor with others that cannot be seen from inside, so this
is repeated until the interval of the ratio is narrow. Then processes that compute without a pause
start, and the same bench runs again and again for a few seconds, each time with workers of its own
and a seed of its own. An interval of 95 % leaves the truth out in 2 of 40 runs; at least 36 are to
contain it. The record also says how many intervals of the medians alone would have contained it.
It is written after every run.

    python benchmarks/busy_pairs.py [MODEL OTHER] [--runs 40] [--load 6]
        --json benchmarks/busy_pairs.json
"""

import argparse
import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgecifar import files
from edgecifar.bench.runner import bench
from edgecifar.bench.settings import BenchSettings
from edgecifar.hardware import summary
from edgecifar.metrics.latency import paired_ratio
from edgecifar.report.cells import ratio_interval
from edgecifar.report.progress import progress_bar, stdout_console
from edgecifar.report.tables import print_line

EXPORTED = Path(__file__).parents[1] / "exported"
MODELS = (EXPORTED / "model.tflite", EXPORTED / "model.onnx")
STEADY = 0.02  # the greatest half-width of the interval of the ratio on an idle machine


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", type=Path, default=MODELS, help="two files")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--load", type=int, default=6, help="processes that compute all the time")
    parser.add_argument("--max-seconds", type=float, default=3.0)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--idle-seconds", type=float, default=20.0)
    parser.add_argument("--idle-tries", type=int, default=20)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    files.check_writable(arguments.json.parent)
    idle = measured_idle(arguments)
    for _ in range(arguments.load):
        multiprocessing.Process(target=compute, daemon=True).start()
    runs = []
    with progress_bar("measuring under load", arguments.runs, "runs") as update:
        for seed in range(arguments.runs):
            settings = BenchSettings(
                seed=seed, max_seconds=arguments.max_seconds, samples=arguments.samples
            )
            runs.append(measured(arguments.models, settings))
            files.write_json(arguments.json, record(arguments, idle, runs))
            update(len(runs))
    show(record(arguments, idle, runs))


def measured_idle(arguments: argparse.Namespace) -> dict:
    """The first measurement on the idle machine whose ratio has a narrow interval."""
    settings = BenchSettings(precision=0.001, max_seconds=arguments.idle_seconds, samples=100)
    for _ in range(arguments.idle_tries):
        idle = measured(arguments.models, settings)
        if not idle["marks"] and half_width(*idle["ratio_interval"]) <= STEADY:
            return idle
    seen = f"marked {', '.join(idle['marks'])}" if idle["marks"] else "disturbed from outside"
    raise SystemExit(
        f"the ratio on the idle machine is not within {STEADY:.0%} of itself after "
        f"{arguments.idle_tries} measurements; the last one was {seen}"
    )


def compute() -> None:
    """Keep a core busy, forever."""
    matrix = np.ones((256, 256), np.float32)
    while True:
        matrix @ matrix


def measured(models: Sequence[Path], settings: BenchSettings) -> dict:
    """Measure two files; what their pair says, and its interval from the medians alone."""
    result = bench(models, ["litert", "onnxruntime"], settings)
    (pair,) = result["pairs"]
    medians = [
        [None if p50 is None else np.array([p50]) for p50 in row["block_p50_ms"]]
        for row in result["rows"]
    ]
    _, medians_alone = paired_ratio(*medians, settings.seed)
    return {
        "load_average": result["machine"]["conditions"]["before"].get("load_average"),
        "p50_ms": [round(row["latency_ms"]["p50"], 4) for row in result["rows"]],
        "marks": result["rows"][0]["marks"],
        "ratio": round(pair["ratio"], 4),
        "ratio_interval": [round(end, 4) for end in pair["ratio_interval"]],
        "medians_alone_interval": [round(end, 4) for end in medians_alone],
    }


def record(arguments: argparse.Namespace, idle: dict, runs: Sequence[dict]) -> dict:
    """All runs, and in how many of them an interval contains the ratio of the idle machine."""
    return {
        "machine": summary(),
        "models": [model.name for model in arguments.models],
        "load": arguments.load,
        "max_seconds": arguments.max_seconds,
        "samples": arguments.samples,
        "idle": idle,
        "runs": len(runs),
        "marked_runs": sum(bool(run["marks"]) for run in runs),
        "contain_the_idle_ratio": holding(runs, "ratio_interval", idle["ratio"]),
        "contain_it_by_medians_alone": holding(runs, "medians_alone_interval", idle["ratio"]),
        "median_half_width": float(np.median([half_width(*r["ratio_interval"]) for r in runs])),
        "made": list(runs),
    }


def holding(runs: Sequence[dict], interval: str, truth: float) -> int:
    return sum(run[interval][0] <= truth <= run[interval][1] for run in runs)


def half_width(low: float, high: float) -> float:
    return (high / low) ** 0.5 - 1


def show(found: dict) -> None:
    console = stdout_console()
    idle = found["idle"]
    print_line(console, f"idle: {idle['ratio']:.3f}, {ratio_interval(idle['ratio_interval'])}")
    print_line(
        console,
        f"{found['contain_the_idle_ratio']} of {found['runs']} intervals under load contain it, "
        f"{found['contain_it_by_medians_alone']} of the medians alone; "
        f"median half-width {found['median_half_width']:.1%}",
    )


if __name__ == "__main__":
    main()
