"""The process that runs one model in one runtime: `python -m edgecifar.bench.worker`.

It reads commands from stdin and writes replies to stdout, one JSON object a line. A command is
`{"do": NAME, ...}` with the arguments of the method of that name of `Worker`; the reply is what
the method returns, or `{"error": LINE}`. It ends with its stdin, so it outlives no parent.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from time import perf_counter_ns
from typing import TextIO

import numpy as np

from edgecifar import runtimes
from edgecifar.data.cifar10 import RECORD_BYTES, pixels_of
from edgecifar.errors import UserError

PR_SET_PDEATHSIG = 1
WARM_UP_IMAGES = 10


class Worker:
    """The commands. Times are in milliseconds unless a name says otherwise."""

    def load(self, runtime: str, model: str, threads: int, records: str) -> dict:
        """Import the runtime, open the file, classify one image; each timed apart.

        Args:
            runtime: its name.
            model: path of the file.
            threads: how many the runtime may use.
            records: path of the CIFAR-10 record file that the images come from.
        """
        chosen = runtimes.named(runtime)
        self._records = os.open(records, os.O_RDONLY)
        image = self._images([0])
        _, import_ms = timed_ms(lambda: importlib.import_module(chosen.module))
        runtime_rss_mib = resident_mib("VmRSS")
        self._session, load_ms = timed_ms(lambda: chosen.open(Path(model), threads))
        _, first_ms = timed_ms(lambda: self._session.classify(image))
        return {
            "import_ms": import_ms,
            "runtime_rss_mib": runtime_rss_mib,
            "load_ms": load_ms,
            "first_ms": first_ms,
            "batch": self._session.batch,
            "classes": self._session.classes,
        }

    def warm_up(self, seconds: float) -> dict:
        """Classify untimed images, one at a time, for so long; one at least."""
        images = self._images(range(WARM_UP_IMAGES))
        end = perf_counter_ns() + seconds * 1e9
        done = 0
        while done == 0 or perf_counter_ns() < end:
            image = done % WARM_UP_IMAGES
            self._session.classify(images[image : image + 1])
            done += 1
        return {"done": done}

    def time(self, indices: list[int], limit_s: float) -> dict:
        """Classify images one at a time and time each.

        Args:
            indices: of the images in the record file.
            limit_s: begin no image after so long; the reply may be shorter than `indices`.

        Returns:
            `latency_ns`, from pixels to probabilities, and `predicted`, the class, of each image.
        """
        images = self._images(indices)
        classify = self._session.classify
        classify(images[:1])  # a worker that has just waited for its turn has cold caches
        probabilities = np.empty((len(images), self._session.classes), np.float32)
        latency_ns = []
        end = perf_counter_ns() + limit_s * 1e9
        for i in range(len(images)):
            image = images[i : i + 1]
            before = perf_counter_ns()
            found = classify(image)
            after = perf_counter_ns()
            latency_ns.append(after - before)
            probabilities[i] = found[0]
            if after > end:
                break
        return {"latency_ns": latency_ns, "predicted": classes(probabilities[: len(latency_ns)])}

    def classify(self, indices: list[int]) -> dict:
        """Classify images in one batch, untimed; returns the class `predicted` for each."""
        return {"predicted": classes(self._session.classify(self._images(indices)))}

    def memory(self) -> dict:
        """The most resident memory that this process has had, in MiB."""
        return {"peak_rss_mib": resident_mib("VmHWM") or peak_rss_mib()}

    def _images(self, indices) -> np.ndarray:
        """Read images, uint8 (n, 32, 32, 3), contiguous.

        Read, not mapped: the pages of a map would count as this process's memory.
        """
        read = [os.pread(self._records, RECORD_BYTES, index * RECORD_BYTES) for index in indices]
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
    """Do one command; whatever goes wrong becomes the one line that the row will show."""
    try:
        return getattr(worker, command.pop("do"))(**command)
    except UserError as error:
        return {"error": str(error)}
    except Exception as error:
        traceback.print_exc()
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        return {"error": f"{type(error).__name__}: {reason}"}


def classes(probabilities: np.ndarray) -> list[int]:
    """The most probable class of each row of float32 (n, classes).

    Raises:
        UserError: some are not numbers, and have no most probable class.
    """
    if not np.isfinite(probabilities).all():
        raise UserError("gives probabilities that are not finite numbers")
    return probabilities.argmax(axis=1).tolist()


def timed_ms(act) -> tuple[object, float]:
    """What `act()` returns, and how long it took."""
    before = perf_counter_ns()
    value = act()
    return value, (perf_counter_ns() - before) / 1e6


def resident_mib(field: str) -> float | None:
    """`VmRSS` (now) or `VmHWM` (the peak) of this process, None where there is no /proc."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    return None


def peak_rss_mib() -> float:
    """The peak where there is no /proc; on Linux this one would begin at the parent's size."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def take_stdout() -> TextIO:
    """Keep stdout for replies, and send what the runtime prints there to stderr."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


def end_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, even inside an endless inference."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
