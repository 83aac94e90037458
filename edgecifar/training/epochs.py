"""The epoch loop: train an epoch, judge it on the held-out images, record it."""

import time
from collections.abc import Callable, Iterable

from edgecifar.progress import ShowProgress, silent
from edgecifar.training.evaluation import assess_held_out
from edgecifar.training.learner import Learner
from edgecifar.training.run_folder import Epoch, RunFolder
from edgecifar.training.step_watch import StepWatch, advice_when_out_of_memory

OnEpoch = Callable[[Epoch], None]


def train_epochs(
    learner: Learner,
    epochs: Iterable[int],
    planned: int,
    run: RunFolder,
    progress: ShowProgress,
    on_epoch: OnEpoch,
    began: float,
) -> None:
    """Train some epochs, and add each to the run when it has ended.

    Args:
        learner: what is trained.
        epochs: their numbers in the run.
        planned: how many epochs the whole run has.
        run: the folder that keeps the best epoch.
        progress: shows a bar for each epoch.
        on_epoch: called with each epoch when it has ended.
        began: when the preparation of the first of them began, on the clock of `time.monotonic`.

    Raises:
        Diverged: the loss is not a number, or far too large.
        UserError: the memory is too small, or the run folder cannot be written.
    """
    for number in epochs:
        label = f"epoch {number}/{planned} {learner.name}"
        images = learner.steps * learner.batch
        started = time.monotonic()
        with progress(label, images) as update, advice_when_out_of_memory(learner):
            watch = StepWatch(update, label, learner, number, run)
            loss = learner.fit(number, watch)
        trained = time.monotonic()
        network = learner.collect()
        # Without a bar, whose updates raise KeyboardInterrupt: Ctrl-C now would lose the epoch.
        judged = assess_held_out(learner.judge, learner.held_out, learner.held_out_labels, silent)
        ended = time.monotonic()
        if learner.steps > 1:  # the first step compiles
            rate = (images - learner.batch) / (trained - watch.first_step_ended)
        else:
            rate = images / (trained - started)
        epoch = Epoch(
            epoch=number,
            stage=learner.name,
            size=learner.size,
            learning_rate=learner.learning_rate,
            loss=loss,
            validation_loss=judged["loss"],
            validation_top1=judged["top1"],
            images_per_s=rate,
            seconds=ended - began,
            setup_s=watch.first_step_ended - began,
        )
        began = ended
        run.add(epoch, network, learner.state())
        on_epoch(epoch)
