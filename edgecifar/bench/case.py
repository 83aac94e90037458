"""One model in one runtime with so many threads, on its way to becoming a row."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edgecifar import runtimes
from edgecifar.bench.hosts.host import Host
from edgecifar.bench.hosts.process import WorkerFailed, WorkerProcess
from edgecifar.bench.monitor import Monitor
from edgecifar.bench.results.result import Row
from edgecifar.bench.settings import BenchSettings
from edgecifar.bench.worker import wire
from edgecifar.data import cifar10
from edgecifar.errors import UserError, plain
from edgecifar.graphs import overflow
from edgecifar.metrics import latency
from edgecifar.metrics.accuracy import accuracy
from edgecifar.metrics.divergence import divergence
from edgecifar.runtimes import Options, Runtime

# How long a turn is; longer for slow models, so that it has some calls to show, but not too long.
BLOCK_S = 0.1
BLOCK_CALLS = 5
LONGEST_BLOCK_S = 1.0
# Both at least, as in MLPerf Inference's rules for a single stream; theirs are longer.
MIN_CALLS = 200
MIN_S = 3.0
WARM_UP_LIMIT_S = 5.0
# One answer of a worker should come within a second: there is progress to be shown, and Ctrl-C.
CLASSIFIED_AT_ONCE = 250
CLASSIFIED_S = 1.0
OVERFLOW = "overflow"
LONGEST_ERROR = 500  # a runtime may say pages
# Energy is counted in turns of their own: some of what counts it would disturb a latency.
ENERGY_TURNS = 3
ENERGY_S = 1.0
# Another worker costs its start: not for less work than this.
WORTH_A_WORKER_S = 2.0
# Found out on training images once for a file.
NORMALIZATION_FACTS = ("normalization", "normalization_tried", "warning")
# Of what a worker says when it has loaded, what goes into the row as it is.
FACTS = (
    "first_ms",
    "import_ms",
    "input",
    "labels",
    "load_ms",
    "normalization",
    "normalization_tried",
    "output",
    "peak_rss_mib",
    "runtime_rss_mib",
    "warning",
)


@dataclasses.dataclass(frozen=True)
class Task:
    """What every worker is given to do.

    Attributes:
        images: the numbers of the test images, in the order in which they are classified.
        labels: of those images, uint8.
        records: path of the record file that they are in, on the host.
        sample: path of a record file of training images, on the host.
        settings: of the bench.
        timeout_s: how long a worker may take for one command before it is given up.
    """

    images: list[int]
    labels: np.ndarray
    records: str
    sample: str
    settings: BenchSettings
    timeout_s: float


class Case:
    """One model in one runtime; see the module.

    Attributes:
        error: why it is no more; None while all is well.
        blocks_ns: the latencies of each round, int64; None of a round in which it took no part.
    """

    def __init__(
        self,
        model: Path,
        runtime: Runtime,
        options: Options,
        host: Host,
        task: Task,
        error: str | None = None,
    ) -> None:
        """Prepare; no process starts yet.

        Args:
            model: path of the file.
            runtime: installed or not.
            options: of the runtime.
            host: where it runs.
            task: what it is to do.
            error: why it cannot run, when that is known beforehand.
        """
        self.model = model
        self.runtime = runtime
        self.options = options
        self.error = error
        self.blocks_ns: list[np.ndarray | None] = []
        self._host = host
        self._task = task
        self._size_bytes = model.stat().st_size
        self._path = str(model)
        self._facts: dict = {}
        self._warm_up: dict = {}
        self._half_width = math.inf  # of the median so far: asked for often, and slow to find out
        self._parts_ns: list[np.ndarray] = []
        self._energy: list[tuple[float, float, int]] = []  # joules, seconds, images of a block
        self._kernels: dict | None = None
        self._python: str | None = None
        self._worker: WorkerProcess | None = None
        self._helpers: list[WorkerProcess] = []
        self._hired = False
        self._batch = 1
        self._next = 0
        self._probabilities = np.empty((0, 0), np.float32)
        self._classified = np.zeros(len(task.images), bool)

    @property
    def label(self) -> str:
        threads = f", {self.options.threads} threads" if self.options.threads > 1 else ""
        return f"{self.model.name} in {self.runtime.name}{threads}"

    @property
    def pid(self) -> int | None:
        """Of its worker, on the host."""
        return self._facts.get("pid") if self._worker else None

    @property
    def timed_s(self) -> float:
        return sum(int(block.sum()) for block in self._blocks) / 1e9

    @property
    def image_ns(self) -> list[np.ndarray | None]:
        """The time of an image in each call of `blocks_ns`: calls may be of several."""
        return [None if block is None else block / self._batch for block in self.blocks_ns]

    @property
    def settled(self) -> bool:
        """Whether the median is known as exactly as was asked for, as far as that is told fast."""
        return self._half_width <= self._task.settings.precision

    @property
    def _enough(self) -> bool:
        return sum(map(len, self._blocks)) >= MIN_CALLS and self.timed_s >= MIN_S

    @property
    def timing(self) -> bool:
        """Whether it is to take more turns; it also does while that is the way to classify."""
        if self.error or self.timed_s >= self._task.settings.max_seconds:
            return False
        if not self._enough or not self.settled:
            return True
        return not self._free and not self._classified.all()

    @property
    def progress(self) -> float:
        """How much is done, 0 to 1, as far as is known now."""
        if self.error:
            return 1.0
        timed = self.timed_s / self._task.settings.max_seconds if self.timing else 1.0
        return (timed + self._classified.mean()) / 2

    def start(self, python: str | None, known: dict | None = None) -> None:
        """Start the worker and load the model.

        Args:
            python: the interpreter that has the runtime; the host's own choice when None.
            known: what another one's `normalization_facts` say of the same file, so that they are
                not found out again.
        """
        self._python = python
        known = known or {}
        try:
            self._path = self._host.send(self.model)
            self._worker = WorkerProcess(self._host, python)
            wanted = known.get("normalization", self._task.settings.normalization)
            self._facts = self._load(self._worker, wanted) | known
        except (UserError, WorkerFailed) as failure:
            self.fail(failure)
            return
        self._batch = self._facts["batch"] or self.options.batch or 1
        classes = len(cifar10.CLASSES) if self._knows_cifar10 else 0
        self._probabilities = np.zeros((len(self._task.images), classes), np.float32)
        self._classified[:] = not self._knows_cifar10  # of others nothing is asked but their time

    @property
    def normalization_facts(self) -> dict | None:
        """What was found out of the file's normalization; None where nothing was."""
        if self.error or not self._facts["normalization_tried"]:
            return None
        return {name: self._facts[name] for name in NORMALIZATION_FACTS}

    def warm_up(self) -> None:
        limit_s = min(WARM_UP_LIMIT_S, self._task.settings.max_seconds)
        self._warm_up = self._ask("warm_up", batch=self._batch, limit_s=limit_s)

    def take_turn(self) -> None:
        """Time one block."""
        limit_s = max(BLOCK_S, min(BLOCK_CALLS * self._call_s, LONGEST_BLOCK_S))
        parts_ns, _ = self._time(limit_s)
        if parts_ns is None:
            self.sit_out()
            return
        self.blocks_ns.append(parts_ns.sum(axis=0))
        self._parts_ns.append(parts_ns)
        self._half_width = latency.median_half_width(self._blocks)

    def count_energy(self, monitor: Monitor) -> None:
        """Classify for a while as in a turn, only to count what that takes."""
        monitor.begin_energy()
        _, images = self._time(ENERGY_S)
        spent = monitor.end_energy()
        if images and spent:
            self._energy.append((*spent, images))

    def _time(self, limit_s: float) -> tuple[np.ndarray | None, int]:
        """The times of the parts of calls, None where the worker failed; and how many images."""
        reply = self._ask("time", begin=self._next, batch=self._batch, limit_s=limit_s)
        if not reply:
            return None, 0
        probabilities = wire.unpack(reply["probabilities"])
        self._keep(self._next, probabilities)
        self._next += len(probabilities)
        return wire.unpack(reply["parts_ns"]), len(probabilities)

    def sit_out(self) -> None:
        """Let a round go by."""
        self.blocks_ns.append(None)

    def classify_rest(self, jobs: int) -> None:
        """Classify, untimed, some of the images that no turn came to.

        Args:
            jobs: how many workers may share what is left.
        """
        wanted = 1 if self._free else min(jobs, round(self._seconds_left / WORTH_A_WORKER_S))
        if wanted > 1 and not self._hired:
            self._hire(wanted - 1)
        workers = [self._worker, *self._helpers]
        with ThreadPoolExecutor(len(workers)) as pool:
            answers = [
                (worker, pool.submit(self._classify, worker, stretch))
                for worker, stretch in zip(workers, self._stretches(), strict=False)
            ]
            try:
                for worker, answer in answers:
                    self._take(worker, answer)
            except BaseException:  # Ctrl-C: the pool would wait for its workers
                self.stop()
                raise

    def check_kernels(self) -> None:
        """See whether int8 weights overflow on this processor, where the file's can.

        A runtime that has no exact kernels to compare with, or that has them alone, says nothing.
        """
        settled = self.error or self.options.exact_int8 is not None or not self._knows_cifar10
        if settled or "exact_int8" not in self.runtime.options:
            return
        if not overflow.may_overflow(self.model.read_bytes()):
            return
        # It stands last: what it costs the worker, even its life, changes no other figure.
        with contextlib.suppress(WorkerFailed):
            reply = self._worker.ask(
                "kernels", self._task.timeout_s, count=overflow.COMPARED_IMAGES
            )
            exact, fast = wire.unpack(reply["exact"]), wire.unpack(reply["fast"])
            found = divergence(exact, fast)
            self._kernels = {
                "images": len(exact),
                "agreement": found.agreement,
                "kl_divergence": found.kl_divergence,
            }

    def fail(self, failure: Exception) -> None:
        """Let the failure be the error of the row, and stop."""
        self.error = plain(str(failure).removeprefix(f"{self._path}: "))[:LONGEST_ERROR]
        self.stop()

    def stop(self) -> None:
        """End the worker; nothing to do when there is none."""
        for worker in filter(None, [self._worker, *self._helpers]):
            worker.close()
        self._worker, self._helpers = None, []

    @property
    def unclassified(self) -> bool:
        """Whether there is something left for `classify_rest`."""
        return self.error is None and not self._classified.all()

    @property
    def right(self) -> np.ndarray | None:
        """Whether each image was classified rightly, bool; None where labels mean nothing."""
        return self.predicted == self._task.labels if self._knows_cifar10 else None

    @property
    def predicted(self) -> np.ndarray:
        """The class of each image."""
        return self._probabilities.argmax(axis=1)

    def row(self, monitor: Monitor, marks: list[str]) -> Row:
        """What was measured, or why it was not.

        Args:
            monitor: of the host.
            marks: why its figures may not hold.
        """
        known = {
            "model": str(self.model),
            "runtime": self.runtime.name,
            "runtime_version": self._facts.get("runtime_version"),
            "host": self._host.name,
            "threads": self.options.threads,
            "options": self.options.given(),
            "scenario": self._task.settings.scenario,
            "size_bytes": self._size_bytes,
        }
        if self.error:
            return Row(**known, error=self.error)
        seed = self._task.settings.seed
        latencies_ns = np.concatenate(self._blocks)
        intervals_ms = latency.latency_intervals(self._blocks, seed)
        timed = len(latencies_ns) * self._batch
        measured = {
            "latency_ms": latency.latency_summary(latencies_ns),
            "latency_interval_ms": intervals_ms,
            "parts_ms": {
                name: float(np.median(part)) / 1e6
                for name, part in zip(
                    ("set_input", "invoke", "get_output"),
                    np.concatenate(self._parts_ns, axis=1),
                    strict=True,
                )
            },
            "block_p50_ms": [
                None if block is None else float(np.median(block)) / 1e6 for block in self.blocks_ns
            ],
            "timed_inferences": len(latencies_ns),
            "timed_s": self.timed_s,
            "settled": self._is_exact(intervals_ms["p50"]),
            "warm_up": self._warm_up,
            "images_per_s": timed / self.timed_s,
            "marks": marks,
        }
        if self._energy:
            joules, seconds, images = map(sum, zip(*self._energy, strict=True))
            measured |= {
                "energy_source": monitor.energy_source,
                "energy_mj_per_image": 1e3 * joules / images,
                "power_w": joules / seconds,
                "idle_power_w": monitor.idle_w,
            }
        facts = {name: self._facts[name] for name in FACTS}
        facts["model_rss_mib"] = (
            facts["peak_rss_mib"] - facts["runtime_rss_mib"]
            if facts["runtime_rss_mib"] is not None
            else None
        )
        asked = self._task.settings.options.batch
        if asked and asked != self._batch:
            other = f"takes {self._batch} images a call, whatever --batch {asked} says"
            facts["warning"] = "; ".join(filter(None, [facts["warning"], other]))
        facts["overflow"] = self._kernels
        if self._kernels and self._kernels["kl_divergence"] > overflow.MAX_DIVERGENCE:
            measured["marks"] = [*marks, OVERFLOW]
            facts["warning"] = "; ".join(filter(None, [facts["warning"], self._overflow_warning]))
        found = {}
        if self._knows_cifar10:
            found = accuracy(self._probabilities, self._task.labels)
        return Row(**known, **measured, **facts, **found, batch=self._batch)

    @property
    def _overflow_warning(self) -> str:
        agreement, images = self._kernels["agreement"], self._kernels["images"]
        return (
            f"its int8 weights overflow on this processor: {self.runtime.name} agrees with its own "
            f"exact kernels on {agreement:.1%} of {images} training images; export it with "
            "edgecifar, or quantize it with reduce_range"
        )

    def _is_exact(self, ends: list[float] | None) -> bool:
        """Whether an interval is as narrow as was asked for; `settled` only estimates that."""
        return ends is not None and ends[1] <= ends[0] * (1 + self._task.settings.precision) ** 2

    @property
    def _blocks(self) -> list[np.ndarray]:
        return [block for block in self.blocks_ns if block is not None]

    @property
    def _free(self) -> bool:
        """Whether it takes any number of images, and so is done sooner with many."""
        return self._facts["batch"] is None

    @property
    def _knows_cifar10(self) -> bool:
        return self._facts.get("classes") == len(cifar10.CLASSES)

    @property
    def _call_s(self) -> float:
        """About how long a call takes, as far as the warm-up told."""
        return self._warm_up["seconds"] / self._warm_up["inferences"]

    @property
    def _image_s(self) -> float:
        return self.timed_s / (sum(map(len, self._blocks)) * self._batch)

    @property
    def _seconds_left(self) -> float:
        return int((~self._classified).sum()) * self._image_s

    def _load(self, worker: WorkerProcess, normalization: str) -> dict:
        """Have a worker load the model, and tell what it found."""
        settings = self._task.settings
        said = runtimes.metadata(self.model)
        return worker.ask(
            "load",
            self._task.timeout_s,
            runtime=self.runtime.name,
            model=self._path,
            options=dataclasses.asdict(self.options),
            images=self._task.images,
            records=self._task.records,
            sample=self._task.sample,
            metadata=said.decode(errors="replace") if isinstance(said, bytes) else said,
            normalization=normalization,
            labels=list(settings.labels) if settings.labels else None,
        )

    def _hire(self, count: int) -> None:
        """Start more workers with the same model; those that can be had."""
        self._hired = True
        self._helpers = [WorkerProcess(self._host, self._python) for _ in range(count)]
        with ThreadPoolExecutor(count) as pool:
            known = self._facts["normalization"]
            loaded = [(one, pool.submit(self._load, one, known)) for one in self._helpers]
            try:
                for worker, answer in loaded:
                    self._take(worker, answer)
            except BaseException:
                self.stop()
                raise

    def _take(self, worker: WorkerProcess, answer: Future) -> None:
        """Wait for what a worker does; without a helper that fails it goes on."""
        try:
            answer.result()
        except WorkerFailed as failure:
            if worker is self._worker:
                self.fail(failure)
            elif worker in self._helpers:
                self._helpers.remove(worker)
                worker.close()

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Place and number of images one after the other that are not classified yet."""
        most = min(CLASSIFIED_AT_ONCE, CLASSIFIED_S / self._image_s)
        most = max(int(most) // self._batch, 1) * self._batch
        left = np.flatnonzero(~self._classified)
        for stretch in np.split(left, np.flatnonzero(np.diff(left) > 1) + 1):
            for begin in range(0, len(stretch), most):
                yield int(stretch[begin]), min(most, len(stretch) - begin)

    def _classify(self, worker: WorkerProcess, stretch: tuple[int, int]) -> None:
        begin, count = stretch
        reply = worker.ask("classify", self._task.timeout_s, begin=begin, count=count)
        self._keep(begin, wire.unpack(reply["probabilities"]))

    def _keep(self, begin: int, probabilities: np.ndarray) -> None:
        """Keep the answers to images; one that comes again is the same."""
        places = np.arange(begin, begin + len(probabilities)) % len(self._classified)
        self._probabilities[places] = probabilities
        self._classified[places] = True

    def _ask(self, do: str, **arguments: object) -> dict:
        """Ask the worker; when it fails, that becomes the error of the row, and {} the reply."""
        if self.error:
            return {}
        try:
            return self._worker.ask(do, self._task.timeout_s, **arguments)
        except WorkerFailed as failure:
            self.fail(failure)
            return {}
