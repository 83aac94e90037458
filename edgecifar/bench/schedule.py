"""The order of a bench: who loads, warms up and classifies when, and what becomes of it.

Every (model, runtime) has a worker process of its own, and only one works at a time. First each
loads, alone, so that load time and memory are its own; then each warms up; then they take turns in
short blocks (A B C A B C ...) over the same test images, so that a machine that grows hot or busy
slows all alike. Every image is classified alone and timed, and the same pass gives the accuracy.
"""

import math
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edgecifar import runtimes as registry
from edgecifar.bench.machine import machine
from edgecifar.bench.process import WorkerFailed, WorkerProcess
from edgecifar.bench.result import Row, result
from edgecifar.bench.statistics import latency_summary
from edgecifar.data import cifar10, shipped
from edgecifar.errors import UserError
from edgecifar.report.interval import wilson_interval
from edgecifar.runtimes import Runtime

BLOCK_IMAGES = 250
MIN_TIMED = 1_000
WARM_UP_S = 0.5
# A session that takes any batch is a checkpoint in Keras: one image at a time costs it tens of
# milliseconds, and its accuracy comes sooner in batches.
FREE_BATCH_TIMED_S = 10.0
BLOCK_LIMIT_S = 60.0
# Importing TensorFlow from a cold memory card takes minutes.
TIMEOUT_S = 300.0

Progress = Callable[[str, int, int], None]


class Contender:
    """One model in one runtime, on its way to becoming a row."""

    def __init__(
        self,
        model: Path,
        runtime: Runtime,
        threads: int,
        chosen: np.ndarray,
        timeout_s: float,
        error: str | None,
    ) -> None:
        """Prepare; no process starts yet.

        Args:
            model: path of the file.
            runtime: installed or not.
            threads: how many the runtime may use.
            chosen: indices of the test images, int64, shape (n,).
            timeout_s: how long one command may take.
            error: why it cannot run, when that is known beforehand.
        """
        self.model = model
        self.runtime = runtime
        self.threads = threads
        self.error = error
        self._size_bytes = model.stat().st_size
        self._chosen = chosen
        self._timeout_s = timeout_s
        # Few images are repeated, each equally often, until the tail has inferences to be made of.
        self._to_time = np.tile(chosen, math.ceil(MIN_TIMED / len(chosen)))
        self._timing_left_s = math.inf
        self._latencies_ns: list[int] = []
        self._predicted: dict[int, int] = {}
        self._facts: dict = {}
        self._worker: WorkerProcess | None = None

    @property
    def label(self) -> str:
        return f"{self.model.name} in {self.runtime.name}"

    @property
    def done(self) -> int:
        """Images classified, repeats included."""
        return max(len(self._latencies_ns), len(self._predicted))

    @property
    def planned(self) -> int:
        """Images that are to be classified, as far as is known now."""
        if self.error:
            return self.done
        return max(len(self._to_time), len(self._chosen))

    @property
    def finished(self) -> bool:
        return self.error is not None or self._worker is None

    def start(self, records: Path) -> None:
        """Start the worker and load the model.

        Args:
            records: the record file of the test set.
        """
        self._worker = WorkerProcess()
        arguments = {"runtime": self.runtime.name, "model": str(self.model)}
        reply = self._ask("load", **arguments, threads=self.threads, records=str(records))
        if reply and reply["batch"] not in (None, 1):
            self.error = f"takes {reply['batch']} images at a time, and bench gives it one"
            self.stop()
        elif reply and reply["batch"] is None:
            self._to_time = self._to_time[:MIN_TIMED]
            self._timing_left_s = FREE_BATCH_TIMED_S
        self._facts |= reply

    def warm_up(self) -> None:
        self._ask("warm_up", seconds=WARM_UP_S)

    def take_turn(self) -> None:
        """Do one block: time while there is something to time, then classify what is left."""
        if self._has_to_time:
            self._time_block()
        else:
            self._classify_block(self._unclassified[:BLOCK_IMAGES])
        if not self._has_to_time and not self._unclassified:
            self.stop()

    def stop(self) -> None:
        """End the worker; nothing to do when there is none."""
        if self._worker:
            self._worker.close()
            self._worker = None

    def row(self, labels: np.ndarray) -> Row:
        """What was measured, or why it was not.

        Args:
            labels: uint8, shape (10000,), of the whole test set.
        """
        known = {
            "model": str(self.model),
            "runtime": self.runtime.name,
            "threads": self.threads,
            "runtime_version": self.runtime.version() if self.runtime.installed() else None,
            "size_bytes": self._size_bytes,
        }
        if self.error:
            return Row(**known, error=self.error)
        latency = latency_summary(np.array(self._latencies_ns))
        accuracy = {}
        if self._facts["classes"] == len(cifar10.CLASSES):  # else the labels mean other things
            images = len(self._chosen)
            right = sum(int(labels[i]) == self._predicted[i] for i in self._chosen.tolist())
            accuracy = {
                "images": images,
                "top1": right / images,
                "top1_interval": wilson_interval(right, images),
            }
        return Row(
            **known,
            **accuracy,
            latency_ms=latency,
            timed_inferences=len(self._latencies_ns),
            images_per_s=1e3 / latency["mean"],
            **{name: self._facts[name] for name in ("import_ms", "load_ms", "first_ms")},
            **{name: self._facts[name] for name in ("peak_rss_mib", "runtime_rss_mib")},
        )

    @property
    def _has_to_time(self) -> bool:
        return self._timing_left_s > 0 and len(self._latencies_ns) < len(self._to_time)

    @property
    def _unclassified(self) -> list[int]:
        return [image for image in self._chosen.tolist() if image not in self._predicted]

    def _time_block(self) -> None:
        begin = len(self._latencies_ns)
        block = self._to_time[begin : begin + BLOCK_IMAGES].tolist()
        limit_s = min(self._timing_left_s, BLOCK_LIMIT_S)
        if not (reply := self._ask("time", indices=block, limit_s=limit_s)):
            return
        self._latencies_ns += reply["latency_ns"]
        self._predicted.update(zip(block, reply["predicted"], strict=False))
        self._timing_left_s -= sum(reply["latency_ns"]) / 1e9
        # Asked while only single images have been classified: batches take more.
        self._facts |= self._ask("memory")

    def _classify_block(self, block: list[int]) -> None:
        if reply := self._ask("classify", indices=block):
            self._predicted.update(zip(block, reply["predicted"], strict=True))

    def _ask(self, do: str, **arguments: object) -> dict:
        """The worker's reply; none when it failed, which ends this contender."""
        if self.error:
            return {}
        try:
            return self._worker.ask(do, self._timeout_s, **arguments)
        except WorkerFailed as failure:
            self.error = _reason(self.model, failure)
            self.stop()
            return {}


def bench(
    models: Sequence[Path],
    runtimes: Sequence[str] | None = None,
    threads: int = 1,
    samples: int | None = None,
    progress: Progress | None = None,
    timeout_s: float = TIMEOUT_S,
) -> dict:
    """Measure accuracy, latency, load time and memory of models on the CIFAR-10 test images.

    Args:
        models: paths of `.tflite`, `.onnx` or `.keras` files.
        runtimes: names; by default every installed one that opens the file.
        threads: how many each runtime may use.
        samples: how many test images, class-balanced; all 10,000 by default.
        progress: called with what is being done, the images done and the images in all.
        timeout_s: how long a worker may take for one command before it is given up.

    Returns:
        The result, JSON values; see `edgecifar.bench.result`. What goes wrong with one model in
        one runtime is the `error` of its row.

    Raises:
        UserError: a file is missing, empty or of an unknown kind; a runtime is unknown; or a number
            is out of its range.
    """
    report = progress or (lambda doing, done, total: None)
    check_numbers(threads, samples)
    pairs = plan([Path(model) for model in models], runtimes)
    test_set = shipped.test_set()
    labels = test_set.labels
    chosen = cifar10.balanced(labels, samples or len(labels))
    records = cifar10.cache_folder() / cifar10.TEST_FILE
    contenders = [Contender(m, r, threads, chosen, timeout_s, error) for m, r, error in pairs]
    measured_on = machine()

    with ExitStack() as workers:
        for contender in contenders:
            workers.callback(contender.stop)
        running = [contender for contender in contenders if not contender.error]
        for contender in running:
            report(f"loading {contender.label}", 0, _planned(contenders))
            contender.start(records)
        for contender in running:
            contender.warm_up()
        while running := [contender for contender in running if not contender.finished]:
            for contender in running:
                done = sum(c.done for c in contenders)
                report(contender.label, done, _planned(contenders))
                contender.take_turn()
    report("measured", _planned(contenders), _planned(contenders))
    return result(measured_on, [contender.row(labels) for contender in contenders])


def check_numbers(threads: int, samples: int | None) -> None:
    """Check the numbers that a user gives.

    Raises:
        UserError: one is out of its range.
    """
    if threads < 1:
        raise UserError(f"{threads} threads cannot run anything: give 1 or more")
    if samples is not None and not 1 <= samples <= cifar10.FILE_RECORDS:
        raise UserError(f"{samples} samples: give 1 to {cifar10.FILE_RECORDS}, or all")


def plan(
    models: Sequence[Path], names: Sequence[str] | None
) -> list[tuple[Path, Runtime, str | None]]:
    """Which model runs in which runtime, and why not when that is known beforehand.

    Args:
        models: paths.
        names: of runtimes; None means every installed one that opens the file.

    Returns:
        (model, runtime, error) in the order of the rows; every model has one at least.

    Raises:
        UserError: a file is missing, empty or of an unknown kind, or a runtime is unknown.
    """
    asked = None if names is None else [registry.named(name) for name in dict.fromkeys(names)]
    pairs = []
    for model in models:
        check_file(model)
        fitting = registry.for_file(model)
        if asked is None:
            chosen = [r for r in fitting if r.installed()] or fitting[:1]
        else:
            chosen = [r for r in asked if r in fitting] or asked[:1]
        pairs += [(model, runtime, _obstacle(model, runtime)) for runtime in chosen]
    return pairs


def check_file(model: Path) -> None:
    """Check that a path is a file with something in it.

    Raises:
        UserError: it is not.
    """
    try:
        status = model.stat()
    except OSError as error:
        raise UserError(f"{model}: cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{model}: is not a file")
    if status.st_size == 0:
        raise UserError(f"{model}: is empty")


def _obstacle(model: Path, runtime: Runtime) -> str | None:
    if model.suffix.lower() not in runtime.suffixes:
        return f"{runtime.name} opens {', '.join(runtime.suffixes)} files, not {model.suffix}"
    if not runtime.installed():
        return f"{runtime.name} is not installed: get it with {runtime.get}"
    try:
        runtime.check(model)
    except UserError as error:
        return _reason(model, error)
    return None


def _reason(model: Path, error: Exception) -> str:
    """An error without the path that it begins with: its row names the model already."""
    return str(error).removeprefix(f"{model}: ")


def _planned(contenders: list[Contender]) -> int:
    return sum(contender.planned for contender in contenders)
