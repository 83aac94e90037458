"""The trainer: one recipe, from the images to a run folder."""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.data import cifar10
from edgecifar.models.keras_loader import load_keras
from edgecifar.progress import ShowProgress, ignore_event
from edgecifar.training.batches import Split, hold_out
from edgecifar.training.conditions import as_begun, check, check_origins, conditions, origins
from edgecifar.training.devices import where
from edgecifar.training.distillation import open_teachers
from edgecifar.training.epochs import OnEpoch, train_epochs
from edgecifar.training.evaluation import evaluate, finish
from edgecifar.training.interruption import between_steps
from edgecifar.training.processes import check_same
from edgecifar.training.recipes import Recipe
from edgecifar.training.run_folder import RunFolder, check_new
from edgecifar.training.stage_network import build, hand_over, starting_network
from edgecifar.training.stage_training import StageTraining

if TYPE_CHECKING:
    import keras


def train(
    recipe: Recipe,
    data: cifar10.ImageSet,
    out: Path,
    progress: ShowProgress,
    on_epoch: OnEpoch,
    precision: str = "float32",
    on_start: Callable[[str], None] = ignore_event,
) -> RunFolder:
    """Train a recipe.

    The epoch with the highest top-1 on held-out training images is kept; the test images are
    classified once, by that checkpoint, when the last stage has ended. Ctrl-C ends the run early:
    the folder then holds the best epoch so far, and its `metrics.json` says so. However it ends
    early, `resume` continues from the last epoch.

    Args:
        recipe: what to do.
        data: the training images.
        out: the run folder; made, and refused when it has something in it.
        progress: shows a bar for each epoch and each longer computation.
        on_epoch: called with each epoch when it has ended.
        precision: of the computation in training, see `devices.dtype_policy`. The checkpoint is
            always float32.
        on_start: called with each line of `devices.where`, when the run folder is made.

    Returns:
        The run folder, finished.

    Raises:
        UserError: the recipe does not fit the data, the weights cannot be loaded, `out` cannot be
            used, or the memory is too small.
        Diverged: the loss is not a number, or far too large.
    """
    check(recipe, len(data))
    check_new(out)
    load_keras().utils.set_random_seed(recipe.seed)
    start = starting_network(recipe, progress)
    teachers = open_teachers(recipe)
    split = hold_out(data, recipe.validation_images, recipe.seed)
    # All of them now, so that a size that the network cannot take is found before it trains.
    networks = _stage_networks(recipe)
    known = conditions(recipe, len(split.training), precision)
    begun_from = origins(recipe)
    check_same(known | {"files": _hashes(begun_from)})
    run = RunFolder(out, known | begun_from)
    _say(where(precision), on_start)
    return _Trainer(recipe, split, teachers, run, progress, on_epoch).train(networks, start, {})


def resume(
    path: Path,
    data: cifar10.ImageSet,
    progress: ShowProgress,
    on_epoch: OnEpoch,
    on_start: Callable[[str], None] = ignore_event,
) -> RunFolder:
    """Continue a run that was interrupted, from its last whole epoch, to the same end.

    A run whose first epoch did not end starts again from the beginning.

    Args:
        path: its folder.
        data: the training images that it was started with.
        progress: shows a bar for each epoch and each longer computation.
        on_epoch: called with each further epoch when it has ended.
        on_start: called with each line of `devices.where`.

    Returns:
        The run folder, finished.

    Raises:
        UserError: the run has ended, or was started with other data, other weights or another
            version's recipe.
        Diverged: the loss is not a number, or far too large.
    """
    run, state = RunFolder.reopen(path)
    try:
        recipe, split = as_begun(run, data)
        load_keras().utils.set_random_seed(recipe.seed)
        start = None if run.epochs else starting_network(recipe, progress)
        teachers = open_teachers(recipe)
        check_origins(run, recipe)
        networks = _stage_networks(recipe)
    except BaseException:
        run.close()
        raise
    _say(where(run.provenance["precision"]), on_start)
    return _Trainer(recipe, split, teachers, run, progress, on_epoch).train(networks, start, state)


def _hashes(begun_from: dict) -> list[str]:
    """The SHA-256 of the files that a run starts from and learns from, see `origins`."""
    start, teachers = begun_from["started_from"], begun_from.get("teachers", [])
    return [origin["sha256"] for origin in [start, *teachers] if origin]


def _say(lines: list[str], on_start: Callable[[str], None]) -> None:
    for line in lines:
        on_start(line)


def _stage_networks(recipe: Recipe) -> list["keras.Model"]:
    """For each stage that trains, the network that is judged and kept in it."""
    return [build(recipe, stage, "none") for stage in recipe.planned]


@dataclasses.dataclass
class _Trainer:
    """The state that the stages of a run share."""

    recipe: Recipe
    split: Split
    teachers: list["keras.Model"]
    run: RunFolder
    progress: ShowProgress
    on_epoch: OnEpoch

    def train(
        self,
        networks: list["keras.Model"],
        start: "keras.Model | None",
        state: dict[str, list[np.ndarray]],
    ) -> RunFolder:
        """Train the stages that are not finished, and judge the best epoch on the test images.

        Args:
            networks: of the planned stages.
            start: the network that the run begins with; None in a run that has an epoch already.
            state: the state after that run's last epoch, see `StageTraining.state`.
        """
        run = self.run
        interrupted, test = False, {}
        try:
            with contextlib.closing(run), between_steps(self.progress) as shown:
                self.progress = shown
                self._train_stages(networks, start, state)
                test = evaluate(run, shown)
        except KeyboardInterrupt:
            interrupted = True
        finish(run, networks[-1], interrupted, test)
        return run

    def _train_stages(
        self,
        networks: list["keras.Model"],
        start: "keras.Model | None",
        state: dict[str, list[np.ndarray]],
    ) -> None:
        run, stages = self.run, self.recipe.planned
        names = [stage.name for stage in stages]
        begun = names.index(run.epochs[-1].stage) if run.epochs else 0
        planned = sum(stage.epochs for stage in stages)
        previous = start
        for stage, network in list(zip(stages, networks, strict=True))[begun:]:
            began = time.monotonic()
            done = sum(epoch.stage == stage.name for epoch in run.epochs)
            if not done:
                hand_over(previous, network)
            previous = network
            if done == stage.epochs:
                network.set_weights(state["kept"])
                continue
            if done:
                network.set_weights(state["trained"])
            learner = StageTraining(
                network,
                stage,
                self.recipe,
                self.split,
                self.teachers,
                run.provenance["precision"],
                self.progress,
                state["optimizer"] if done else None,
            )
            first = len(run.epochs) + 1
            numbers = range(first, first + stage.epochs - done)
            train_epochs(learner, numbers, planned, run, self.progress, self.on_epoch, began)
