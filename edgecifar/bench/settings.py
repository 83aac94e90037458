"""How to bench: the options of the user, and the durations and counts that shape a measurement."""

import dataclasses
import math

from edgecifar.data import cifar10
from edgecifar.errors import UserError
from edgecifar.graphs import overflow
from edgecifar.runtimes import Options
from edgecifar.runtimes.preparation import SQUASH, checked_resize

SINGLE_STREAM, OFFLINE = "single-stream", "offline"
SCENARIOS = (SINGLE_STREAM, OFFLINE)
OFFLINE_BATCH = 32
# More than any machine has cores, and few enough that it can still start processes.
MOST_THREADS = 1_024
# Fields of `Timing`; the others are more than 0.
MAY_BE_ZERO = ("energy_turns", "min_calls", "min_s", "wake_s")


@dataclasses.dataclass(frozen=True)
class Timing:
    """Durations, in seconds, and counts that shape every measurement of a bench.

    The result records them under `settings.timing`.

    Attributes:
        warm_up_limit_s: a warm-up ends after this time even when the running median has not
            settled.
        settle_check_s: during warm-up, time between two checks whether the running median has
            settled. A check costs about a millisecond.
        block_s: length of a timed block. Short blocks let the cases take turns often, so that a
            machine that becomes hot or busy slows all of them equally.
        block_calls: a block is longer than `block_s` for a slow model, so that it has about this
            many calls...
        longest_block_s: ...but no longer than this.
        min_calls: a case is timed for at least this many calls...
        min_s: ...and at least this long, unless `BenchSettings.max_seconds` is shorter. MLPerf
            Inference's rules for a single stream set both minimums too, with higher values.
        wake_s: calls at the start of a block that are not timed: a worker that has just waited
            for its turn has cold caches.
        chunk_images: images that a worker reads from the record file at once, between timed calls.
        energy_turns: blocks in which the energy of a case is counted. They are not timed, because
            some of the counters would disturb a latency. 0 counts no energy.
        energy_s: length of each of them.
        power_poll_s: time between two readings of a sensor of power, whose values are integrated
            to energy. On a Raspberry Pi a reading starts a process for some milliseconds.
        idle_power_s: how long the power at rest is measured, before anything is loaded.
        sensors_interval_s: shortest time between two readings of the machine's temperature, clock
            and load. A reading takes some milliseconds, in which nothing is timed.
        clock_work_s: how long a core works before its clock is read: the clock of a core at rest
            is low, and governors need some milliseconds of work to raise it.
        classify_images: most images that one command classifies untimed...
        classify_s: ...and most time that they should take, so that the progress moves and Ctrl-C
            is answered soon.
        helper_min_s: time of remaining work that is worth a worker: the number of workers is the
            remaining time divided by this, because the start of a worker costs about as much.
        overflow_images: training images on which a runtime's int8 kernels are compared with its
            exact ones.
    """

    warm_up_limit_s: float = 5.0
    settle_check_s: float = 0.05
    block_s: float = 0.1
    block_calls: int = 5
    longest_block_s: float = 1.0
    min_calls: int = 200
    min_s: float = 3.0
    wake_s: float = 0.005
    chunk_images: int = 32
    energy_turns: int = 3
    energy_s: float = 1.0
    power_poll_s: float = 0.1
    idle_power_s: float = 1.0
    sensors_interval_s: float = 1.0
    clock_work_s: float = 0.03
    classify_images: int = 250
    classify_s: float = 1.0
    helper_min_s: float = 2.0
    overflow_images: int = overflow.COMPARED_IMAGES

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: one is out of its range.
        """
        for name, value in vars(self).items():
            if not 0 <= value < math.inf or (value == 0 and name not in MAY_BE_ZERO):
                least = "0 or more" if name in MAY_BE_ZERO else "more than 0"
                raise UserError(f"`timing.{name}={value:g}`: give {least}")


@dataclasses.dataclass(frozen=True)
class BenchSettings:
    """How to measure; see `edgecifar bench --help`.

    Attributes:
        scenario: single-stream, one image after the other; or offline, batches of them.
        threads: numbers of threads for the runtimes, a row for each; empty means one thread in a
            single stream, and one for every core offline.
        samples: number of test images, the same for each class; None is all.
        jobs: workers that share the images which are not classified yet when a case has been
            timed; None is as many as the cores allow.
        seed: seed for the order of turns and for the bootstrap.
        precision: a case is timed until the 95 % interval of its median latency reaches no farther
            than this share of the median to either side...
        max_seconds: ...or until its timed calls add up to this many seconds.
        normalization: of the pixels; see `edgecifar.runtimes.normalization`.
        labels: the files' order of classes; None is CIFAR-10's own.
        output: the name of the output that gives the classes; None finds it out.
        resize: how images become smaller; see `edgecifar.runtimes.preparation.RESIZES`.
        options: of the runtimes.
        timing: durations and counts that shape the measurement.
    """

    scenario: str = SINGLE_STREAM
    threads: tuple[int, ...] = ()
    samples: int | None = None
    jobs: int | None = None
    seed: int = 0
    precision: float = 0.01
    max_seconds: float = 20.0
    normalization: str = "auto"
    labels: tuple[str, ...] | None = None
    output: str | None = None
    resize: str = SQUASH
    options: Options = dataclasses.field(default_factory=Options)
    timing: Timing = dataclasses.field(default_factory=Timing)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: one is out of its range, or the scenario is unknown.
        """
        checked_resize(self.resize)
        if self.scenario not in SCENARIOS:
            raise UserError(f"`scenario={self.scenario}`: give {' or '.join(SCENARIOS)}")
        for threads in self.threads:
            if not 1 <= threads <= MOST_THREADS:
                raise UserError(f"{threads} threads: give 1 to {MOST_THREADS:,}")
        most = cifar10.FILE_RECORDS
        if self.samples is not None and not 1 <= self.samples <= most:
            raise UserError(f"{self.samples} samples: give 1 to {most}, or all")
        if self.jobs is not None and self.jobs < 1:
            raise UserError(f"`jobs={self.jobs}`: give 1 or more")
        if self.seed < 0:
            raise UserError(f"`seed={self.seed}`: give 0 or more")
        if not 0 < self.precision < 1:
            raise UserError(
                f"`precision` is {100 * self.precision:g} %: give more than 0 and less than 100 %"
            )
        if not 0 < self.max_seconds < math.inf:
            raise UserError(f"`max_seconds={self.max_seconds:g}`: give more than 0")
        if self.options.batch is not None and self.options.batch < 1:
            raise UserError(f"`batch={self.options.batch}`: give 1 or more")
        if self.options.batch is not None and self.scenario != OFFLINE:
            raise UserError(f"`batch={self.options.batch}`: is for `scenario={OFFLINE}`")

    def rows(self, cores: int) -> list[Options]:
        """The options of each row that a model gets in a runtime.

        Args:
            cores: of the machine: how many threads can compute at the same time.
        """
        offline = self.scenario == OFFLINE
        threads = dict.fromkeys(self.threads or ((cores,) if offline else (1,)))
        batch = self.options.batch or OFFLINE_BATCH if offline else None
        return [dataclasses.replace(self.options, threads=n, batch=batch) for n in threads]

    def as_json(self) -> dict:
        """JSON values, as the result records them."""
        return dataclasses.asdict(self) | {
            "threads": list(self.threads),
            "labels": list(self.labels) if self.labels else None,
            "options": self.options.given() | {"batch": self.options.batch},
        }
