"""The trainer: one recipe, from the images to a run folder."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecifar import __version__
from edgecifar.data import cifar10, shipped
from edgecifar.errors import UserError
from edgecifar.models import contract
from edgecifar.models.keras_loader import load_keras
from edgecifar.models.mobilenetv2 import mobilenetv2
from edgecifar.report.progress import ShowImages, Update
from edgecifar.training import recipes
from edgecifar.training.batches import Split, epoch_batches, hold_out, one_hot, step_callback
from edgecifar.training.interruption import between_steps
from edgecifar.training.recipes import Recipe, Stage
from edgecifar.training.run_folder import Epoch, RunFolder, check_new

if TYPE_CHECKING:
    import keras

NETWORKS = {"mobilenetv2": mobilenetv2}
EVALUATION_BATCH = 250


def train(
    recipe: Recipe,
    data: cifar10.ImageSet,
    out: Path,
    progress: ShowImages,
    on_epoch: Callable[[Epoch], None],
) -> RunFolder:
    """Train a recipe.

    The epoch with the highest top-1 on held-out training images is kept; the test images are
    classified once, by that checkpoint, when the last stage has ended. Ctrl-C ends the run early:
    the folder then holds the best epoch so far, and its `metrics.json` says so.

    Args:
        recipe: what to do.
        data: the training images.
        out: the run folder; made, and refused when it has something in it.
        progress: shows a bar for each epoch and each longer computation.
        on_epoch: told of each epoch when it has ended.

    Returns:
        The run folder, finished.

    Raises:
        UserError: the recipe does not fit the data, the weights cannot be had, or `out` cannot be
            used.
    """
    stages = [stage for stage in recipe.stages if stage.epochs]
    if not stages:
        raise UserError(f"recipe {recipe.name}: no stage has an epoch to train")
    check_new(out)
    load_keras().utils.set_random_seed(recipe.seed)
    training, validation = hold_out(data, recipe.validation_images, recipe.seed)
    for stage in stages:
        check_stage(stage, len(training))
    model = build(recipe, recipe.size, recipe.weights)
    # All of them now, so that a size that the network cannot take is found before it trains.
    sizes = {recipe.stage_size(stage) for stage in stages}
    networks = {size: build(recipe, size, "none") for size in sorted(sizes)}
    run = RunFolder(out, provenance(recipe, len(training)))
    interrupted, test = False, {}
    try:
        with between_steps(progress) as shown:
            trainer = _Trainer(recipe, training, validation, run, shown, on_epoch)
            for stage in stages:
                network = networks[recipe.stage_size(stage)]
                network.set_weights(model.get_weights())
                model = network
                trainer.fit(model, stage)
            test = evaluate(run.checkpoint, shown)
    except KeyboardInterrupt:
        interrupted = True
    run.finish(interrupted=interrupted, parameters=model.count_params(), **test)
    return run


def check_stage(stage: Stage, training_images: int) -> None:
    """Check that a stage can be trained, before the first of them takes its time.

    Raises:
        UserError: it has no step in an epoch, the learning rate is zero, or the warm-up outlasts
            the stage.
    """
    steps = training_images // stage.batch
    if steps == 0:
        raise UserError(
            f"{stage.name}.batch={stage.batch}: there are {training_images} training images"
        )
    if stage.learning_rate == 0:
        raise UserError(f"{stage.name}.learning_rate=0: expected more than zero")
    if steps * stage.epochs <= round(stage.warmup_epochs * steps):
        raise UserError(
            f"{stage.name}.warmup_epochs={stage.warmup_epochs:g}: expected less than the stage's "
            f"epochs, {stage.epochs}"
        )


def build(recipe: Recipe, size: int, weights: str) -> "keras.Model":
    """The recipe's network at an input size, with its backbone from `weights`."""
    return NETWORKS[recipe.network](
        size=size,
        alpha=recipe.alpha,
        dropout=recipe.dropout,
        hidden=recipe.hidden,
        batch_norm_momentum=recipe.batch_norm_momentum,
        weights=weights,
    )


def provenance(recipe: Recipe, training_images: int) -> dict:
    """What decides a run: the recipe, the data and the versions."""
    keras = load_keras()
    return {
        "recipe": recipes.as_dict(recipe),
        "data": "CIFAR-10",
        "data_sha256": {name: cifar10.SHA256[name] for name in cifar10.TRAIN_FILES},
        "training_images": training_images,
        "edgecifar": __version__,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
    }


def evaluate(checkpoint: Path, progress: ShowImages) -> dict:
    """Classify the test images with a checkpoint.

    Returns:
        `test_images`, and `test_top1`, the share that it classified rightly.
    """
    model = load_keras().saving.load_model(checkpoint, compile=False)
    test = shipped.test_set()
    with progress("test images", len(test)) as update:
        predicted = predict(model, test.images(), update).argmax(axis=1)
    return {"test_images": len(test), "test_top1": float(np.mean(predicted == test.labels))}


def predict(model: "keras.Model", images: np.ndarray, update: Update) -> np.ndarray:
    """Run a model over images in batches.

    Args:
        model: takes uint8 images.
        images: uint8, shape (n, 32, 32, 3).
        update: told of the images done so far.

    Returns:
        The model's outputs, float32, shape (n, ...).
    """
    outputs = []
    for start in range(0, len(images), EVALUATION_BATCH):
        batch = images[start : start + EVALUATION_BATCH]
        outputs.append(model.predict_on_batch(batch))
        update(start + len(batch))
    return np.concatenate(outputs)


@dataclasses.dataclass
class _Trainer:
    """What every stage of a run shares."""

    recipe: Recipe
    training: Split
    validation: Split
    run: RunFolder
    progress: ShowImages
    on_epoch: Callable[[Epoch], None]

    def fit(self, model: "keras.Model", stage: Stage) -> None:
        """Train one stage; what is trained shares its weights with `model`."""
        keras = load_keras()
        recipe = self.recipe
        if stage.trains == "head":
            extractor = contract.feature_extractor(model)
            training = self._features(extractor, self.training, f"{stage.name}: training features")
            judging = self._features(extractor, self.validation, f"{stage.name}: validation")
            trainee, augmentation = contract.head(model), None
        else:
            training, judging = self.training, self.validation
            trainee, augmentation = keras.Model(model.input, model.output), recipe.augmentation
        steps = len(training) // stage.batch
        trainee.compile(
            optimizer=optimizer(stage, steps, recipe.weight_decay),
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
            metrics=[keras.metrics.CategoricalAccuracy(name="top1")],
        )
        targets = one_hot(judging.labels)
        planned = sum(stage.epochs for stage in recipe.stages)
        for _ in range(stage.epochs):
            started = time.monotonic()
            number = len(self.run.epochs) + 1
            batches = epoch_batches(training, stage.batch, augmentation, (recipe.seed, number))
            label = f"epoch {number}/{planned} {stage.name}"
            with self.progress(label, steps * stage.batch) as update:
                shown = step_callback(update, label, stage.batch)
                history = trainee.fit(batches, verbose=0, callbacks=[shown])
            trained = time.monotonic()
            judged = trainee.evaluate(
                judging.images, targets, EVALUATION_BATCH, verbose=0, return_dict=True
            )
            epoch = Epoch(
                epoch=number,
                stage=stage.name,
                size=recipe.stage_size(stage),
                learning_rate=float(trainee.optimizer.learning_rate),
                loss=history.history["loss"][-1],
                validation_loss=judged["loss"],
                validation_top1=judged["top1"],
                images_per_s=steps * stage.batch / (trained - started),
                seconds=time.monotonic() - started,
            )
            self.run.add(epoch, model)
            self.on_epoch(epoch)

    def _features(self, extractor: "keras.Model", part: Split, label: str) -> Split:
        """What the frozen backbone makes of each image, in the images' place."""
        with self.progress(label, len(part)) as update:
            return Split(predict(extractor, part.images, update), part.labels)


def optimizer(stage: Stage, steps: int, weight_decay: float) -> "keras.optimizers.Optimizer":
    """AdamW with a linear warm-up and a cosine decay (Loshchilov and Hutter 2017, 2019).

    Args:
        stage: the stage that it is for.
        steps: of one epoch.
        weight_decay: on kernels only.
    """
    keras = load_keras()
    warmup = round(stage.warmup_epochs * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else stage.learning_rate,
        warmup_target=stage.learning_rate if warmup else None,
        warmup_steps=warmup,
        decay_steps=steps * stage.epochs - warmup,
        alpha=stage.final_learning_rate / stage.learning_rate,
    )
    adamw = keras.optimizers.AdamW(schedule, weight_decay=weight_decay)
    adamw.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return adamw
