"""What watches over a training: its progress, a loss that runs away, memory that runs out."""

import contextlib
import math
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgecifar.errors import CheckFailed, UserError
from edgecifar.models.keras_loader import load_keras
from edgecifar.progress import Update
from edgecifar.training.recipes import Stage
from edgecifar.training.run_folder import RunFolder

if TYPE_CHECKING:
    import keras

# Guessing gives 2.3; a network that is surer of the wrong classes than this will not come back.
EXPLODED = 50.0
# Reading the loss waits for the device; on an accelerator that is dear at every step.
READ_EVERY_S = 0.2
OUT_OF_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|ResourceExhausted|out of memory|OOM when", re.I)


class Diverged(CheckFailed):
    """The loss is not a number any more, or far too large."""


def watch_steps(
    update: Update, label: str, stage: Stage, epoch: int, run: RunFolder
) -> "keras.callbacks.Callback":
    """Tell a progress bar of the steps, and stop an epoch whose loss runs away.

    Args:
        update: told of the images done; the running loss goes behind the label.
        label: of the bar.
        stage: what is trained.
        epoch: its number in the run.
        run: where the last good checkpoint is.

    Returns:
        For `fit`. It raises Diverged.
    """

    class Watch(load_keras().callbacks.Callback):
        def on_train_begin(self, logs: dict | None = None) -> None:
            self.read_at = -math.inf

        def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
            last = step + 1 == self.params["steps"]
            if time.monotonic() - self.read_at < READ_EVERY_S and not last:
                return
            loss = float(logs["loss"])
            if not loss < EXPLODED:
                rate = float(self.model.optimizer.learning_rate)
                kept = f"the best epoch is in {run.checkpoint}" if run.best else "no epoch is kept"
                raise Diverged(
                    f"the loss is {loss:.3g} by batch {step + 1} of epoch {epoch}, "
                    f"at learning rate {rate:.3g}: try "
                    f"`{stage.name}.learning_rate={stage.learning_rate / 10:.3g}`; {kept}"
                )
            update((step + 1) * stage.batch, label=f"{label}, loss {loss:.3f}")
            self.read_at = time.monotonic()

    return Watch()


@contextlib.contextmanager
def advice_when_out_of_memory(stage: Stage) -> Iterator[None]:
    """Make one line of what a backend raises when memory runs out: the batch to try instead.

    Raises:
        UserError: it did.
    """
    try:
        yield
    except (KeyboardInterrupt, Diverged, UserError):
        raise
    except Exception as error:  # each backend has an exception of its own
        if not isinstance(error, MemoryError) and not OUT_OF_MEMORY.search(repr(error)):
            raise
        smaller = max(1, stage.batch // 2)
        raise UserError(
            f"out of memory in stage {stage.name} with batches of {stage.batch}: "
            f"try `{stage.name}.batch={smaller}`"
        ) from error
