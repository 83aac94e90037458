"""The order of a bench: who loads, warms up, is timed and classifies when.

Every (model, runtime, threads) has a worker process of its own, and only one works at a time. First
each loads, alone, so that load time and memory are its own; then each warms up. Then come rounds:
in each, every one is timed for a short block, in an order that a seed shuffles, so that a machine
that grows hot or busy slows all alike, and a round compares what took turns in it. A model leaves
when its median is known exactly enough or its time is over. What images no turn came to are
classified at last, untimed.
"""

import itertools
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from edgecifar import hardware
from edgecifar.bench import statistics
from edgecifar.bench.contender import ENERGY_TURNS, Contender, Task
from edgecifar.bench.hosts import Host, Local
from edgecifar.bench.observer import Observer
from edgecifar.bench.plan import check_file, plan
from edgecifar.bench.process import WorkerFailed
from edgecifar.bench.result import Pair, Row, result
from edgecifar.bench.settings import Settings
from edgecifar.data import cifar10, shipped
from edgecifar.errors import UserError
from edgecifar.report.classification import agreement, mcnemar
from edgecifar.report.rows import LOCAL
from edgecifar.runtimes import environments

# Importing TensorFlow from a cold memory card takes minutes.
TIMEOUT_S = 300.0

# What is being done, and how much of all is done, 0 to 1.
Progress = Callable[[str, float], None]


def bench(
    models: Sequence[Path],
    runtimes: Sequence[str] | None = None,
    settings: Settings | None = None,
    hosts: Sequence[Host] | None = None,
    progress: Progress = lambda doing, done: None,
    timeout_s: float = TIMEOUT_S,
) -> dict:
    """Measure accuracy, latency, load time and memory of models on the CIFAR-10 test images.

    Args:
        models: paths of `.tflite`, `.onnx` or `.keras` files.
        runtimes: names; by default every installed one that opens the file.
        settings: how to measure.
        hosts: the machines to measure on, all at the same time; by default this one.
        progress: told what is being done and the share that is done.
        timeout_s: how long a worker may take for one command before it is given up.

    Returns:
        The result, JSON values; see `edgecifar.bench.result`. What goes wrong with one model in
        one runtime is the `error` of its row.

    Raises:
        UserError: a file is missing, empty or of an unknown kind; a runtime is unknown; a number
            is out of its range; or a host does not answer.
    """
    if not 0 < timeout_s <= threading.TIMEOUT_MAX:
        raise UserError(f"--timeout {timeout_s:g}: give seconds, more than 0")
    started = datetime.now(UTC).isoformat(timespec="seconds")
    settings = settings or Settings()
    models = [Path(model) for model in models]
    for model in models:  # before anything is started or sent
        check_file(model)
    hosts = hosts or [Local()]
    over = threading.Event()
    shares = dict.fromkeys(range(len(hosts)), 0.0)

    def on(place: int) -> tuple[dict, list[Row], list[Pair]]:
        def told(doing: str, done: float) -> None:
            if over.is_set():
                raise _Over
            shares[place] = done
            progress(doing, sum(shares.values()) / len(hosts))

        return _bench_on(hosts[place], models, runtimes, settings, told, timeout_s)

    if len(hosts) == 1:
        measured = [on(0)]
    else:
        with ThreadPoolExecutor(len(hosts)) as pool:
            try:
                measured = list(pool.map(on, range(len(hosts))))
            except BaseException:  # Ctrl-C comes to this thread alone
                over.set()
                raise

    rows, pairs = [], []
    for _, found_rows, found_pairs in measured:
        pairs += [_moved(pair, len(rows)) for pair in found_pairs]
        rows += found_rows
    machines = [machine for machine, _, _ in measured]
    return result(
        machines[0],
        rows,
        started=started,
        settings=settings.as_json(),
        machines={h.name or LOCAL: m for h, m in zip(hosts, machines, strict=True)}
        if len(hosts) > 1
        else None,
        pairs=pairs,
    )


class _Over(Exception):
    """The bench was given up in another thread."""


def _bench_on(
    host: Host,
    models: Sequence[Path],
    runtimes: Sequence[str] | None,
    settings: Settings,
    progress: Progress,
    timeout_s: float,
) -> tuple[dict, list[Row], list[Pair]]:
    """Measure on one machine: what it is, the rows, and the pairs of rows."""
    progress("starting", 0.0)
    with ExitStack() as stack:
        try:
            observer = Observer(host)
        except WorkerFailed as failure:
            raise UserError(f"{host.name or 'the worker'}: {failure}") from failure
        stack.callback(observer.close)
        pythons = environments.pythons() if host.name is None else {}
        installed = [*observer.runtimes, *pythons]
        task = _task(host, settings, timeout_s)
        contenders = [
            Contender(model, runtime, options, host, task, error)
            for model, runtime, error in plan(models, runtimes, installed, settings.options)
            for options in settings.rows(observer.machine["usable_cores"])
        ]
        for contender in contenders:
            stack.callback(contender.stop)
        conditions, marks = _measure(contenders, observer, pythons, settings, progress)
        progress("measured", 1.0)
    rows = [contender.row(observer, marks) for contender in contenders]
    machine = observer.machine | {"conditions": conditions}
    return machine, rows, _pairs(contenders, settings.seed)


def _measure(
    contenders: Sequence[Contender],
    observer: Observer,
    pythons: dict[str, str],
    settings: Settings,
    progress: Progress,
) -> tuple[dict, list[str]]:
    """Load, warm up, time and classify; the conditions meanwhile, and the marks that follow."""

    def done() -> float:
        return sum(contender.progress for contender in contenders) / len(contenders)

    known: dict[Path, dict | None] = {}
    for contender in _alive(contenders):
        progress(f"loading {contender.label}", done())
        contender.start(pythons.get(contender.runtime.name), known.get(contender.model))
        known[contender.model] = known.get(contender.model) or contender.normalization_facts
    for contender in _alive(contenders):
        progress(f"warming up {contender.label}", done())
        contender.warm_up()
    _take_turns(contenders, observer, settings.seed, lambda label: progress(label, done()))
    for _ in range(ENERGY_TURNS if observer.energy_source else 0):
        for contender in _alive(contenders):
            progress(f"counting the energy of {contender.label}", done())
            contender.count_energy(observer)
    cores = observer.machine["usable_cores"]
    for contender in contenders:
        jobs = settings.jobs or max(cores // contender.options.threads, 1)
        while contender.unclassified:
            progress(contender.label, done())
            contender.classify_rest(jobs)
    if observer.machine["architecture"] in hardware.X86:
        for contender in _alive(contenders):
            progress(f"checking the kernels of {contender.label}", done())
            contender.check_kernels()
    return observer.conditions()


def _task(host: Host, settings: Settings, timeout_s: float) -> Task:
    labels = shipped.test_set().labels  # and so its file is in the cache
    chosen = cifar10.balanced(labels, settings.samples or len(labels))
    shipped.calibration_set()
    folder = cifar10.cache_folder()
    return Task(
        images=chosen.tolist(),
        labels=labels[chosen],
        records=host.send(folder / shipped.CACHED_AS["test"]),
        sample=host.send(folder / shipped.CACHED_AS["train"]),
        settings=settings,
        timeout_s=timeout_s,
    )


def _take_turns(
    contenders: Sequence[Contender],
    observer: Observer,
    seed: int,
    progress: Callable[[str], None],
) -> None:
    """Time in rounds, until nobody wants another."""
    order = random.Random(seed)
    pids = [contender.pid for contender in _alive(contenders)]
    observer.read(pids)
    while active := [contender for contender in contenders if contender.timing]:
        order.shuffle(active)
        for contender in active:
            progress(contender.label)
            contender.take_turn()
        for contender in contenders:
            if contender not in active:
                contender.sit_out()
        observer.watch(pids)
    observer.read(pids)


def _alive(contenders: Sequence[Contender]) -> list[Contender]:
    return [contender for contender in contenders if not contender.error]


def _pairs(contenders: Sequence[Contender], seed: int) -> list[Pair]:
    """Every two rows that were measured, beside each other."""
    pairs = []
    for (i, a), (j, b) in itertools.combinations(enumerate(contenders), 2):
        if a.error or b.error:
            continue
        ratio, interval = statistics.paired_ratio(a.image_ns, b.image_ns, seed)
        alike, p = None, None
        if a.right is not None and b.right is not None:
            alike, p = agreement(a.predicted, b.predicted), mcnemar(a.right, b.right)
        pairs.append(
            Pair(a=i, b=j, ratio=ratio, ratio_interval=interval, agreement=alike, mcnemar_p=p)
        )
    return pairs


def _moved(pair: Pair, by: int) -> Pair:
    """A pair of rows that stand so many rows further down."""
    return Pair(**{**pair.__dict__, "a": pair.a + by, "b": pair.b + by})
