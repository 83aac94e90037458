"""What a user may say about a bench."""

import dataclasses
import math

from edgecifar.data import cifar10
from edgecifar.errors import UserError
from edgecifar.runtimes import Options

SINGLE_STREAM, OFFLINE = "single-stream", "offline"
SCENARIOS = (SINGLE_STREAM, OFFLINE)
OFFLINE_BATCH = 32
# Far more than any machine has cores for, and fewer than would keep it from starting processes.
MOST_THREADS = 1_024


@dataclasses.dataclass(frozen=True)
class BenchSettings:
    """How to measure; see `edgecifar bench --help`.

    Attributes:
        scenario: single-stream, one image after the other; or offline, batches of them.
        threads: of the runtimes, a row for each number; none means one in a single stream, and
            every core offline.
        samples: how many test images, even over the classes; None is all.
        jobs: workers that share the images of a model that are left when timing is over; None is
            as many as there are cores for.
        seed: of the order of turns and of the bootstrap.
        precision: a model's timing ends when the 95 % interval of its median latency reaches no
            farther than this share of it to either side...
        max_seconds: ...or when it has been timed for so long, seconds.
        normalization: of the pixels; see `edgecifar.runtimes.normalization`.
        labels: the files' order of classes; None is CIFAR-10's own.
        options: of the runtimes.
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
    options: Options = dataclasses.field(default_factory=Options)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: one is out of its range, or the scenario is unknown.
        """
        if self.scenario not in SCENARIOS:
            raise UserError(f"--scenario {self.scenario}: give {' or '.join(SCENARIOS)}")
        for threads in self.threads:
            if not 1 <= threads <= MOST_THREADS:
                raise UserError(f"{threads} threads: give 1 to {MOST_THREADS:,}")
        most = cifar10.FILE_RECORDS
        if self.samples is not None and not 1 <= self.samples <= most:
            raise UserError(f"{self.samples} samples: give 1 to {most}, or all")
        if self.jobs is not None and self.jobs < 1:
            raise UserError(f"--jobs {self.jobs}: give 1 or more")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: give 0 or more")
        if not 0 < self.precision < 1:
            raise UserError(f"--ci {100 * self.precision:g}%: give more than 0 and less than 100%")
        if not 0 < self.max_seconds < math.inf:
            raise UserError(f"--max-seconds {self.max_seconds:g}: give more than 0")
        if self.options.batch is not None and self.options.batch < 1:
            raise UserError(f"--batch {self.options.batch}: give 1 or more")
        if self.options.batch is not None and self.scenario != OFFLINE:
            raise UserError(f"--batch {self.options.batch}: is for --scenario {OFFLINE}")

    def rows(self, cores: int) -> list[Options]:
        """The options of each row that a model gets in a runtime.

        Args:
            cores: of the machine.
        """
        offline = self.scenario == OFFLINE
        threads = dict.fromkeys(self.threads or ((cores,) if offline else (1,)))
        batch = self.options.batch or OFFLINE_BATCH if offline else None
        return [dataclasses.replace(self.options, threads=n, batch=batch) for n in threads]

    def as_json(self) -> dict:
        """For the result."""
        return dataclasses.asdict(self) | {
            "threads": list(self.threads),
            "labels": list(self.labels) if self.labels else None,
            "options": self.options.given() | {"batch": self.options.batch},
        }
