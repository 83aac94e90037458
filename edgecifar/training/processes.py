"""Processes on one host or several that share each batch of a training, under JAX.

All of them do the same, in step: each trains on its part of a batch with equal weights, and judges
every epoch. Process 0 keeps the run folder, the others a temporary one.
"""

import contextlib
import ctypes
import dataclasses
import hashlib
import importlib
import json
import os
import pickle
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgecifar.errors import CheckFailed, UserError, plain
from edgecifar.models.keras_loader import load_keras
from edgecifar.provenance import RECIPE
from edgecifar.training.devices import own_place, use_devices
from edgecifar.training.run_folder import STATE

# How long the processes wait for one another at the start and at the end.
MEETING_S = 300
# What JAX and the libraries below it say when another process does not answer.
LOST = re.compile(
    r"gloo [a-z-]+ failed|nccl|coordination.?service|distributed service|heartbeat|socket closed"
    r"|connection (reset|refused|closed)|DEADLINE_EXCEEDED",
    re.IGNORECASE,
)
PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclasses.dataclass(frozen=True)
class Place:
    """One process among those that share a training.

    Attributes:
        coordinator: HOST:PORT where process 0 listens and the others find it.
        count: how many processes there are.
        index: of this one, from 0.
        heartbeat_s: seconds without a sign of life after which a process is lost.
    """

    coordinator: str
    count: int
    index: int
    heartbeat_s: int


def place(
    coordinator: str | None, processes: int | None, process: int | None, heartbeat: int
) -> Place | None:
    """The place that options give; None without any.

    Raises:
        UserError: one of them is missing, or is not what it should be.
    """
    if (coordinator, processes, process) == (None, None, None):
        return None
    if coordinator is None or processes is None or process is None:
        raise UserError("`coordinator`, `processes` and `process` go together")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UserError(f"`coordinator={coordinator}`: expected HOST:PORT of process 0")
    if not 0 <= process < processes:
        raise UserError(f"`process={process}`: expected 0 to {processes - 1}")
    return Place(coordinator, processes, process, heartbeat)


def train_together(own: Place, folder: Path, resumed: bool, work: Callable[[Path], None]) -> None:
    """Take part in a training, in a child process.

    JAX aborts a process when another one is lost, after a trace of C++ functions. So the work is
    done in a child process, which may be aborted, and this one says what happened.

    Args:
        own: the place of this process.
        folder: the run folder of process 0.
        resumed: whether it is continued.
        work: called in the child process with the run folder that it is to use.

    Raises:
        UserError: another process is lost, or did not come; or what `work` raises.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as log:
        if not (child := os.fork()):
            os.close(reading)
            _take_part(own, folder, resumed, work, writing, log)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe, _interrupts_for(child):
            sent = pipe.read()
            _, status = os.waitpid(child, 0)
        log.seek(0)
        said = log.read().decode(errors="replace")
    ended = pickle.loads(sent) if sent else ChildProcessError(f"{_ending(status)}: {said}")
    if ended is None:
        return
    if not isinstance(ended, KeyboardInterrupt | UserError | CheckFailed):
        if LOST.search(str(ended)):
            raise UserError(_lost(own, folder)) from ended
        if not sent:
            raise UserError(plain(f"the training process {_ending(status)}"))
    raise ended


def check_same(facts: dict) -> None:
    """Check that all processes train the same.

    Args:
        facts: what determines the run, plain JSON values.

    Raises:
        UserError: they are not the same in every process.
    """
    _, count = own_place()
    if count == 1:
        return
    from jax.experimental import multihost_utils

    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).digest()
    each = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8))
    others = [index for index in range(1, count) if np.any(each[index] != each[0])]
    if others:
        named = ", ".join(map(str, others))
        raise UserError(
            f"process {named} was started with another recipe, other images, files, versions or "
            "precision than process 0"
        )


def _take_part(
    own: Place,
    folder: Path,
    resumed: bool,
    work: Callable[[Path], None],
    writing: int,
    log: IO[bytes],
) -> None:
    """Do the work of the child process, send what it raised, and end the process."""
    ended: BaseException | None = None
    try:
        _end_with_parent()
        _show_only_python(log)
        _join(own)
        with _own_folder(own, folder) as used:
            if resumed:
                _share_run(used, own.index)
            work(used)
    except BaseException as error:
        ended = error
        ended.add_note("".join(traceback.format_exception(error)))
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(_pickled(ended))
    if ended is None:
        _jax().distributed.shutdown()  # waits for the others
    os._exit(0)


def _join(own: Place) -> None:
    """Meet the other processes, and share each batch with all their devices.

    Raises:
        UserError: the backend is not JAX, or the processes have different numbers of devices.
    """
    if load_keras().backend.backend() != "jax":
        raise UserError(f"`coordinator={own.coordinator}`: several processes need `backend=jax`")
    jax = _jax()
    jax.config.update("jax_enable_preemption_service", False)  # it would catch SIGTERM
    jax.distributed.initialize(
        own.coordinator,
        own.count,
        own.index,
        cluster_detection_method="deactivate",
        initialization_timeout=MEETING_S,
        heartbeat_timeout_seconds=own.heartbeat_s,
        shutdown_timeout_seconds=MEETING_S,
    )
    own_devices, all_devices = jax.local_device_count(), jax.device_count()
    if own_devices * own.count != all_devices:
        raise UserError(
            f"process {own.index} has {own_devices} of the {all_devices} devices: each needs the "
            "same number (CUDA_VISIBLE_DEVICES limits it)"
        )
    use_devices("all")


def _jax() -> Any:
    """JAX, not all of whose functions have types."""
    return importlib.import_module("jax")


@contextlib.contextmanager
def _own_folder(own: Place, folder: Path) -> Iterator[Path]:
    """The run folder of this process: only that of process 0 is kept."""
    if own.index == 0:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="edgecifar-") as scratch:
        yield Path(scratch) / "run"


def _share_run(folder: Path, index: int) -> None:
    """Give every process the files of process 0 from which a run is resumed."""
    from jax.experimental.multihost_utils import broadcast_one_to_all

    for path in (folder / RECIPE, folder / STATE):
        content = path.read_bytes() if index == 0 and path.is_file() else b""
        size = int(broadcast_one_to_all(np.uint32(len(content))))
        given = np.frombuffer(content, np.uint8) if index == 0 else np.zeros(size, np.uint8)
        received = np.asarray(broadcast_one_to_all(given)) if size else given
        if index and size:
            folder.mkdir(exist_ok=True)
            path.write_bytes(received.tobytes())


def _lost(own: Place, folder: Path) -> str:
    """What the loss of another process means."""
    what = (
        f"another of the {own.count} processes is lost: it ended, did not answer for "
        f"{own.heartbeat_s} s, or did not come within {MEETING_S} s"
    )
    if own.index:
        return f"{what}; start all of them again, with the `resume` that process 0 names"
    if (folder / RECIPE).is_file():
        return f"{what}; continue with `resume={folder}` in all of them"
    return f"{what}; start all of them again"


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with exit code {os.waitstatus_to_exitcode(status)}"


def _pickled(ended: BaseException | None) -> bytes:
    """What the child process sends; an exception that cannot be sent becomes one that can."""
    try:
        pickle.loads(content := pickle.dumps(ended))
    except Exception:
        interrupted = isinstance(ended, KeyboardInterrupt)
        return pickle.dumps(KeyboardInterrupt() if interrupted else RuntimeError(repr(ended)))
    return content


@contextlib.contextmanager
def _interrupts_for(child: int) -> Iterator[None]:
    """Pass Ctrl-C on to a child process, which is in a process group of its own."""
    before = signal.signal(signal.SIGINT, lambda *_: os.kill(child, signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_with_parent() -> None:
    """Leave Ctrl-C to the parent process, and be killed when that is killed."""
    parent = os.getppid()
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _show_only_python(log: IO[bytes]) -> None:
    """Send what C++ libraries print to a log, and what Python prints to where it went."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        before = getattr(sys, name)
        copy, encoding = os.dup(descriptor), before.encoding
        shown = os.fdopen(copy, "w", encoding=encoding, errors=before.errors, buffering=1)
        setattr(sys, name, shown)
        os.dup2(log.fileno(), descriptor)
