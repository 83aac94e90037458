"""What `edgecifar bench` adds to the latency that it measures, beside two other harnesses.

One file, one thread, one image at a time. Three processes take turns of 0.1 s in an order that a
seed shuffles: edgecifar's own worker, given the commands that the bench gives it; MLPerf
Inference's LoadGen with the same interpreter (`pip install mlcommons-loadgen`); and
`ai_edge_litert.tools.benchmark_litert_model`. Several sets of processes follow each other, because
two processes of one file differ. Ratios are paired by rounds; see `latency.paired_ratio`.
Found: the bench adds nothing that shows, its p50 and p90 are 0.4 % and 0.6 % below LoadGen's, whose
queries pass through its Python bindings, and its p50 is that of the tool.

Like is compared with like: LoadGen times from pixels to probabilities, as the bench does; the tool
of LiteRT times invocations alone, so beside it stand the whole inference and its invocation.

    python benchmarks/harness_overhead.py [MODEL] [--processes 10] [--rounds 40]
        --json benchmarks/harness_overhead.json
"""

import argparse
import os
import random
import subprocess
import sys
from contextlib import ExitStack
from importlib import metadata
from operator import itemgetter
from pathlib import Path

import numpy as np

from edgecifar import files
from edgecifar.bench.hosts.local import Local
from edgecifar.bench.hosts.process import WorkerProcess
from edgecifar.bench.settings import BenchSettings
from edgecifar.bench.task import prepare
from edgecifar.bench.worker import wire
from edgecifar.bench.worker.sensors import load_average
from edgecifar.hardware import summary
from edgecifar.metrics import latency
from edgecifar.metrics.latency import milliseconds
from edgecifar.report.progress import progress_bar, stdout_console
from edgecifar.report.tables import Column, Table, print_line, print_table
from edgecifar.runtimes import Options, named

HERE = Path(__file__).parent
MODEL = HERE.parent / "exported" / "model.tflite"
SAMPLES = 1_000
# The normalization is what the SUT of LoadGen puts in.
SETTINGS = BenchSettings(samples=SAMPLES, normalization="raw")
TIMEOUT_S = 60.0
WARM_UP_S = 2.0

BENCH, INVOKE = "edgecifar bench", "edgecifar bench, invoke alone"
LOADGEN, TOOL = "LoadGen", "benchmark_litert_model"
# What is held against what, and how far it may be from 1.
COMPARED = (
    (BENCH, LOADGEN, "p50", 0.03),
    (BENCH, LOADGEN, "p90", 0.03),
    (BENCH, TOOL, "p50", 0.05),
    (INVOKE, TOOL, "p50", None),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", type=Path, default=MODEL)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=40, help="of each set of processes")
    parser.add_argument(
        "--turn-s", type=float, default=SETTINGS.timing.block_s, help="as the bench's by default"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    files.check_writable(arguments.json.parent)
    order = random.Random(arguments.seed)
    load_before = load_average()
    rounds: list[dict[str, dict[str, float]]] = []
    processes: list[int] = []
    with progress_bar("taking turns", arguments.processes * arguments.rounds, "rounds") as update:
        for process in range(arguments.processes):
            with ExitStack() as stack:
                measures = start(arguments.model, arguments.turn_s, stack)
                for _ in range(arguments.rounds):
                    order.shuffle(measures)
                    turn: dict[str, dict[str, float]] = {}
                    for measure in measures:
                        turn |= measure()
                    rounds.append(turn)
                    processes.append(process)
                    update(len(rounds))
    found = record(arguments, rounds, processes) | {"load_average": [load_before, load_average()]}
    files.write_json(arguments.json, found)
    show(found)


def start(model: Path, turn_s: float, stack: ExitStack) -> list:
    """Start the three, let them warm up, and check that they classify alike.

    Returns:
        Functions that each take a turn, and return nanoseconds by harness and percentile.
    """
    task = prepare(Local(), SETTINGS, TIMEOUT_S)
    worker, own = talk_to(stack, Local())
    task.load(worker, named("litert"), model, Options())
    _, loadgen = talk_to(stack, Harness("LoadGen"))
    loadgen("load", threads=1, model=str(model), records=task.records, images=task.images)
    _, tool = talk_to(stack, Harness("BenchmarkLitertModel"))
    tool("load", threads=1, model=str(model))
    ours = wire.unpack(own("classify", begin=0, count=SAMPLES)["probabilities"]).argmax(axis=1)
    if ours.tolist() != loadgen("classes")["classes"]:
        raise SystemExit("LoadGen's SUT and edgecifar's worker do not classify alike")

    timing = SETTINGS.timing
    own("warm_up", batch=1, limit_s=WARM_UP_S, check_s=timing.settle_check_s)
    for other in (loadgen, tool):
        other("measure", limit_s=WARM_UP_S / 2)
    classified = 0

    def bench_turn() -> dict:
        nonlocal classified
        reply = own(
            "time",
            begin=classified,
            batch=1,
            limit_s=turn_s,
            wake_s=timing.wake_s,
            chunk_images=timing.chunk_images,
        )
        parts_ns = wire.unpack(reply["parts_ns"])
        classified += parts_ns.shape[1]
        return {BENCH: percentiles(parts_ns.sum(axis=0)), INVOKE: percentiles(parts_ns[1])}

    def loadgen_turn() -> dict:
        said = loadgen("measure", limit_s=turn_s)
        return {LOADGEN: {"p50": said["p50_ns"], "p90": said["p90_ns"]}}

    def tool_turn() -> dict:
        return {TOOL: {"p50": tool("measure", limit_s=turn_s)["p50_ns"]}}

    return [bench_turn, loadgen_turn, tool_turn]


class Harness:
    """Starts one of `other_harnesses.py` where a worker process would be; see `hosts.Host`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def start(self, stderr, python: str | None = None) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, str(HERE / "other_harnesses.py"), self._name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        )


def talk_to(stack: ExitStack, host):
    """Start a process; returns it, and a function that gives it a command and waits."""
    worker = WorkerProcess(host)
    stack.callback(worker.close)
    return worker, lambda do, **given: worker.ask(do, TIMEOUT_S, **given)


def percentiles(latencies_ns: np.ndarray) -> dict[str, float]:
    """In nanoseconds."""
    summary_ms = latency.latency_summary(latencies_ns)
    return {name: 1e6 * summary_ms[name] for name in ("p50", "p90")}


def record(arguments: argparse.Namespace, rounds: list[dict], processes: list[int]) -> dict:
    """The medians over the rounds, and the ratios."""

    def column(harness: str, name: str) -> np.ndarray:
        return np.array([[turn[harness][name]] for turn in rounds])

    ratios = []
    for a, b, name, limit in COMPARED:
        ours, theirs = column(a, name), column(b, name)
        ratio, interval = latency.paired_ratio(ours, theirs, arguments.seed, processes)
        which = np.array(processes)
        of_processes = [
            float(np.median(ours[which == one] / theirs[which == one])) for one in set(processes)
        ]
        ratios.append(
            {
                "a": a,
                "b": b,
                "of": name,
                "ratio": round(ratio, 4),
                "ratio_interval": [round(end, 4) for end in interval],
                "within": limit,
                "met": None if limit is None else met(interval, limit),
                "of_each_set_of_processes": [round(one, 4) for one in of_processes],
            }
        )
    return {
        "machine": summary(),
        "ai_edge_litert": metadata.version("ai-edge-litert"),
        "mlcommons_loadgen": metadata.version("mlcommons-loadgen"),
        "model": arguments.model.name,
        "threads": 1,
        "processes": arguments.processes,
        "rounds": len(rounds),
        "turn_s": arguments.turn_s,
        "median_ms": {
            harness: {
                name: round(float(np.median(column(harness, name))) / 1e6, 4)
                for name in rounds[0][harness]
            }
            for harness in (BENCH, INVOKE, LOADGEN, TOOL)
        },
        "ratios": ratios,
    }


def met(interval: tuple[float, float], limit: float) -> bool | None:
    """Whether all of an interval is so near to 1; None where only a part of it is."""
    low, high = interval
    if 1 - limit <= low and high <= 1 + limit:
        return True
    return False if high < 1 - limit or low > 1 + limit else None


MEDIANS = (
    Column("harness", lambda median: median[0]),
    Column("p50", lambda median: median[1]["p50"], milliseconds, "ms"),
    Column("p90", lambda median: median[1].get("p90"), milliseconds, "ms"),
)
RATIOS = (
    Column("ratio", lambda one: f"{one['a']} / {one['b']}"),
    Column("of", itemgetter("of"), left=True),
    Column("median", itemgetter("ratio"), "{:.3f}".format),
    Column("95 % interval", itemgetter("ratio_interval"), "{0[0]:.3f} to {0[1]:.3f}".format),
    Column("target", itemgetter("within"), lambda within: f"{1 - within:.2f} to {1 + within:.2f}"),
    Column("verdict", lambda one: one["within"] and VERDICTS[one["met"]], left=True),
)
VERDICTS = {None: "not sure", True: "met", False: "missed"}


def show(found: dict) -> None:
    console = stdout_console()
    print_table(console, Table(MEDIANS, list(found["median_ms"].items())))
    print_line(console, "")
    print_table(console, Table(RATIOS, found["ratios"]))


if __name__ == "__main__":
    main()
