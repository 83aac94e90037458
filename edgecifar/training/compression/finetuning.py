"""Fine-tune a finished run with one method of compression, into a run folder of its own."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from importlib import metadata as distributions
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecifar import files
from edgecifar.data import cifar10
from edgecifar.errors import UserError
from edgecifar.models import contract
from edgecifar.models.keras_loader import load_keras, open_model
from edgecifar.progress import ShowProgress
from edgecifar.provenance import CHECKPOINT, METRICS, RECIPE, of_checkpoint
from edgecifar.training import recipes
from edgecifar.training.augmentation import look_up
from edgecifar.training.batches import Split, hold_out, in_epoch_order, one_hot
from edgecifar.training.compression import methods
from edgecifar.training.compression.methods import Method, Pruning, QuantizationAware
from edgecifar.training.compression.quantizers import quantized
from edgecifar.training.compression.tf_keras_bridge import copy_back, legacy_model, load_tfmot
from edgecifar.training.epochs import OnEpoch, train_epochs
from edgecifar.training.evaluation import assess_held_out, evaluate, finish
from edgecifar.training.interruption import between_steps
from edgecifar.training.learner import OnStep
from edgecifar.training.recipes import Augmentation
from edgecifar.training.run_folder import RunFolder, check_new

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras
    from tf_keras.layers import Layer

AUGMENTATION = Augmentation(crop_padding=4, flip=True)
# Batches that start the ranges of the activations.
RANGE_BATCHES = 8
PRUNING_STEPS = 16


def finetune(
    checkpoint: Path,
    method: Method,
    data: cifar10.ImageSet,
    out: Path,
    progress: ShowProgress,
    on_epoch: OnEpoch,
) -> RunFolder:
    """Fine-tune a finished run.

    The training images are those of the run, without the ones that it held out; the epoch with the
    highest top-1 on the latter is kept. Pruning and clustering judge the checkpoint itself.
    Quantization-aware training judges the network with fake quantization: that is the one whose
    activations are rounded too, as in the int8 file; the checkpoint has the rounded weights only.
    The test images are classified once, by the checkpoint that is kept. Ctrl-C ends the run early,
    as it does a training.

    Args:
        checkpoint: a run folder or its model.keras; or an exported one, with its card.json beside.
        method: what to do.
        data: the training images that the run was given.
        out: the new run folder; made, and refused when it has something in it. Its model.keras is
            a plain Keras 3 checkpoint.
        progress: shows a bar for each epoch and each longer computation.
        on_epoch: called with each epoch when it has ended.

    Returns:
        The run folder, finished.

    Raises:
        UserError: there is no such run, or it did not finish; the data are others; the method does
            not fit the network; `out` cannot be used.
        Diverged: the loss is not a number, or far too large.
    """
    parent, provenance = find_parent(checkpoint)
    check_new(out)
    recipe = provenance["recipe"]
    split = _same_split(data, provenance, parent)
    methods.check(method, len(split.training))
    load_tfmot()
    load_keras().utils.set_random_seed(recipe["seed"])
    began = time.monotonic()
    model = open_model(parent)
    finetuner = _Finetuner(method, recipe, split, model)
    run = RunFolder(out, provenance | {"compression": _facts(method, provenance, parent)})
    interrupted, measured = False, {}
    try:
        with contextlib.closing(run), between_steps(progress) as shown:
            before = assess_held_out(model, finetuner.held_out, finetuner.held_out_labels, shown)
            measured["parent_validation_top1"] = before["top1"]
            numbers = range(1, method.epochs + 1)
            train_epochs(finetuner, numbers, method.epochs, run, shown, on_epoch, began)
            measured |= evaluate(run, shown)
    except KeyboardInterrupt:
        interrupted = True
    finish(run, model, interrupted, measured)
    return run


def find_parent(checkpoint: Path) -> tuple[Path, dict]:
    """Find a finished run and its recipe.

    Args:
        checkpoint: a run folder, or a .keras file with the files of its run or its card beside.

    Returns:
        The .keras file, and the content of the run's recipe.json.

    Raises:
        UserError: there is no such run, it did not finish, or it is not known how it was made.
    """
    path = checkpoint / CHECKPOINT if checkpoint.is_dir() else checkpoint
    if not path.is_file():
        raise UserError(f"no run {checkpoint}: there is no checkpoint {path}")
    known = of_checkpoint(path, files.sha256(path))
    reasons = "".join(f" ({line})" for line in known.ignored)
    if known.recipe is None:
        raise UserError(
            f"nothing beside {path} says how it was trained: name a run folder{reasons}"
        )
    if missing := _missing(known.recipe):
        raise UserError(
            f"{known.source} does not say how it was trained: it has no usable {missing}"
        )
    if known.source == path.parent / RECIPE and known.metrics is None:
        if (path.parent / METRICS).exists():
            raise UserError(f"nothing says whether the run {path.parent} has ended{reasons}")
        raise UserError(
            f"the run {path.parent} has no {METRICS}: it has not ended, continue it first"
        )
    return path, known.recipe


def _missing(provenance: dict) -> str | None:
    """The facts that a fine-tuning needs and that a run lacks or has in an unusable form."""
    recipe = provenance["recipe"]
    for field in ("seed", "validation_images", "label_smoothing"):
        if not recipes.fits(recipes.Recipe, field, recipe.get(field)):
            return field
    images = (provenance.get("training_images"), recipe["validation_images"])
    if not all(isinstance(count, int) and count > 0 for count in images):
        return "training_images and validation_images above zero"
    return None


def _same_split(data: cifar10.ImageSet, provenance: dict, parent: Path) -> Split:
    """The run's own division of the images."""
    recipe = provenance["recipe"]
    expected = provenance["training_images"] + recipe["validation_images"]
    if len(data) != expected:
        raise UserError(
            f"{parent} was trained on a set of {expected} images, and here are {len(data)}: "
            "images that it trained on would be held out"
        )
    return hold_out(data, recipe["validation_images"], recipe["seed"])


def _facts(method: Method, provenance: dict, parent: Path) -> dict:
    """What determines the fine-tuning, as plain JSON values."""
    packages = ("tf-keras", "tensorflow-model-optimization")
    return {
        "method": method.name,
        **dataclasses.asdict(method),
        "optimizer": "adam",
        "label_smoothing": provenance["recipe"]["label_smoothing"],
        "augmentation": dataclasses.asdict(AUGMENTATION),
        "parent": parent.resolve().parent.name,
        "parent_sha256": files.sha256(parent),
        "parent_compression": provenance.get("compression"),
        "versions": {package: distributions.version(package) for package in packages},
    }


class _Finetuner:
    """A `Learner`: a legacy model under the wrappers of one method.

    Args:
        method: what to do.
        recipe: of the parent, as in its recipe.json.
        split: the images, and which are held out.
        model: the checkpoint's network; each epoch gives it new weights.

    Raises:
        UserError: the method does not fit the network.
    """

    def __init__(self, method: Method, recipe: dict, split: Split, model: "keras.Model") -> None:
        tf_keras, _ = load_tfmot()
        self.name, self.batch = method.name, method.batch
        self.highest_learning_rate = method.learning_rate
        self.steps = len(split.training) // method.batch
        self._method, self._recipe, self._split, self._model = method, recipe, split, model
        self._pixels = load_keras().ops.convert_to_tensor(
            split.images.reshape(-1, split.images.shape[-1])
        )
        self._network = self._wrapped(legacy_model(model))
        self.size = self._network.input_shape[1]
        self.judge = model
        if isinstance(method, QuantizationAware):
            self.judge = behind_first_layers(self._network, model)
        self.held_out = split.images[split.validation]
        self.held_out_labels = split.labels[split.validation]
        self._network.compile(
            optimizer=tf_keras.optimizers.Adam(
                tf_keras.optimizers.schedules.CosineDecay(
                    method.learning_rate, self.steps * method.epochs
                )
            ),
            loss=tf_keras.losses.CategoricalCrossentropy(label_smoothing=recipe["label_smoothing"]),
        )

    @property
    def learning_rate(self) -> float:
        return float(self._network.optimizer.learning_rate)

    def fit(self, epoch: int, on_step: OnStep) -> float:
        tf_keras, tfmot = load_tfmot()
        callbacks = [tf_keras.callbacks.LambdaCallback(on_train_batch_end=on_step)]
        if isinstance(self._method, Pruning):
            callbacks.insert(0, tfmot.sparsity.keras.UpdatePruningStep())
        history = self._network.fit(
            self._batches(epoch), steps_per_epoch=self.steps, verbose=0, callbacks=callbacks
        )
        return history.history["loss"][-1]

    def collect(self) -> "keras.Model":
        copy_back(self._network, self._model)
        return self._model

    def state(self) -> None:
        return None

    def advice(self, field: str, value: float) -> str:
        return f"{type(self._method).__name__}({field}={value:.3g})"

    def _wrapped(self, legacy: "tf_keras.Model") -> "tf_keras.Model":
        """The legacy model with tfmot's wrappers of the method."""
        tf_keras, tfmot = load_tfmot()
        method, layers = self._method, tf_keras.layers
        if isinstance(method, QuantizationAware):
            batches = itertools.islice(self._batches(0), RANGE_BATCHES)
            return quantized(legacy, (images for images, _ in batches))

        def wrap(layer: "Layer") -> "Layer":
            if type(layer) not in (layers.Conv2D, layers.Dense):
                return layer
            if isinstance(method, Pruning):
                return tfmot.sparsity.keras.prune_low_magnitude(layer, self._schedule(method))
            # k-means++: evenly spread centroids would leave most weights in one or two clusters.
            initialization = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS
            return tfmot.clustering.keras.cluster_weights(layer, method.clusters, initialization)

        return tf_keras.models.clone_model(legacy, clone_function=wrap)

    def _schedule(self, method: Pruning) -> "tfmot.sparsity.keras.PruningSchedule":
        _, tfmot = load_tfmot()
        every = max(1, round(self.steps * method.ramp / PRUNING_STEPS))
        return tfmot.sparsity.keras.PolynomialDecay(
            initial_sparsity=0.0,
            final_sparsity=method.sparsity,
            begin_step=0,
            # The last pruning step must exist, and prune to the whole sparsity.
            end_step=min(every * PRUNING_STEPS, (self.steps - 1) // every * every),
            frequency=every,
        )

    def _batches(self, epoch: int) -> Iterator[tuple["tf.Tensor", np.ndarray]]:
        """One epoch in a random order: inputs of the legacy model, and one-hot targets."""
        seed = (self._recipe["seed"], epoch)
        order = in_epoch_order(self._split.training, self.batch, seed)
        random = load_keras().random.SeedGenerator(
            int(np.random.SeedSequence(seed).generate_state(1)[0])
        )
        prepare = first_layers(self._model)
        for rows in order.reshape(-1, self.batch):
            images = look_up(self._pixels, rows, AUGMENTATION, random)
            yield prepare(np.asarray(images)), one_hot(self._split.labels[rows])


def first_layers(model: "keras.Model") -> Callable[["tf.Tensor"], "tf.Tensor"]:
    """What a checkpoint does before its legacy model begins, in TensorFlow.

    Returns:
        A function of uint8 images (n, 32, 32, 3) to float32 (n, size, size, 3) in [-1, 1].
    """
    import tensorflow as tf

    scale = model.get_layer(contract.SCALE)
    resize = next((layer for layer in model.layers if layer.name == contract.RESIZE), None)

    def prepare(images: "tf.Tensor") -> "tf.Tensor":
        pixels = tf.cast(images, tf.float32) * scale.scale + scale.offset
        if resize is None:
            return pixels
        return tf.image.resize(pixels, (resize.height, resize.width), resize.interpolation)

    return prepare


def behind_first_layers(network: "tf_keras.Model", model: "keras.Model") -> "tf_keras.Model":
    """A legacy model that takes images as its checkpoint does: uint8 (n, 32, 32, 3)."""
    tf_keras, _ = load_tfmot()
    image = tf_keras.Input(model.input.shape[1:], dtype="uint8", name=contract.INPUT)
    return tf_keras.Model(image, network(first_layers(model)(image)))
