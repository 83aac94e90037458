"""The trainer: one recipe, from the images to a run folder."""

import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecifar import __version__, files, provenance
from edgecifar.data import cifar10, shipped
from edgecifar.errors import UserError, plain
from edgecifar.metrics.classification import assess
from edgecifar.models import contract, networks
from edgecifar.models.keras_loader import load_keras, open_model
from edgecifar.progress import ShowProgress
from edgecifar.training import plots, recipes
from edgecifar.training.batches import (
    Split,
    feature_batches,
    hold_out,
    in_epoch_order,
)
from edgecifar.training.care import advice_when_out_of_memory, watch_steps
from edgecifar.training.devices import PRECISIONS, device_count, dtype_policy, machine_summary
from edgecifar.training.features import cached_features
from edgecifar.training.fused_batch_norm import with_fused_batch_norm
from edgecifar.training.interruption import between_steps
from edgecifar.training.optimizers import averaged_weights, optimizer
from edgecifar.training.prediction import predict
from edgecifar.training.recipes import Recipe, Stage
from edgecifar.training.run_folder import Epoch, RunFolder, check_new
from edgecifar.training.trainee import image_trainee, restart_randomness, training_network

if TYPE_CHECKING:
    import keras

OnEpoch = Callable[[Epoch], None]

LOGGER = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    data: cifar10.ImageSet,
    out: Path,
    progress: ShowProgress,
    on_epoch: OnEpoch,
    precision: str = "float32",
) -> RunFolder:
    """Train a recipe.

    The epoch with the highest top-1 on held-out training images is kept; the test images are
    classified once, by that checkpoint, when the last stage has ended. Ctrl-C ends the run early:
    the folder then holds the best epoch so far, and its `metrics.json` says so. Whatever ends it
    early, `resume` goes on from the last epoch.

    Args:
        recipe: what to do.
        data: the training images.
        out: the run folder; made, and refused when it has something in it.
        progress: shows a bar for each epoch and each longer computation.
        on_epoch: told of each epoch when it has ended.
        precision: of the computation in training, see `devices.dtype_policy`. The checkpoint is
            float32 whatever it is.

    Returns:
        The run folder, finished.

    Raises:
        UserError: the recipe does not fit the data, the weights cannot be had, `out` cannot be
            used, or the memory is too small.
        Diverged: the loss is not a number, or far too large.
    """
    check(recipe, len(data))
    check_new(out)
    load_keras().utils.set_random_seed(recipe.seed)
    start = _start(recipe, progress)
    split = hold_out(data, recipe.validation_images, recipe.seed)
    # All of them now, so that a size that the network cannot take is found before it trains.
    prepared = _prepare(recipe)
    known = _conditions(recipe, len(split.training), precision)
    run = RunFolder(out, known | {"started_from": _parent(recipe.weights)})
    return _go(_Trainer(recipe, split, run, progress, on_epoch, precision), prepared, start, {})


def resume(
    path: Path, data: cifar10.ImageSet, progress: ShowProgress, on_epoch: OnEpoch
) -> RunFolder:
    """Go on with a run that was cut short, from its last whole epoch, to the same end.

    Args:
        path: its folder.
        data: the training images that it was begun with.
        progress: shows a bar for each epoch and each longer computation.
        on_epoch: told of each further epoch.

    Returns:
        The run folder, finished.

    Raises:
        UserError: there is nothing to resume, or it was begun with other data or by another
            version's recipe.
        Diverged: the loss is not a number, or far too large.
    """
    run, state = RunFolder.reopen(path)
    try:
        recipe, split = _as_begun(run, data)
    except UserError:
        run.close()
        raise
    load_keras().utils.set_random_seed(recipe.seed)
    precision = run.provenance["precision"]
    trainer = _Trainer(recipe, split, run, progress, on_epoch, precision)
    return _go(trainer, _prepare(recipe), None, state)


def _as_begun(run: RunFolder, data: cifar10.ImageSet) -> tuple[Recipe, Split]:
    """The recipe and the images of a run that is taken up again, seen to be what it began with."""
    try:
        recipe = recipes.from_dict(run.provenance["recipe"])
        precision, backend = run.provenance["precision"], run.provenance["backend"]
        if precision not in PRECISIONS or not isinstance(backend, str):
            raise TypeError("its precision or its backend is none that there is")
    except (KeyError, TypeError) as error:
        reason = plain(f"{provenance.RECIPE}: {error}")
        raise UserError(f"{run.path} cannot be resumed: {reason}") from error
    if backend != load_keras().backend.backend():
        raise UserError(f"{run.path} was begun with {backend}: resume it with --backend {backend}")
    check(recipe, len(data))
    split = hold_out(data, recipe.validation_images, recipe.seed)
    now = json.loads(json.dumps(_conditions(recipe, len(split.training), precision)))
    if any(run.provenance.get(name) != value for name, value in now.items()):
        raise UserError(
            f"{run.path} was begun with other images or versions: see its {provenance.RECIPE}"
        )
    return recipe, split


def check(recipe: Recipe, images: int) -> None:
    """Check that every stage of a recipe can be trained, before the first of them takes its time.

    Raises:
        UserError: there is no stage, or one has no step in an epoch, a learning rate of zero, a
            warm-up that outlasts it, or a batch that the devices cannot share.
    """
    if not recipe.planned:
        raise UserError(f"recipe {recipe.name}: no stage has an epoch to train")
    if not 0 < recipe.validation_images < images:
        raise UserError(f"validation_images={recipe.validation_images}: expected 1 to {images - 1}")
    training_images = images - recipe.validation_images
    for stage in recipe.planned:
        steps = training_images // stage.batch
        if steps == 0:
            raise UserError(
                f"{stage.name}.batch={stage.batch}: there are {training_images} training images"
            )
        if stage.batch % device_count():
            raise UserError(
                f"{stage.name}.batch={stage.batch}: {device_count()} devices cannot share it evenly"
            )
        if stage.learning_rate == 0:
            raise UserError(f"{stage.name}.learning_rate=0: expected more than zero")
        if steps * stage.epochs <= round(stage.warmup_epochs * steps):
            raise UserError(
                f"{stage.name}.warmup_epochs={stage.warmup_epochs:g}: expected less than the "
                f"stage's epochs, {stage.epochs}"
            )


def build(recipe: Recipe, stage: Stage, weights: str) -> "keras.Model":
    """The recipe's network as a stage sees it, with its backbone from `weights`."""
    return networks.build(
        recipe.network,
        size=recipe.stage_size(stage),
        alpha=recipe.alpha,
        dropout=recipe.dropout,
        hidden=recipe.stage_hidden(stage),
        batch_norm_momentum=recipe.batch_norm_momentum,
        weights=weights,
    )


def _start(recipe: Recipe, progress: ShowProgress) -> "keras.Model":
    """The network of the last stage with the weights that the run begins with.

    Raises:
        UserError: the weights cannot be had, or are of another network.
    """
    stage = recipe.stages[-1]
    if recipe.weights == "imagenet":
        networks.fetch_imagenet_weights(recipe.network, progress)
    if not recipe.weights.endswith(".keras"):
        return build(recipe, stage, recipe.weights)
    pretrained = recipe.network in networks.PRETRAINED
    start = build(recipe, stage, recipe.weights if pretrained else "none")
    # All of it: its head too, where it is the same.
    if not hand_over(open_model(Path(recipe.weights)), start):
        raise UserError(f"{recipe.weights}: none of its layers fits {recipe.network}")
    return start


def with_weights_that_exist(recipe: Recipe) -> Recipe:
    """The recipe, from scratch where there are no ImageNet weights of its width."""
    has_imagenet_weights = networks.PRETRAINED.get(recipe.network)
    if recipe.weights != "imagenet" or not has_imagenet_weights:
        return recipe
    if has_imagenet_weights(recipe.alpha):
        return recipe
    return dataclasses.replace(recipe, weights="none")


def _conditions(recipe: Recipe, training_images: int, precision: str) -> dict:
    """What decides a run: the recipe, the data, the versions and the arithmetic."""
    keras = load_keras()
    return {
        "recipe": recipes.as_dict(recipe),
        "data": "CIFAR-10",
        "data_sha256": {name: cifar10.SHA256[name] for name in cifar10.TRAIN_FILES},
        "training_images": training_images,
        "edgecifar": __version__,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "precision": precision,
        "devices": device_count(),
    }


def _parent(weights: str) -> dict | None:
    """What is known of the file that a run starts from; None where it starts from no file."""
    if weights in ("imagenet", "none"):
        return None
    path = Path(weights)
    sha256 = files.sha256(path)
    known = provenance.of_checkpoint(path, sha256)
    for line in known.ignored:
        LOGGER.warning("ignored: %s", line)
    return {"sha256": sha256, "provenance": known.recipe, "metrics": known.metrics}


def evaluate(run: RunFolder, progress: ShowProgress) -> dict:
    """Classify the test images with a run's checkpoint, and draw what came of it.

    Returns:
        `test_images`; `test_top1`, the share that it classified rightly; `test_top1_flipped`, the
        same when the probabilities are averaged with those of the mirrored images; and `test`,
        the whole assessment.
    """
    kept = load_keras().saving.load_model(run.checkpoint, compile=False)
    model = with_fused_batch_norm(kept)
    test = shipped.test_set()
    images = test.images()
    with progress("test images", len(test)) as update:
        probabilities = predict(model, images, update)
    with progress("mirrored test images", len(test)) as update:
        mirrored = predict(model, np.ascontiguousarray(images[:, :, ::-1]), update)
    assessment = assess(probabilities, test.labels)
    with files.written_whole(run.path / "confusion.png") as partial:
        plots.confusion_heat_map(assessment["confusion"], cifar10.CLASSES, partial)
    with files.written_whole(run.path / "mistakes.png") as partial:
        plots.mistakes_grid(images, assessment["confident_mistakes"], partial)
    with files.written_whole(run.path / "reliability.png") as partial:
        error = assessment["expected_calibration_error"]
        plots.reliability_diagram(assessment["reliability"], error, partial)
    return {
        "test_images": len(test),
        "test_top1": assessment["top1"],
        "test_top1_flipped": float(
            np.mean((probabilities + mirrored).argmax(axis=1) == test.labels)
        ),
        "test": assessment,
    }


def _prepare(recipe: Recipe) -> list[tuple[Stage, "keras.Model"]]:
    """The stages that train, each with the network that is judged and kept in it."""
    return [(stage, build(recipe, stage, "none")) for stage in recipe.planned]


def _go(
    trainer: "_Trainer",
    prepared: list[tuple[Stage, "keras.Model"]],
    start: "keras.Model | None",
    state: dict[str, list[np.ndarray]],
) -> RunFolder:
    """Train what is left of a run's stages, and judge the best epoch on the test images."""
    run = trainer.run
    interrupted, test = False, {}
    network = start
    try:
        with contextlib.closing(run), between_steps(trainer.progress) as shown:
            trainer.progress = shown
            for stage, next_network in prepared[_stages_begun(trainer) :]:
                done = sum(epoch.stage == stage.name for epoch in run.epochs)
                if done == stage.epochs:
                    next_network.set_weights(state["kept"])
                elif done:
                    next_network.set_weights(state["trained"])
                else:
                    hand_over(network, next_network)
                network = next_network
                trainer.fit(network, stage, done, state["optimizer"] if done else None)
            test = evaluate(run, shown)
    except KeyboardInterrupt:
        interrupted = True
    finish(run, prepared[-1][1], interrupted, test)
    return run


def finish(run: RunFolder, network: "keras.Model", interrupted: bool, measured: dict) -> None:
    """Write a run's `metrics.json`: what every run has in it, and what was measured.

    Args:
        run: the run folder, with its epochs.
        network: what was trained; it needs no trained weights.
        interrupted: whether the run ended early.
        measured: further entries, plain JSON values.
    """
    run.finish(
        interrupted=interrupted,
        parameters=network.count_params(),
        multiply_accumulates=networks.multiply_accumulates(network),
        machine=machine_summary(),
        **measured,
    )


def _stages_begun(trainer: "_Trainer") -> int:
    """How many stages a resumed run has behind it, the one that it was in not counted."""
    epochs = trainer.run.epochs
    names = [stage.name for stage in trainer.recipe.planned]
    return names.index(epochs[-1].stage) if epochs else 0


def hand_over(source: "keras.Model", target: "keras.Model") -> int:
    """Copy the weights of each layer that two networks share: the same name and shapes.

    Returns:
        How many layers that were.
    """
    copied = 0
    theirs = {layer.name: layer.get_weights() for layer in source.layers}
    for layer in target.layers:
        weights = theirs.get(layer.name, [])
        if weights and [w.shape for w in weights] == [w.shape for w in layer.get_weights()]:
            layer.set_weights(weights)
            copied += 1
    return copied


@dataclasses.dataclass
class _Trainer:
    """What every stage of a run shares."""

    recipe: Recipe
    split: Split
    run: RunFolder
    progress: ShowProgress
    on_epoch: OnEpoch
    precision: str

    def fit(
        self,
        network: "keras.Model",
        stage: Stage,
        done: int,
        optimizer_state: list[np.ndarray] | None,
    ) -> None:
        """Train one stage; `network` has the weights, and gets those of each epoch.

        Args:
            network: float32, gives probabilities: what is judged and kept.
            stage: the stage.
            done: epochs of it that a run now resumed has behind it.
            optimizer_state: the optimizer's variables after them.
        """
        if done == stage.epochs:
            return
        ended = time.monotonic()
        recipe, split = self.recipe, self.split
        with dtype_policy(self.precision):
            trained = training_network(build(recipe, stage, "none"))
        trained.set_weights(network.get_weights())
        if stage.trains == "head":
            extractor = contract.feature_extractor(network)
            label = f"{stage.name}: features"
            features = cached_features(extractor, split.images, label, self.progress)
            trainee = contract.head(trained)
            judge, judged = contract.head(network), features
        else:
            trainee = image_trainee(
                trained,
                split.images,
                split.labels,
                recipe.augmentation,
                recipe.label_smoothing,
                recipe.seed,
            )
            judge, judged = with_fused_batch_norm(network), split.images
        held = judged[split.validation]
        steps = len(split.training) // stage.batch
        made = optimizer(stage, steps, recipe.weight_decay)
        trainee.compile(optimizer=made, loss=_smoothed_loss(recipe), jit_compile=_jit())
        if optimizer_state is not None:
            made.build(trainee.trainable_variables)
            for variable, value in zip(made.variables, optimizer_state, strict=True):
                variable.assign(value)
        planned = sum(stage.epochs for stage in recipe.planned)
        for _ in range(done, stage.epochs):
            started = time.monotonic()
            number = len(self.run.epochs) + 1
            # In a callback: before, `fit` may trace the model, and that draws as well.
            restart = load_keras().callbacks.LambdaCallback(
                on_epoch_begin=lambda *_, epoch=number: restart_randomness(
                    trainee, recipe.seed, epoch
                )
            )
            order = in_epoch_order(split.training, stage.batch, (recipe.seed, number))
            label = f"epoch {number}/{planned} {stage.name}"
            with (
                self.progress(label, len(order)) as update,
                advice_when_out_of_memory(stage),
            ):
                watch = watch_steps(update, label, stage, number, self.run)
                if stage.trains == "head":
                    batches = feature_batches(features, split.labels, order, stage.batch)
                    history = trainee.fit(
                        batches, shuffle=False, verbose=0, callbacks=[restart, watch]
                    )
                else:
                    history = trainee.fit(
                        order,
                        batch_size=stage.batch,
                        shuffle=False,
                        verbose=0,
                        callbacks=[restart, watch],
                    )
            trained_at = time.monotonic()
            network.set_weights(averaged_weights(trained, trainee, made))
            if stage.trains != "head":
                judge.set_weights(network.get_weights())
            assessment = assess(
                predict(judge, held, lambda done: None), split.labels[split.validation]
            )
            before, ended = ended, time.monotonic()
            epoch = Epoch(
                epoch=number,
                stage=stage.name,
                size=recipe.stage_size(stage),
                learning_rate=float(made.learning_rate),
                loss=history.history["loss"][-1],
                validation_loss=assessment["loss"],
                validation_top1=assessment["top1"],
                images_per_s=len(order) / (trained_at - started),
                seconds=ended - before,
            )
            state = {
                "trained": trained.get_weights(),
                "kept": network.get_weights(),
                "optimizer": [np.asarray(variable) for variable in made.variables],
            }
            self.run.add(epoch, network, state)
            self.on_epoch(epoch)


def _smoothed_loss(recipe: Recipe) -> "keras.losses.Loss":
    """Of logits; what trains on images brings its own."""
    return load_keras().losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=recipe.label_smoothing
    )


def _jit() -> bool | str:
    """XLA makes a depthwise network on a CPU eight times slower under TensorFlow."""
    return False if load_keras().backend.backend() == "tensorflow" else "auto"
