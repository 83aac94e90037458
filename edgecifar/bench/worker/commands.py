"""The process that runs one model in one runtime: `python -m edgecifar.bench.worker`.

It reads commands from stdin and writes replies to stdout, one JSON object a line. A command is
`{"do": NAME, ...}` with the arguments of the method of that name of `Worker`; the reply is what
the method returns, or `{"error": LINE}`. The process ends when its stdin ends, so it never outlives
its parent.

A worker without a model is the monitor of its machine: it describes the machine and reads its
sensors while other workers measure. A worker needs the standard library, numpy and its runtime,
nothing else: its interpreter may differ from the parent's, and be on another machine. Durations and
counts that shape a measurement come with the commands; see `settings.Timing`.
"""

import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import TextIO, TypeVar

import numpy as np

from edgecifar import runtimes
from edgecifar.bench.worker import energy, machine, sensors, wire
from edgecifar.data.cifar10 import CLASSES, IMAGE_SHAPE, RECORD_BYTES, pixels_of
from edgecifar.errors import UserError
from edgecifar.metrics.latency import running_median_settled
from edgecifar.runtimes import Runtime, Session, environments

PR_SET_PDEATHSIG = 1
OOM_SCORE_ADJ_MAX = 1_000

T = TypeVar("T")


class Worker:
    """The commands. Times are in milliseconds unless a name says otherwise."""

    def runtimes(self) -> dict:
        """The version of each runtime that this interpreter can import, None when unknown."""
        return {
            r.name: environments.version_of(r)
            for r in runtimes.RUNTIMES
            if environments.importable(r)
        }

    def machine(self) -> dict:
        """See `machine.machine`."""
        return machine.machine()

    def sensors(self, pids: list[int], work_s: float) -> dict:
        """See `sensors.read`; `pids` are the workers on this machine."""
        return sensors.read(work_s, pids=pids)

    def energy_source(self, power_poll_s: float, idle_s: float) -> dict:
        """Find what counts this machine's energy, and measure its power at rest.

        Args:
            power_poll_s: time between two readings of a sensor of power, seconds.
            idle_s: how long to measure the power at rest, seconds.

        Returns:
            `source`, its name, and `idle_w`, watts; each None when there is none.
        """
        self._meter = energy.meter(power_poll_s)
        if self._meter is None:
            return {"source": None, "idle_w": None}
        return {"source": self._meter.source, "idle_w": self._meter.idle_w(idle_s)}

    def energy_begin(self) -> dict:
        """Begin to count energy."""
        self._counting.begin()
        return {}

    def energy_end(self) -> dict:
        """The energy since `energy_begin`, `joules`, and the time, `seconds`."""
        joules, seconds = self._counting.end()
        return {"joules": joules, "seconds": seconds}

    @property
    def _counting(self) -> energy.Meter:
        assert self._meter is not None, "nothing counts the energy here"
        return self._meter

    def load(
        self,
        runtime: str,
        model: str,
        options: dict,
        images: list[int],
        records: str,
        sample: str,
        metadata: str | None = None,
        normalization: str = "auto",
        labels: list[str] | None = None,
        output: str | None = None,
        resize: str = "squash",
        check_normalization: bool = True,
    ) -> dict:
        """Import the runtime, open the file, run it once, and time each of the three.

        Args:
            runtime: its name.
            model: path of the file.
            options: see `runtimes.Options`.
            images: numbers of the test images, in the order in which they are classified.
            records: path of the CIFAR-10 record file that has these images.
            sample: path of a record file of training images, on which the normalization is found.
            metadata: the file's own metadata, where its runtime cannot read it.
            normalization: of the pixels; see `runtimes.Classifier`.
            labels: the order of the file's classes, None for CIFAR-10's own.
            output: see `runtimes.Classifier`, as `resize` and `check_normalization`.
            resize: see there.
            check_normalization: see there.

        Returns:
            The process id, the times, the memory, and the file's contract.

        Raises:
            UserError: the file cannot be opened or is not a classifier of images.
        """
        die_first()
        chosen = runtimes.named(runtime)
        self._records = os.open(records, os.O_RDONLY)
        self._images = np.array(images)
        _, import_ms = timed_ms(lambda: importlib.import_module(chosen.module))
        runtime_rss_mib = resident_mib("VmRSS")
        session, load_ms = timed_ms(lambda: self._open(chosen, model, options))
        self._session = session
        _, first_ms = timed_ms(lambda: run_once(session, options.get("batch") or 1))
        # Read before the training images are loaded, which only the measurement needs.
        peak_rss_mib = resident_mib("VmHWM") or highest_rss_mib()
        self._sample = sample_of(Path(sample))
        self._classifier = runtimes.Classifier(
            session,
            Path(model),
            metadata,
            normalization,
            labels,
            self._sample,
            output,
            resize,
            check_normalization,
        )
        found = self._classifier
        self._exact = functools.partial(
            runtimes.open_classifier,
            Path(model),
            runtimes.Options(**options | {"exact_int8": True}),
            chosen,
            found.normalization,
            labels,
            output=found.output_name,
            resize=resize,
        )
        return {
            "pid": os.getpid(),  # over ssh the parent sees the pid of ssh
            "runtime_version": environments.version_of(chosen),
            "import_ms": import_ms,
            "runtime_rss_mib": runtime_rss_mib,
            "peak_rss_mib": peak_rss_mib,
            "load_ms": load_ms,
            "first_ms": first_ms,
            "batch": found.batch,
            "classes": found.classes,
            "input": {
                "dtype": found.input.dtype,
                "shape": list(found.input.shape),
                "layout": found.layout,
            },
            "normalization": found.normalization,
            "normalization_tried": found.normalization_tried,
            "output": found.output,
            "output_name": found.output_name,
            "resize": resize if found.size < IMAGE_SHAPE[0] else None,
            "labels": found.labels,
            "warning": found.warning,
        }

    def warm_up(self, batch: int, limit_s: float, check_s: float) -> dict:
        """Classify until the running median of the latency settles.

        Args:
            batch: images a call.
            limit_s: stop after this time in any case, seconds.
            check_s: time between two checks whether the median has settled, seconds.

        Returns:
            `inferences`, `seconds`, and whether it `settled`.
        """
        images = self._read(np.arange(batch))
        latencies_ns: list[int] = []
        begin = checked = after = perf_counter_ns()
        settled = False
        while not settled and after < begin + limit_s * 1e9:
            before = perf_counter_ns()
            self._classifier.classify(images)
            after = perf_counter_ns()
            latencies_ns.append(after - before)
            if after > checked + check_s * 1e9:
                settled, checked = running_median_settled(latencies_ns), after
        seconds = (after - begin) / 1e9
        return {"inferences": len(latencies_ns), "seconds": seconds, "settled": settled}

    def time(
        self, begin: int, batch: int, limit_s: float, wake_s: float, chunk_images: int
    ) -> dict:
        """Classify one image after the other, or one batch after the other, and time each call.

        Args:
            begin: the place of the first image in `images` of `load`; after the last comes the
                first.
            batch: images a call.
            limit_s: begin no call after this time, seconds; at least one call is timed.
            wake_s: calls that begin in this first time, seconds, are not timed: they fill the
                caches.
            chunk_images: images to read at once, between timed calls.

        Returns:
            `parts_ns`, int64 (3, calls): setting the input, from pixels on; invoking; getting the
            output, up to probabilities. `probabilities` of all calls, timed or not; see `answers`.
            Both are packed.
        """
        found = self._classifier
        set_input, invoke = found.session.set_input, found.session.invoke
        get_output = found.session.get_output
        chunk = max(chunk_images // batch, 1) * batch
        parts_ns, probabilities = [], []
        gc.disable()
        try:
            awake = perf_counter_ns() + wake_s * 1e9
            end = awake + limit_s * 1e9
            over = False
            while not over:
                images = self._read(np.arange(begin, begin + chunk))
                begin += chunk
                for i in range(0, chunk, batch):
                    call = images[i : i + batch]
                    before = perf_counter_ns()
                    set_input(found.prepare(call))
                    ready = perf_counter_ns()
                    invoke()
                    invoked = perf_counter_ns()
                    given = found.probabilities(get_output())
                    after = perf_counter_ns()
                    probabilities.append(np.array(given))
                    if before < awake:
                        continue
                    parts_ns.append((ready - before, invoked - ready, after - invoked))
                    if after > end:
                        over = True
                        break
        finally:
            gc.enable()
        return {
            "parts_ns": wire.pack(np.array(parts_ns, np.int64).T),
            "probabilities": wire.pack(answers(np.concatenate(probabilities))),
        }

    def classify(self, begin: int, count: int) -> dict:
        """Classify `count` images from place `begin` on: `probabilities`, see `answers`, packed."""
        images = self._read(np.arange(begin, begin + count))
        return {"probabilities": wire.pack(answers(self._classifier.classify(images)))}

    def kernels(self, count: int) -> dict:
        """Classify training images with the runtime's int8 kernels and with its exact ones.

        Args:
            count: how many images.

        Returns:
            The probabilities, float32 (count, 10), as `fast` and `exact`, packed.
        """
        images = self._sample[0][:count]
        fast = answers(self._classifier.classify(images))
        exact = answers(self._exact().classify(images))
        return {"fast": wire.pack(fast), "exact": wire.pack(exact)}

    def _open(self, runtime: Runtime, model: str, options: dict) -> Session:
        """Open a file, without the batch of the options where it refuses that."""
        asked = runtimes.Options(**options)
        try:
            return runtime.session(Path(model), asked)
        except UserError:
            if not asked.batch:
                raise
            return runtime.session(Path(model), runtimes.Options(**options | {"batch": None}))

    def _read(self, places: np.ndarray) -> np.ndarray:
        """Read images, uint8 (n, 32, 32, 3), contiguous.

        They are not memory-mapped: mapped pages would count as this process's memory.
        """
        numbers = self._images[places % len(self._images)].tolist()
        read = [os.pread(self._records, RECORD_BYTES, n * RECORD_BYTES) for n in numbers]
        records = np.frombuffer(b"".join(read), np.uint8).reshape(len(read), RECORD_BYTES)
        return np.ascontiguousarray(pixels_of(records))


def main() -> None:
    """Answer commands until stdin ends."""
    end_with_parent()
    replies = take_stdout()
    worker = Worker()
    for line in sys.stdin:
        reply = obey(worker, json.loads(line))
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def obey(worker: Worker, command: dict) -> dict:
    """Do one command; an error becomes the one line that the row shows."""
    try:
        return getattr(worker, command.pop("do"))(**command)
    except Exception as error:
        traceback.print_exc()  # the parent shows it with --debug
        if isinstance(error, UserError):
            return {"error": str(error)}
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        return {"error": f"{type(error).__name__}: {reason}"}


def run_once(session: Session, batch: int) -> None:
    """Run a session on zeros, on `batch` images where the file takes any number."""
    found = runtimes.layout_of(session.inputs[0].shape) if len(session.inputs) == 1 else None
    if found is None:
        return  # not a classifier of images: `Classifier` reports that
    (taken,), (layout, side) = session.inputs, found
    shape = (3, side, side) if layout == "NCHW" else (side, side, 3)
    session.set_input(np.zeros((taken.shape[0] or batch, *shape), taken.dtype))
    session.invoke()
    session.get_output()


def sample_of(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The images, uint8 (n, 32, 32, 3), and labels, uint8 (n,), of a record file."""
    records = np.fromfile(path, np.uint8).reshape(-1, RECORD_BYTES)
    return np.ascontiguousarray(pixels_of(records)), records[:, 0]


def answers(probabilities: np.ndarray) -> np.ndarray:
    """Check probabilities, (n, classes), and convert them for the parent.

    Returns:
        float32 (n, 10). When the classes are not CIFAR-10's, (n, 0): there may be millions of
        classes, and the parent only measures time then.

    Raises:
        UserError: a probability is infinite or NaN, so there is no most probable class.
    """
    if not np.isfinite(probabilities).all():
        raise UserError("gives probabilities that are not finite numbers")
    known = probabilities.shape[1] == len(CLASSES)
    return probabilities.astype(np.float32) if known else np.empty((len(probabilities), 0), "f4")


def timed_ms(act: Callable[[], T]) -> tuple[T, float]:
    """What `act()` returns, and how long it took, milliseconds."""
    before = perf_counter_ns()
    value = act()
    return value, (perf_counter_ns() - before) / 1e6


def resident_mib(field: str) -> float | None:
    """`VmRSS` (now) or `VmHWM` (the peak) of this process, MiB; None where there is no /proc."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    return None


def highest_rss_mib() -> float:
    """The peak, MiB, where there is no /proc. On Linux it would include the parent's peak."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def take_stdout() -> TextIO:
    """Keep stdout for the replies, and send to stderr what the runtime prints to stdout."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


def die_first() -> None:
    """Ask Linux to kill this process first when memory runs out: a model may need any amount."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJ_MAX))


def end_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, even inside an endless inference."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
