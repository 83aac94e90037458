"""Runs a bench: decides which case loads, warms up, is timed and classifies, and when.

Every case, that is a model in a runtime with a number of threads, has a worker process of its own,
and only one of them works at a time. First each case loads, so that its load time and memory are
not disturbed; then each warms up. Then come rounds: in a round every case is timed for a short
block, in an order that the seed shuffles. So a machine that becomes hot or busy slows all cases
equally, and the blocks of a round can be compared. A case takes part until its median is precise
enough or its time is over. Energy is counted after that, in blocks that are not timed. At the end
the images that no call reached are classified, untimed.
"""

import functools
import itertools
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from edgecifar import hardware
from edgecifar.bench.case import Case
from edgecifar.bench.hosts.host import Host
from edgecifar.bench.hosts.opening import open_hosts
from edgecifar.bench.hosts.process import WorkerFailed
from edgecifar.bench.monitor import Monitor
from edgecifar.bench.plan import check_file, plan
from edgecifar.bench.results.marks import of_latency
from edgecifar.bench.results.names import LOCAL
from edgecifar.bench.results.result import Pair, Row, result
from edgecifar.bench.settings import BenchSettings
from edgecifar.bench.task import prepare
from edgecifar.errors import UserError
from edgecifar.graphs import overflow
from edgecifar.metrics import latency
from edgecifar.metrics.classification import agreement, mcnemar
from edgecifar.progress import ShowProgress, silent
from edgecifar.runtimes import environments

# Importing TensorFlow from a cold memory card takes minutes.
TIMEOUT_S = 300.0


def bench(
    models: Sequence[Path],
    runtimes: Sequence[str] | None = None,
    settings: BenchSettings | None = None,
    hosts: Sequence[str | Host] = (),
    progress: ShowProgress = silent,
    timeout_s: float = TIMEOUT_S,
) -> dict:
    """Measure accuracy, latency, load time, memory and energy on the CIFAR-10 test images.

    Args:
        models: paths of `.tflite`, `.onnx`, `.keras` or whole-model `.h5` files, or of SavedModel
            folders of Keras.
        runtimes: names; by default every installed one that opens the file.
        settings: how to measure.
        hosts: the machines to measure on, all at the same time; see `open_hosts`.
        progress: shows one job, `bench`, whose total is 1.0.
        timeout_s: a worker that takes longer for one command is stopped, seconds.

    Returns:
        The result, JSON values; see `results.result`. When one model in one runtime fails, its row
        has the `error`.

    Raises:
        UserError: a file is missing, empty or of an unknown kind; a runtime is unknown;
            `timeout_s` is out of its range; or a host does not answer.
    """
    if not 0 < timeout_s <= threading.TIMEOUT_MAX:
        raise UserError(f"`timeout_s={timeout_s:g}`: give seconds, more than 0")
    started = datetime.now(UTC).isoformat(timespec="seconds")
    settings = settings or BenchSettings()
    models = [Path(model) for model in models]
    for model in models:  # before any worker starts
        check_file(model)
    over = threading.Event()

    def on(place: int) -> tuple[dict, list[Row], list[Pair]]:
        def report(doing: str, done: float) -> None:
            if over.is_set():
                raise _Over
            shares[place] = done
            update(sum(shares.values()) / len(machines), label=doing)

        return _bench_on(machines[place], models, runtimes, settings, report, timeout_s)

    with progress("bench", 1.0) as update, open_hosts(hosts, update=update) as machines:
        shares = dict.fromkeys(range(len(machines)), 0.0)
        if len(machines) == 1:
            measured = [on(0)]
        else:
            with ThreadPoolExecutor(len(machines)) as pool:
                try:
                    measured = list(pool.map(on, range(len(machines))))
                except BaseException:  # only this thread gets Ctrl-C
                    over.set()
                    raise

    rows: list[Row] = []
    pairs: list[Pair] = []
    for _, found_rows, found_pairs in measured:
        pairs += [_moved(pair, len(rows)) for pair in found_pairs]
        rows += found_rows
    described = [machine for machine, _, _ in measured]
    return result(
        described[0],
        rows,
        started=started,
        settings=settings.as_json(),
        machines={h.name or LOCAL: d for h, d in zip(machines, described, strict=True)}
        if len(machines) > 1
        else None,
        pairs=pairs,
    )


class _Over(Exception):
    """The bench was stopped in another thread."""


def _bench_on(
    host: Host,
    models: Sequence[Path],
    runtimes: Sequence[str] | None,
    settings: BenchSettings,
    progress: Callable[[str, float], None],
    timeout_s: float,
) -> tuple[dict, list[Row], list[Pair]]:
    """Measure on one host.

    Args:
        host: the machine.
        models: see `bench`.
        runtimes: see `bench`.
        settings: see `bench`.
        progress: called with what is being done and the share that is done, 0 to 1.
        timeout_s: see `bench`.

    Returns:
        The machine, the rows, and the pairs of rows.
    """
    progress("starting", 0.0)
    with ExitStack() as stack:
        try:
            monitor = Monitor(host, settings.timing)
        except WorkerFailed as failure:
            raise UserError(f"{host.name or 'the worker'}: {failure}") from failure
        stack.callback(monitor.close)
        pythons = _interpreters(host, monitor)
        task = prepare(host, settings, timeout_s)
        cases = [
            Case(model, runtime, options, host, task, pythons.get(runtime.name), error)
            for model, runtime, error in plan(models, runtimes, pythons, settings.options)
            for options in settings.rows(monitor.machine["usable_cores"])
        ]
        for case in cases:
            stack.callback(case.stop)
        conditions, marks = _measure(cases, monitor, settings, progress)
        progress("measured", 1.0)
    rows = [case.row(monitor, marks) for case in cases]
    machine = monitor.machine | {"conditions": conditions}
    return machine, rows, _pairs(cases, settings.seed, disturbed=bool(of_latency(marks)))


def _interpreters(host: Host, monitor: Monitor) -> dict[str, str | None]:
    """The interpreter of each installed runtime, by its name; None is the host's own Python."""
    own = dict.fromkeys(monitor.runtimes)
    return own | environments.pythons() if host.name is None else own


def _measure(
    cases: Sequence[Case],
    monitor: Monitor,
    settings: BenchSettings,
    progress: Callable[[str, float], None],
) -> tuple[dict, list[str]]:
    """Do what the module's docstring says; return the conditions and the host's marks."""

    def done() -> float:
        return sum(case.progress for case in cases) / len(cases)

    known: dict[Path, dict | None] = {}
    for case in _alive(cases):
        progress(f"loading {case.label}", done())
        case.start(known.get(case.model))
        known[case.model] = known.get(case.model) or case.normalization_facts
    for case in _alive(cases):
        progress(f"warming up {case.label}", done())
        case.warm_up()
    _take_turns(cases, monitor, settings.seed, lambda label: progress(label, done()))
    for _ in range(settings.timing.energy_turns if monitor.energy_source else 0):
        for case in _alive(cases):
            progress(f"counting the energy of {case.label}", done())
            case.count_energy(monitor)
    cores = monitor.machine["usable_cores"]
    for case in cases:
        jobs = settings.jobs or max(cores // case.options.threads, 1)
        while case.unclassified:
            progress(case.label, done())
            case.classify_rest(jobs)
    # Several cases may run the same file.
    may_overflow = functools.cache(lambda model: overflow.may_overflow(model.read_bytes()))
    if monitor.machine["architecture"] in hardware.X86:
        for case in _alive(cases):
            progress(f"checking the kernels of {case.label}", done())
            case.check_kernels(may_overflow)
    return monitor.conditions()


def _take_turns(
    cases: Sequence[Case],
    monitor: Monitor,
    seed: int,
    progress: Callable[[str], None],
) -> None:
    """Time in rounds, until no case needs another block."""
    order = random.Random(seed)
    pids = [case.pid for case in _alive(cases) if case.pid is not None]
    monitor.read(pids)
    while active := [case for case in cases if case.wants_turn]:
        order.shuffle(active)
        for case in active:
            progress(case.label)
            case.take_turn()
        for case in cases:
            if case not in active:
                case.sit_out()
        monitor.watch(pids)
    monitor.read(pids)


def _alive(cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if not case.error]


def _pairs(cases: Sequence[Case], seed: int, disturbed: bool) -> list[Pair]:
    """Compare every two cases that were measured."""
    pairs = []
    for (i, a), (j, b) in itertools.combinations(enumerate(cases), 2):
        if a.error or b.error:
            continue
        ratio, interval = latency.paired_ratio(a.image_ns, b.image_ns, seed, disturbed=disturbed)
        same_class, p = None, None
        if a.right is not None and b.right is not None:
            same_class, p = agreement(a.predicted, b.predicted), mcnemar(a.right, b.right)
        pairs.append(
            Pair(a=i, b=j, ratio=ratio, ratio_interval=interval, agreement=same_class, mcnemar_p=p)
        )
    return pairs


def _moved(pair: Pair, by: int) -> Pair:
    """A pair whose rows come `by` rows later in the whole result."""
    return Pair(**{**pair.__dict__, "a": pair.a + by, "b": pair.b + by})
