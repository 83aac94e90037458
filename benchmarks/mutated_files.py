"""1,000 damaged model files through `edgecifar bench` and `edgecifar info`, as a user calls them.

Every call of `bench` has healthy files among the damaged ones. It must end in time, print no
traceback, give each file figures or one line, measure the healthy ones rightly, and leave no
process behind; so must `info` of each file. What does not hold is told, with the file's number,
and makes the exit code 1: `--begin NUMBER --files 1 --keep FOLDER` gives that file again.

    python benchmarks/mutated_files.py > benchmarks/mutated_files.json
"""

import argparse
import contextlib
import ctypes
import dataclasses
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
from mutations import KINDS, Source, mutated

from edgecifar import runtimes
from edgecifar.data import cifar10, shipped
from edgecifar.hardware import summary
from edgecifar.runtimes import environments

ROOT = Path(__file__).parents[1]
SHIPPED = ("model.tflite", "model.onnx")
SAMPLES = 10
TIMEOUT_S = 30
# Loading, warming up, timing and classifying may each take the time-out.
FILE_LIMIT_S = 4 * TIMEOUT_S
INFO_LIMIT_S = 20
POLL_S = 0.1
ZOMBIE_S = 2.0
PARENT_MIB = 500
LONGEST_LINE = 500
PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--begin", type=int, default=0, help="number of the first file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=20, help="damaged files in a call")
    parser.add_argument("--runtime", action="append", help="[litert, onnxruntime]")
    parser.add_argument("--keep", type=Path, help="a folder for the files that show a defect")
    arguments = parser.parse_args()
    names = arguments.runtime or ["litert", "onnxruntime"]
    adopt_orphans()
    expected = {name: known_top1(ROOT / "exported" / name) for name in SHIPPED}
    sources = [source for source in all_sources() if fitting(source.name, names)]
    healthy = [ROOT / "exported" / name for name in SHIPPED if fitting(name, names)]
    found = Findings()
    started = time.perf_counter()
    numbers = range(arguments.begin, arguments.begin + arguments.files)
    for begin in range(0, len(numbers), arguments.at_once):
        with tempfile.TemporaryDirectory(prefix="mutated-") as folder:
            files = {}
            for number in numbers[begin : begin + arguments.at_once]:
                path, kind = write(number, arguments.seed, sources, Path(folder))
                files[path] = kind
            broken = len(found.broken)
            bench_call(files, healthy, expected, names, Path(folder), found)
            for path in files:
                info_call(path, found)
            if arguments.keep and len(found.broken) > broken:
                arguments.keep.mkdir(parents=True, exist_ok=True)
                for path in files:
                    (arguments.keep / path.name).write_bytes(path.read_bytes())
        done = begin + len(files)
        print(f"{done} files, {len(found.broken)} defects", file=sys.stderr, flush=True)
    installed = {name: environments.version_of(runtimes.named(name)) for name in names}
    settings = {
        "files": arguments.files,
        "seed": arguments.seed,
        "damaged_files_a_call": arguments.at_once,
        "timeout_s": TIMEOUT_S,
        "machine": summary(),
        "runtimes": installed,
        "seconds": round(time.perf_counter() - started),
    }
    print(json.dumps(settings | found.as_dict(), indent=2))
    for line in found.broken:
        print(line, file=sys.stderr)
    sys.exit(bool(found.broken))


@dataclasses.dataclass
class Findings:
    """What came of the files.

    Attributes:
        bench: how often each outcome came of each (runtime, kind of damage).
        info: the same of (kind of damage,).
        healthy: how often a healthy file was measured, with its right top-1.
        slowest_call_s: of `bench`.
        slowest_info_s: see `slowest_call_s`.
        parent_mib: the highest resident memory of a `bench` itself.
        worker_mib: and of a worker.
        broken: a line for each defect.
    """

    bench: dict[tuple[str, str], Counter] = dataclasses.field(default_factory=dict)
    info: dict[str, Counter] = dataclasses.field(default_factory=dict)
    healthy: int = 0
    calls: int = 0
    slowest_call_s: float = 0.0
    slowest_info_s: float = 0.0
    parent_mib: float = 0.0
    worker_mib: float = 0.0
    broken: list[str] = dataclasses.field(default_factory=list)

    def as_dict(self) -> dict:
        outcomes = {}
        for (runtime, kind), counts in sorted(self.bench.items()):
            outcomes.setdefault(runtime, {})[kind] = dict(counts.most_common())
        totals = {
            runtime: dict(sum(map(Counter, kinds.values()), Counter()).most_common())
            for runtime, kinds in outcomes.items()
        }
        info = dict(sum(self.info.values(), Counter()).most_common())
        return {
            "calls_of_bench": self.calls,
            "healthy_files_measured": self.healthy,
            "slowest_call_s": round(self.slowest_call_s, 1),
            "parent_peak_mib": round(self.parent_mib),
            "worker_peak_mib": round(self.worker_mib),
            "rows": totals,
            "info": info | {"slowest_s": round(self.slowest_info_s, 2)},
            "defects": self.broken,
            "rows_by_damage": outcomes,
        }


@dataclasses.dataclass(frozen=True)
class Run:
    """A command that has ended; `code` is None of one that had to be stopped."""

    code: int | None
    said: str
    seconds: float
    parent_mib: float
    worker_mib: float
    left: list[str]


def bench_call(
    files: dict[Path, str],
    healthy: list[Path],
    expected: dict[str, float],
    names: list[str],
    folder: Path,
    found: Findings,
) -> None:
    """Bench damaged files with healthy ones among them, and check what comes of it."""
    models = [*files]
    for i, path in enumerate(healthy):
        models.insert((i + 1) * len(files) // (len(healthy) + 1) + i, path)
    result = folder / "result.json"
    chosen = [word for name in names for word in ("--runtime", name)]
    quick = ["--samples", str(SAMPLES), "--max-seconds", "0.05", "--timeout", str(TIMEOUT_S)]
    limit_s = 60 + FILE_LIMIT_S * len(models)
    run = command(["bench", *map(str, models), *chosen, *quick, "--json", str(result)], limit_s)
    found.calls += 1
    found.slowest_call_s = max(found.slowest_call_s, run.seconds)
    found.parent_mib = max(found.parent_mib, run.parent_mib)
    found.worker_mib = max(found.worker_mib, run.worker_mib)
    where = f"bench of {next(iter(files)).name} to {list(files)[-1].name}"
    broken = [*faults(run)]
    if run.parent_mib > PARENT_MIB:
        broken.append(f"took {run.parent_mib:.0f} MiB itself")
    rows = []
    if result.exists():
        strict = {"parse_constant": lambda name: broken.append(f"its JSON has {name}")}
        rows = json.loads(result.read_text(), **strict)["rows"]
    planned = [(str(model), name) for model in models for name in fitting(model.name, names)]
    if [(row["model"], row["runtime"]) for row in rows] != planned:
        broken.append(f"gave {len(rows)} rows for {len(planned)}")
    if run.code == 0 and any(row["error"] for row in rows):
        broken.append("exited with 0, and has rows with errors")
    for row in rows:
        path = Path(row["model"])
        if path in files:
            counts = found.bench.setdefault((row["runtime"], files[path]), Counter())
            counts[outcome(row["error"])] += 1
            if fault := row_fault(row, folder):
                broken.append(f"{path.name} in {row['runtime']}: {fault}")
        elif row["error"] or row["top1"] != expected[path.name]:
            broken.append(f"{path.name}, healthy: {row['error']}, top-1 {row['top1']}")
        else:
            found.healthy += 1
    found.broken += [f"{where}: {fault}" for fault in broken]


def info_call(path: Path, found: Findings) -> None:
    """Look into a damaged file, and check what comes of it."""
    run = command(["info", str(path)], INFO_LIMIT_S)
    found.slowest_info_s = max(found.slowest_info_s, run.seconds)
    outcomes = {0: "told", 2: "refused"}
    kind = path.stem.split(".", 1)[0]
    found.info.setdefault(kind, Counter())[outcomes.get(run.code, "failed")] += 1
    broken = [*faults(run)]
    if run.code == 2 and len(run.said.splitlines()) != 1:
        broken.append(f"said more than a line: {run.said[:LONGEST_LINE]}")
    found.broken += [f"info of {path.name}: {fault}" for fault in broken]


def faults(run: Run) -> list[str]:
    """What is wrong with how a command ended."""
    broken = list(run.left)
    if run.code is None:
        broken.append(f"did not end within {run.seconds:.0f} s")
    elif run.code not in (0, 2):
        broken.append(f"exited with {run.code}: {run.said[-LONGEST_LINE:]}")
    if "Traceback (most recent call last)" in run.said:
        broken.append(f"printed a traceback: {run.said[-LONGEST_LINE:]}")
    return broken


def row_fault(row: dict, folder: Path) -> str | None:
    """What is wrong with the row of a damaged file."""
    error = row["error"]
    if error is None:
        figures = [row["latency_ms"][name] for name in ("min", "p50", "p99")]
        if not all(isinstance(figure, float) and figure > 0 for figure in figures):
            return f"neither an error nor figures: {figures}"
        return None
    if not error.strip() or "\n" in error or not error.isprintable():
        return f"its error is no line: {error!r}"
    if str(folder) in error or len(error) > LONGEST_LINE:
        return f"its error is no line for people: {error[:LONGEST_LINE]}"
    return None


def outcome(error: str | None) -> str:
    """A word for the error of a row."""
    if error is None:
        return "measured"
    if signal := re.search(r"\((SIG[A-Z]+)\)", error):
        return f"ended by {signal[1]}"
    if error.startswith("gave no answer"):
        return "timed out"
    return "refused"


def command(arguments: list[str], limit_s: float) -> Run:
    """Run edgecifar's command line, and watch its processes."""
    parent_mib = worker_mib = 0.0
    zombies: dict[int, float] = {}
    left = []
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "edgecifar", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
        watched = psutil.Process(process.pid)
        while process.poll() is None and time.perf_counter() < begin + limit_s:
            with contextlib.suppress(psutil.Error):
                parent_mib = max(parent_mib, watched.memory_info().rss / 2**20)
                children = watched.children(recursive=True)
                for child in children:
                    with contextlib.suppress(psutil.Error):
                        worker_mib = max(worker_mib, child.memory_info().rss / 2**20)
                        if child.status() == psutil.STATUS_ZOMBIE:
                            zombies.setdefault(child.pid, time.perf_counter())
                        else:
                            zombies.pop(child.pid, None)
                for pid in zombies.keys() - {child.pid for child in children}:
                    del zombies[pid]
                old = time.perf_counter() - ZOMBIE_S
                if any(since < old for since in zombies.values()) and not left:
                    left.append("had a zombie for a while")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
        code = process.poll()
        if code is None:
            process.kill()
            process.wait()
        seconds = time.perf_counter() - begin
        # It has waited for each of them: not one may have come over to this process.
        orphans = psutil.Process().children(recursive=True)
        if orphans and code is not None:
            left.append(f"left {len(orphans)} processes behind")
        for orphan in orphans:
            with contextlib.suppress(psutil.Error):
                orphan.kill()
        psutil.wait_procs(orphans, timeout=10)
        output.seek(0)
        return Run(code, output.read(), seconds, parent_mib, worker_mib, left)


def adopt_orphans() -> None:
    """Have Linux hand what `edgecifar` leaves behind to this process, where it is seen."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def known_top1(path: Path) -> float:
    """The top-1 of a healthy file, found without the bench."""
    test_set = shipped.test_set()
    chosen = cifar10.balanced(test_set.labels, SAMPLES)
    classifier = runtimes.open_classifier(path)
    predicted = classifier.classify(np.ascontiguousarray(test_set.images(chosen))).argmax(axis=1)
    return float(np.mean(predicted == test_set.labels[chosen]))


def write(number: int, seed: int, sources: list[Source], folder: Path) -> tuple[Path, str]:
    """Write the damaged file of that number, and tell the kind of damage."""
    generator = random.Random(f"{seed}/{number}")
    kinds, suffixes = list(KINDS), sorted({source.name.rpartition(".")[2] for source in sources})
    suffix, kind = suffixes[number % len(suffixes)], kinds[number // len(suffixes) % len(kinds)]
    first, *small = (source for source in sources if source.name.endswith(suffix))
    source = first if generator.random() < 0.5 else generator.choice(small)
    path = folder / f"{kind.replace(' ', '-')}.{number}.{source.name}"
    path.write_bytes(mutated(source, kind, generator))
    return path, kind


def all_sources() -> list[Source]:
    """The shipped files, and behind them small ones, which are nearly all structure."""
    sys.path.append(str(ROOT / "tests"))
    import tiny_graphs
    import tiny_models

    sources = [Source(name, (ROOT / "exported" / name).read_bytes()) for name in SHIPPED]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in (
            tiny_models.write_tflite(folder / "matrix.tflite"),
            tiny_models.write_tflite(
                folder / "integers.tflite", input_dtype="INT8", output_dtype="INT8"
            ),
            tiny_models.write_onnx(folder / "matrix.onnx", batch="n"),
        ):
            sources.append(Source(path.name, path.read_bytes()))
    for precision in ("float32", "float16", "dynamic", "int8"):
        sources.append(Source(f"{precision}.tflite", tiny_graphs.tflite(precision)))
    for precision in ("float32", "int8", "qoperator"):
        sources.append(Source(f"{precision}.onnx", tiny_graphs.onnx(precision)))
    return sources


def fitting(file: str, names: list[str]) -> list[str]:
    """Which of the runtimes open a file of that name."""
    return [name for name in names if Path(file).suffix in runtimes.named(name).suffixes]


if __name__ == "__main__":
    main()
