"""Watches the steps of an epoch: their progress, a diverging loss, and memory that runs out."""

import contextlib
import dataclasses
import math
import re
import time
from collections.abc import Iterator
from typing import Any

from edgecifar.errors import CheckFailed, UserError
from edgecifar.progress import Update
from edgecifar.training.learner import Learner
from edgecifar.training.run_folder import RunFolder

# Guessing gives 2.3. A network with a loss this high is so sure of wrong classes that it does not
# recover.
EXPLODED = 50.0
# Reading the loss waits for the device, which costs time on an accelerator.
READ_EVERY_S = 0.2
OUT_OF_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|ResourceExhausted|out of memory|OOM when", re.I)


class Diverged(CheckFailed):
    """The loss is not a number any more, or far too large."""


@dataclasses.dataclass
class StepWatch:
    """Shows the steps of one epoch on a progress bar, and stops it when the loss diverges.

    It is called after each step, see `Learner.fit`. The loss is read after the first step and the
    last, and at most every `READ_EVERY_S` seconds between them.

    Attributes:
        update: called with the number of images done; the running loss follows the label.
        label: the label of the bar.
        learner: what is trained.
        epoch: its number in the run.
        run: the folder with the best checkpoint so far.
        first_step_ended: when the first step ended, on the clock of `time.monotonic`; 0 before.
    """

    update: Update
    label: str
    learner: Learner
    epoch: int
    run: RunFolder
    first_step_ended: float = 0.0
    _read_at: float = -math.inf

    def __call__(self, step: int, logs: dict[str, Any]) -> None:
        """Note the end of a step.

        Args:
            step: its number, from 0.
            logs: `loss` in it is the mean loss of the epoch so far.

        Raises:
            Diverged: the loss is not a number, or above `EXPLODED`.
        """
        learner = self.learner
        if time.monotonic() - self._read_at < READ_EVERY_S and step + 1 < learner.steps:
            return
        loss = float(logs["loss"])
        if not loss < EXPLODED:
            rate = learner.learning_rate
            best = f"the best epoch is in {self.run.checkpoint}"
            raise Diverged(
                f"the loss is {loss:.3g} by batch {step + 1} of epoch {self.epoch}, "
                f"at learning rate {rate:.3g}: "
                f"try {learner.advice('learning_rate', learner.highest_learning_rate / 10)}; "
                f"{best if self.run.best else 'no epoch is kept'}"
            )
        self.update((step + 1) * learner.batch, label=f"{self.label}, loss {loss:.3f}")
        self._read_at = time.monotonic()
        self.first_step_ended = self.first_step_ended or self._read_at


@contextlib.contextmanager
def advice_when_out_of_memory(learner: Learner) -> Iterator[None]:
    """Turn what a backend raises when memory runs out into one line with a smaller batch to try.

    Raises:
        UserError: the memory has run out.
    """
    try:
        yield
    except (KeyboardInterrupt, Diverged, UserError):
        raise
    except Exception as error:  # each backend has an exception of its own
        if not isinstance(error, MemoryError) and not OUT_OF_MEMORY.search(repr(error)):
            raise
        smaller = max(1, learner.batch // 2)
        raise UserError(
            f"out of memory in stage {learner.name} with batches of {learner.batch}: "
            f"try {learner.advice('batch', smaller)}"
        ) from error
