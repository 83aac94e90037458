"""The average of several runs' weights, which is often better than each of them.

Runs that continued one another, or the same checkpoint, end in the same basin of the loss, whose
middle generalizes better than its rim. Sources: Izmailov et al. 2018, arXiv:1803.05407 (averages
along one run); Wortsman et al. 2022, arXiv:2203.05482 (averages of several).
"""

import contextlib
import time
from pathlib import Path

import numpy as np

from edgecifar import files, provenance
from edgecifar.data import cifar10
from edgecifar.errors import UserError, plain
from edgecifar.models.keras_loader import open_model
from edgecifar.progress import ShowProgress
from edgecifar.training import recipes
from edgecifar.training.batches import hold_out
from edgecifar.training.evaluation import assess_held_out, evaluate, finish
from edgecifar.training.fast_layers import with_fast_layers
from edgecifar.training.run_folder import Epoch, RunFolder, check_new


def average(
    runs: list[Path], data: cifar10.ImageSet, out: Path, progress: ShowProgress
) -> RunFolder:
    """Average the checkpoints of finished runs, and evaluate the average like a finished run.

    Args:
        runs: their folders, two or more. They must have held out the same images, or the average
            would be judged by images that one of them trained on.
        data: the training images that they were given.
        out: the new run folder; made, and refused when it has something in it.
        progress: shows a bar for each computation.

    Returns:
        The run folder, finished: its history has one row, the average.

    Raises:
        UserError: a run did not finish, the networks or the held-out images differ, or `out`
            cannot be used.
    """
    if len(runs) < 2:
        raise UserError("an average takes two runs or more")
    check_new(out)
    known = [_facts(run) for run in runs]
    models = [open_model(run / provenance.CHECKPOINT) for run in runs]
    started = time.monotonic()
    weights = [model.get_weights() for model in models]
    shapes = [[w.shape for w in each] for each in weights]
    for run, shape in zip(runs, shapes, strict=True):
        if shape != shapes[0]:
            raise UserError(f"{run} is not of the same network as {runs[0]}")
    try:
        recipe = recipes.from_dict(known[-1]["provenance"]["recipe"])
    except (KeyError, TypeError) as error:
        reason = plain(f"{runs[-1] / provenance.RECIPE}: {error}")
        raise UserError(f"{runs[-1]} cannot be averaged: {reason}") from error
    for run, facts in zip(runs, known, strict=True):
        other = facts["provenance"]["recipe"]
        for field in ("seed", "validation_images"):
            if other.get(field) != getattr(recipe, field):
                raise UserError(f"{run} held out other images than {runs[-1]}: its {field} differs")
    network = models[-1]
    network.set_weights([np.mean(each, axis=0) for each in zip(*weights, strict=True)])
    split = hold_out(data, recipe.validation_images, recipe.seed)
    averaged = RunFolder(out, known[-1]["provenance"] | {"averaged": known})
    with contextlib.closing(averaged):
        held = split.validation
        judge = with_fast_layers(network)
        judged = assess_held_out(judge, split.images[held], split.labels[held], progress)
        averaged.add(
            Epoch(
                epoch=1,
                stage="average",
                size=recipe.size,
                learning_rate=0.0,
                loss=None,
                validation_loss=judged["loss"],
                validation_top1=judged["top1"],
                images_per_s=0.0,
                seconds=time.monotonic() - started,
            ),
            network,
        )
        test = evaluate(averaged, progress)
    finish(averaged, network, interrupted=False, measured=test)
    return averaged


def _facts(run: Path) -> dict:
    """The facts that a finished run has recorded."""
    try:
        return {
            "sha256": files.sha256(run / provenance.CHECKPOINT),
            "provenance": provenance.read_recipe(run),
            "metrics": provenance.read_metrics(run),
        }
    except (OSError, UserError) as error:
        raise UserError(f"{run} is not a finished run: {error}") from error
