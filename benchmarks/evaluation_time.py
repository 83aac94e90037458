"""How long classifying all 10,000 test images takes, beside 10,000 times the invocation alone.

The worker and the commands are those of `edgecifar bench`, which classifies so whatever images no
timed turn came to: 250 at a time, read from the record file, one call an image, the answers sent
back to the parent. Before each 250 comes a timed turn, whose invocations say what the model alone
takes at that moment. Each file is evaluated several times, with a process of its own each time.

    python benchmarks/evaluation_time.py [MODEL ...] [--processes 5]
        --json benchmarks/evaluation_time.json
"""

import argparse
import statistics
import time
from operator import itemgetter
from pathlib import Path

import numpy as np

from edgecifar import files, runtimes
from edgecifar.bench.hosts.local import Local
from edgecifar.bench.hosts.process import WorkerProcess
from edgecifar.bench.settings import BenchSettings
from edgecifar.bench.task import prepare
from edgecifar.bench.worker import wire
from edgecifar.bench.worker.sensors import load_average
from edgecifar.hardware import summary
from edgecifar.metrics.latency import milliseconds
from edgecifar.report.progress import progress_bar, stdout_console
from edgecifar.report.tables import Column, Table, print_table
from edgecifar.runtimes import Options

EXPORTED = Path(__file__).parents[1] / "exported"
MODELS = [EXPORTED / "model.tflite", EXPORTED / "model.onnx"]
TIMEOUT_S = 300.0
TARGET = 1.15


COLUMNS = (
    Column("model", itemgetter("model")),
    Column("runtime", itemgetter("runtime"), left=True),
    Column("invoke p50", itemgetter("invoke_p50_ms"), milliseconds, "ms"),
    Column("evaluation", itemgetter("evaluation_s"), "{:.2f}".format, "s"),
    Column("ratio", itemgetter("ratio"), "{:.3f}".format),
    Column("of each process", lambda one: f"{min(one['ratios']):.3f} to {max(one['ratios']):.3f}"),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", type=Path, default=MODELS)
    parser.add_argument("--processes", type=int, default=5, help="of each file")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    files.check_writable(arguments.json.parent)
    load_before = load_average()
    made: dict[Path, list[dict]] = {model: [] for model in arguments.models}
    total = arguments.processes * len(made)
    with progress_bar("classifying all test images", total, "times") as update:
        for done in range(total):
            model = arguments.models[done % len(made)]
            made[model].append(evaluation(model))
            update(done + 1)
    found = {
        "machine": summary(),
        "threads": 1,
        "target": TARGET,
        "load_average": [load_before, load_average()],
        "models": [told(model, evaluations) for model, evaluations in made.items()],
    }
    files.write_json(arguments.json, found)
    print_table(stdout_console(), Table(COLUMNS, found["models"]))


def evaluation(model: Path) -> dict:
    """Classify the test set once, in a new process.

    Returns:
        `images`, the `seconds` that all of them took, and `invoke_p50_ms` of the turns between.
    """
    task = prepare(Local(), BenchSettings(), TIMEOUT_S)
    timing, count = task.settings.timing, len(task.images)
    worker = WorkerProcess(Local())
    try:
        task.load(worker, runtimes.for_file(model)[0], model, Options())
        warm_up_s = timing.warm_up_limit_s
        check_s = timing.settle_check_s
        worker.ask("warm_up", TIMEOUT_S, batch=1, limit_s=warm_up_s, check_s=check_s)
        invoke_ns, seconds = [], 0.0
        for begin in range(0, count, timing.classify_images):
            turn = worker.ask(
                "time",
                TIMEOUT_S,
                begin=begin,
                batch=1,
                limit_s=timing.block_s,
                wake_s=timing.wake_s,
                chunk_images=timing.chunk_images,
            )
            invoke_ns.append(wire.unpack(turn["parts_ns"])[1])
            asked = min(timing.classify_images, count - begin)
            before = time.perf_counter()
            answer = worker.ask("classify", TIMEOUT_S, begin=begin, count=asked)
            wire.unpack(answer["probabilities"])
            seconds += time.perf_counter() - before
    finally:
        worker.close()
    p50_ms = float(np.median(np.concatenate(invoke_ns))) / 1e6
    return {"images": count, "seconds": seconds, "invoke_p50_ms": p50_ms}


def told(model: Path, evaluations: list[dict]) -> dict:
    """The medians over the processes, and the ratio of each."""
    ratios = [one["seconds"] / (one["images"] * one["invoke_p50_ms"] / 1e3) for one in evaluations]
    return {
        "model": model.name,
        "runtime": runtimes.for_file(model)[0].name,
        "images": evaluations[0]["images"],
        "evaluation_s": round(statistics.median(one["seconds"] for one in evaluations), 3),
        "invoke_p50_ms": round(statistics.median(one["invoke_p50_ms"] for one in evaluations), 4),
        "ratio": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 4) for ratio in ratios],
    }


if __name__ == "__main__":
    main()
