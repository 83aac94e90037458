"""One model in one runtime with one number of threads: the workers that measure it."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgecifar import provenance
from edgecifar.bench.classification import Answers, Pool
from edgecifar.bench.hosts.host import Host
from edgecifar.bench.hosts.process import WorkerFailed, WorkerProcess
from edgecifar.bench.measurement import Measurement
from edgecifar.bench.monitor import Monitor
from edgecifar.bench.results.result import Row
from edgecifar.bench.task import Task
from edgecifar.bench.worker import wire
from edgecifar.data import cifar10
from edgecifar.errors import UserError, plain
from edgecifar.graphs.parts import sha256, size_bytes
from edgecifar.metrics.accuracy import accuracy
from edgecifar.metrics.divergence import divergence
from edgecifar.runtimes import Options, Runtime

LONGEST_ERROR = 500  # characters: a runtime may print pages
# Facts about a file that one worker finds on training images, and the others then take over.
NORMALIZATION_FACTS = ("normalization", "normalization_tried", "warning")


class Case:
    """One model in one runtime with one number of threads.

    Attributes:
        model: path of the file.
        runtime: in which it runs.
        options: of the runtime.
        error: why it cannot be measured, one line; None while nothing has failed.
    """

    def __init__(
        self,
        model: Path,
        runtime: Runtime,
        options: Options,
        host: Host,
        task: Task,
        python: str | None = None,
        error: str | None = None,
    ) -> None:
        """Prepare; no process starts yet.

        Args:
            model: path of the file.
            runtime: in which it runs; it need not be installed.
            options: of the runtime.
            host: where it runs.
            task: the images and how to measure.
            python: the interpreter on the host that has the runtime; None is the host's own.
            error: why it cannot run, where that is known before a worker starts.
        """
        self.model = model
        self.runtime = runtime
        self.options = options
        self.error = error
        self._host = host
        self._task = task
        self._settings = task.settings
        self._timing = task.settings.timing
        self._python = python
        self._size_bytes = size_bytes(model)
        self._sha256 = sha256(model)
        self._path = str(model)  # on the host
        self._measured = Measurement()
        self._worker: WorkerProcess | None = None
        self._pool: Pool | None = None
        self._next = 0  # place of the image that the next timed call begins with
        self._answers = Answers(len(task.images), len(cifar10.CLASSES))

    @property
    def label(self) -> str:
        """What the progress calls it."""
        threads = f", {self.options.threads} threads" if self.options.threads > 1 else ""
        return f"{self.model.name} in {self.runtime.name}{threads}"

    @property
    def pid(self) -> int | None:
        """The process id of its worker on the host; None where none runs."""
        return self._measured.facts.get("pid") if self._worker else None

    @property
    def image_ns(self) -> list[np.ndarray | None]:
        """See `Measurement.image_ns`."""
        return self._measured.image_ns

    @property
    def settled(self) -> bool:
        """Whether the median is as precise as the settings ask, by a quick estimate."""
        return self._measured.half_width <= self._settings.precision

    @property
    def wants_turn(self) -> bool:
        """Whether it needs another timed block.

        A model of a fixed batch also continues until all images are classified: a timed call takes
        no longer than an untimed one.
        """
        if self.error or self._measured.timed_s >= self._settings.max_seconds:
            return False
        if not self._enough or not self.settled:
            return True
        return not self._free and self._answers.missing > 0

    @property
    def progress(self) -> float:
        """The share of its work that is done, 0 to 1; an estimate."""
        if self.error:
            return 1.0
        timed = self._measured.timed_s / self._settings.max_seconds if self.wants_turn else 1.0
        return (timed + self._answers.share) / 2

    def start(self, known: dict | None = None) -> None:
        """Start the worker and load the model.

        Args:
            known: `normalization_facts` of another case of the same file, so that they are found
                only once.
        """
        known = known or {}
        try:
            self._path = self._host.send(self.model)
            self._worker = self._new_worker()
            self._measured.facts = self._load(self._worker, known.get("normalization")) | known
        except (UserError, WorkerFailed) as failure:
            self.fail(failure)
            return
        self._measured.batch = self._measured.facts["batch"] or self.options.batch or 1
        if not self._knows_cifar10:  # only its time is measured
            self._answers = Answers(len(self._task.images), 0)

    @property
    def normalization_facts(self) -> dict | None:
        """What was found about the file's normalization; None where nothing was tried."""
        if self.error or not self._measured.facts["normalization_tried"]:
            return None
        return {name: self._measured.facts[name] for name in NORMALIZATION_FACTS}

    def warm_up(self) -> None:
        """Classify until the latency settles or the time limit is reached."""
        self._measured.warm_up = self._ask(
            "warm_up",
            batch=self._measured.batch,
            limit_s=min(self._timing.warm_up_limit_s, self._settings.max_seconds),
            check_s=self._timing.settle_check_s,
        )

    def take_turn(self) -> None:
        """Time one block."""
        call_s = self._measured.warm_up_call_s
        wanted_s = min(self._timing.block_calls * call_s, self._timing.longest_block_s)
        parts_ns, _ = self._time(max(self._timing.block_s, wanted_s))
        if parts_ns is None:
            self.sit_out()
            return
        self._measured.add_block(parts_ns)

    def sit_out(self) -> None:
        """Take no part in a round."""
        self._measured.blocks_ns.append(None)

    def count_energy(self, monitor: Monitor) -> None:
        """Classify as in a block, and count the energy instead of the time."""
        monitor.begin_energy()
        _, images = self._time(self._timing.energy_s)
        spent = monitor.end_energy()
        if images and spent:
            self._measured.energy.append((*spent, images))

    def classify_rest(self, jobs: int) -> None:
        """Classify, untimed, some of the images that no timed call reached.

        Args:
            jobs: how many workers may share them.
        """
        image_s = self._measured.timed_s / (self._measured.calls * self._measured.batch)
        if self._pool is None:
            self._pool = Pool(self._running, self._answers, self._task.timeout_s)
            worth = round(self._answers.missing * image_s / self._timing.helper_min_s)
            helpers = 0 if self._free else max(min(jobs, worth) - 1, 0)
            self._pool.add_helpers(
                helpers,
                self._new_worker,
                lambda w: self._load(w, self._measured.facts["normalization"]),
            )
        most = min(self._timing.classify_images, self._timing.classify_s / image_s)
        try:
            self._pool.classify(max(int(most) // self._measured.batch, 1) * self._measured.batch)
        except WorkerFailed as failure:
            self.fail(failure)

    def check_kernels(self, may_overflow: Callable[[Path], bool]) -> None:
        """Find out whether the file's int8 weights overflow on this processor.

        Does nothing where they cannot, and where the runtime has no exact kernels to compare with
        or runs only those.

        Args:
            may_overflow: whether the weights in a file can overflow on some processor.
        """
        if self.error or self.options.exact_int8 is not None or not self._knows_cifar10:
            return
        if "exact_int8" not in self.runtime.options:
            return
        if not may_overflow(self.model):
            return
        # This comes last: even if it ends the worker, the other figures stay.
        with contextlib.suppress(WorkerFailed):
            reply = self._running.ask(
                "kernels", self._task.timeout_s, count=self._timing.overflow_images
            )
            exact, fast = wire.unpack(reply["exact"]), wire.unpack(reply["fast"])
            found = divergence(exact, fast)
            self._measured.overflow = {
                "images": len(exact),
                "agreement": found.agreement,
                "kl_divergence": found.kl_divergence,
            }

    def fail(self, failure: Exception) -> None:
        """Make a failure the error of the row, and stop."""
        self.error = plain(str(failure).removeprefix(f"{self._path}: "))[:LONGEST_ERROR]
        self.stop()

    def stop(self) -> None:
        """Stop its workers; does nothing when there is none."""
        if self._pool:
            self._pool.close()
        if self._worker:
            self._worker.close()
        self._pool, self._worker = None, None

    @property
    def unclassified(self) -> bool:
        """Whether `classify_rest` has images left."""
        return self.error is None and self._answers.missing > 0

    @property
    def right(self) -> np.ndarray | None:
        """Whether each answer is right, bool (images,); None without CIFAR-10's classes."""
        return self.predicted == self._task.labels if self._knows_cifar10 else None

    @property
    def predicted(self) -> np.ndarray:
        """The class of each image, int64 (images,)."""
        return self._answers.predicted

    def row(self, monitor: Monitor, host_marks: list[str]) -> Row:
        """What was measured, or why it was not.

        Args:
            monitor: of the host.
            host_marks: why figures measured on that host may not hold; see `sensors.marks`.
        """
        identity: dict[str, Any] = {
            "model": str(self.model),
            "runtime": self.runtime.name,
            "runtime_version": self._measured.facts.get("runtime_version"),
            "host": self._host.name,
            "threads": self.options.threads,
            "options": self.options.given(),
            "scenario": self._settings.scenario,
            "size_bytes": self._size_bytes,
            "sha256": self._sha256,
        }
        if self.error:
            return Row(**identity, error=self.error)
        figures = self._measured.figures(self.runtime.name, self._settings, monitor, host_marks)
        if contradiction := provenance.contradiction(self.model):
            figures["warning"] = "; ".join(filter(None, (figures["warning"], contradiction)))
        if self._knows_cifar10:
            figures |= accuracy(self._answers.probabilities, self._task.labels)
        return Row(**identity, **figures)

    @property
    def _enough(self) -> bool:
        measured = self._measured
        return measured.calls >= self._timing.min_calls and measured.timed_s >= self._timing.min_s

    @property
    def _free(self) -> bool:
        """Whether a call takes any number of images: then large batches classify faster."""
        return self._measured.facts["batch"] is None

    @property
    def _knows_cifar10(self) -> bool:
        return self._measured.facts.get("classes") == len(cifar10.CLASSES)

    @property
    def _running(self) -> WorkerProcess:
        assert self._worker is not None, "the case is not started, or failed"
        return self._worker

    def _new_worker(self) -> WorkerProcess:
        return WorkerProcess(self._host, self._python)

    def _load(self, worker: WorkerProcess, normalization: str | None) -> dict:
        return self._task.load(
            worker, self.runtime, self.model, self.options, self._path, normalization
        )

    def _time(self, limit_s: float) -> tuple[np.ndarray | None, int]:
        """Let the worker time calls.

        Args:
            limit_s: no call begins after this time.

        Returns:
            The times of the parts of each call, int64 (3, calls), nanoseconds, or None when the
            worker failed; and how many images were classified.
        """
        reply = self._ask(
            "time",
            begin=self._next,
            batch=self._measured.batch,
            limit_s=limit_s,
            wake_s=self._timing.wake_s,
            chunk_images=self._timing.chunk_images,
        )
        if not reply:
            return None, 0
        probabilities = wire.unpack(reply["probabilities"])
        self._answers.keep(self._next, probabilities)
        self._next += len(probabilities)
        return wire.unpack(reply["parts_ns"]), len(probabilities)

    def _ask(self, do: str, **arguments: object) -> dict:
        """Ask the worker; its failure becomes the error of the row, and the reply is {}."""
        if self.error:
            return {}
        try:
            return self._running.ask(do, self._task.timeout_s, **arguments)
        except WorkerFailed as failure:
            self.fail(failure)
            return {}
