"""Workflows of several steps: train, compress and compare, and everything in a row.

They need no terminal: what a caller wants to show, it is given by `Hooks`.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from edgecifar.bench import runner
from edgecifar.bench.settings import BenchSettings
from edgecifar.data import cifar10, sources
from edgecifar.errors import CheckFailed
from edgecifar.export import exporter
from edgecifar.export.checkpoint import find
from edgecifar.export.exporter import Export
from edgecifar.export.settings import INT8
from edgecifar.models.keras_loader import load_keras
from edgecifar.models.weights import WeightsUnavailable
from edgecifar.progress import PERCENT, ShowProgress, as_whole_of, ignore_event, silent
from edgecifar.training import recipes, stage_network, trainer
from edgecifar.training.compression import comparison
from edgecifar.training.compression.finetuning import finetune
from edgecifar.training.compression.methods import Method
from edgecifar.training.recipes import Recipe
from edgecifar.training.run_folder import Epoch, RunFolder

POST_TRAINING = "post-training"


@dataclasses.dataclass(frozen=True)
class Hooks:
    """What a workflow calls while it runs. An exception in one of them ends the workflow.

    Attributes:
        progress: shows a bar for each longer computation. Exports send what is printed meanwhile
            to their log, so it has to write to a copy of stderr.
        on_download: called with the names of the files that a download brought.
        on_start: called with each line that says on what a training computes, when it begins.
        on_epoch: called with each epoch when it has ended.
        on_run: called with the run folder when a training has ended, interrupted or not.
        on_export: called with each export when its files are verified, published or not.
        note: called with a line of text when a workflow does something else than it was asked to.
    """

    progress: ShowProgress = silent
    on_download: Callable[[list[str]], None] = ignore_event
    on_start: Callable[[str], None] = ignore_event
    on_epoch: Callable[[Epoch], None] = ignore_event
    on_run: Callable[[RunFolder], None] = ignore_event
    on_export: Callable[[Export], None] = ignore_event
    note: Callable[[str], None] = ignore_event


NO_HOOKS = Hooks()


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a training.

    Attributes:
        run: its folder, which holds the best epoch until then.
    """

    def __init__(self, run: RunFolder) -> None:
        super().__init__()
        self.run = run


def train(
    recipe: Recipe,
    out: Path,
    hooks: Hooks = NO_HOOKS,
    precision: str = "float32",
    data: cifar10.ImageSet | None = None,
) -> RunFolder:
    """Train a recipe.

    A recipe of a width for which there are no ImageNet weights is trained from scratch.

    Args:
        recipe: what to train.
        out: the run folder; made, and refused when it has something in it.
        hooks: called while it runs.
        precision: of the computation, see `trainer.train`.
        data: the training images; by default CIFAR-10's 50,000 from the cache.

    Returns:
        The run folder, finished.

    Raises:
        Interrupted: Ctrl-C ended the training; the folder holds the best epoch until then.
        UserError: see `trainer.train`; or the images are not in the cache.
    """
    usable = stage_network.with_weights_that_exist(recipe)
    if usable != recipe:
        width = f"{recipe.alpha:g}"
        hooks.note(f"there are no ImageNet weights of width {width}: it trains from scratch")
    images = cifar10.training_set() if data is None else data
    run = trainer.train(
        usable, images, out, hooks.progress, hooks.on_epoch, precision, hooks.on_start
    )
    return _ended(run, hooks)


def resume(path: Path, hooks: Hooks = NO_HOOKS) -> RunFolder:
    """Continue an interrupted run from its last epoch, or from the beginning before its first.

    Args:
        path: the run folder.
        hooks: called while it runs.

    Returns:
        The run folder, finished.

    Raises:
        Interrupted: Ctrl-C ended the training again.
        UserError: see `trainer.resume`; or the images are not in the cache.
    """
    run = trainer.resume(
        path, cifar10.training_set(), hooks.progress, hooks.on_epoch, hooks.on_start
    )
    return _ended(run, hooks)


def compress(
    checkpoint: Path | None, method: Method, out: Path, hooks: Hooks = NO_HOOKS
) -> list[dict]:
    """Fine-tune a finished run with a method of compression, export both, and compare the files.

    Args:
        checkpoint: the finished run, see `checkpoint.find` and `finetuning.finetune`.
        method: the method and its settings.
        out: the new run folder. The new run's int8 and float32 files go there, those of the run
            that it started from to `post-training` in it.
        hooks: called while it runs.

    Returns:
        Two rows, of the run without and with the method; see `compression.comparison.compare`.

    Raises:
        Interrupted: Ctrl-C ended the training; nothing is exported.
        UserError: see `finetuning.finetune` and `exporter.export`.
        CheckFailed: an exported file failed its verification.
    """
    checkpoint = find(checkpoint)
    data = cifar10.training_set()
    run = _ended(finetune(checkpoint, method, data, out, hooks.progress, hooks.on_epoch), hooks)
    exports = {POST_TRAINING: out / POST_TRAINING, method.name: out}
    _export(checkpoint, exports[POST_TRAINING], hooks)
    _export(run.checkpoint, out, hooks)
    return comparison.compare(exports, out)


def run(
    recipe: Recipe,
    out: Path,
    hooks: Hooks = NO_HOOKS,
    fallback_weights: Path | None = None,
    bench_settings: BenchSettings | None = None,
) -> dict:
    """Download the images, train, export the float32 and int8 files, and bench the int8 ones here.

    Args:
        recipe: what to train.
        out: the run folder, for the exports too; made, and refused when it has something in it.
        hooks: called while it runs.
        fallback_weights: a checkpoint whose backbone training starts from when the ImageNet
            weights cannot be downloaded; None raises `WeightsUnavailable` then.
        bench_settings: how to measure.

    Returns:
        The result of the bench, see `bench.results.result`; a model that a runtime could not run
        is a row with an `error`.

    Raises:
        Interrupted: Ctrl-C ended the training; nothing is exported.
        UserError: see `sources.download`, `train`, `exporter.export` and `runner.bench`.
        CheckFailed: an exported file failed its verification.
    """
    load_keras()  # when it is not installed, fails before the images are downloaded
    if any(state != "ok" for _, state in sources.verify()):
        hooks.on_download(sources.download(progress=hooks.progress))
    try:
        trained = train(recipe, out, hooks)
    except WeightsUnavailable:
        if fallback_weights is None:
            raise
        hooks.note(
            "the ImageNet weights are not on this machine and cannot be downloaded: training "
            f"starts from the backbone of {fallback_weights}"
        )
        recipe = recipes.override(recipe, [f"weights={fallback_weights}"])
        trained = train(recipe, out, hooks)
    _export(trained.checkpoint, out, hooks)
    models = [out / "model.tflite", out / "model.onnx"]
    with hooks.progress("bench", 100, PERCENT) as update:
        return runner.bench(
            models,
            settings=bench_settings,
            progress=as_whole_of(update, 100),
        )


def _ended(run: RunFolder, hooks: Hooks) -> RunFolder:
    """Report the end of a training; an interrupted one ends the workflow too."""
    hooks.on_run(run)
    if run.metrics["interrupted"]:
        raise Interrupted(run)
    return run


def _export(checkpoint: Path, out: Path, hooks: Hooks) -> None:
    exported = exporter.export(checkpoint, out, INT8, hooks.progress)
    hooks.on_export(exported)
    if exported.failure:
        raise CheckFailed(exported.failure)
