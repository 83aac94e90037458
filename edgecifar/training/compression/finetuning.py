"""Fine-tune a finished run with one method of compression, into a run folder of its own."""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from importlib import metadata as distributions
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecifar import files
from edgecifar.data import cifar10
from edgecifar.errors import UserError
from edgecifar.metrics.classification import assess
from edgecifar.models import contract
from edgecifar.models.keras_loader import load_keras, open_model
from edgecifar.progress import ShowProgress, Update
from edgecifar.provenance import CHECKPOINT, METRICS, RECIPE, of_checkpoint
from edgecifar.training import recipes
from edgecifar.training.batches import Split, hold_out
from edgecifar.training.care import EXPLODED, Diverged
from edgecifar.training.compression import methods
from edgecifar.training.compression.methods import Method, Pruning, QuantizationAware
from edgecifar.training.compression.quantizers import quantized
from edgecifar.training.compression.tf_keras_bridge import copy_back, legacy_model, load_tfmot
from edgecifar.training.interruption import between_steps
from edgecifar.training.prediction import predict
from edgecifar.training.run_folder import Epoch, RunFolder, check_new
from edgecifar.training.trainer import evaluate, finish

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    import tf_keras

CROP_PADDING = 4
# Batches that start the ranges of the activations.
RANGE_BATCHES = 8
PRUNING_STEPS = 16


def finetune(
    checkpoint: Path,
    method: Method,
    data: cifar10.ImageSet,
    out: Path,
    progress: ShowProgress,
    on_epoch: Callable[[Epoch], None],
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
        on_epoch: told of each epoch when it has ended.

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
    model = open_model(parent)
    legacy = legacy_model(model)
    finetuner = _Finetuner(method, recipe, split, model)
    network = finetuner.wrapped(legacy)
    run = RunFolder(out, provenance | {"compression": _facts(method, provenance, parent)})
    interrupted, measured = False, {}
    try:
        with contextlib.closing(run), between_steps(progress) as shown:
            before = finetuner.assessed(model, shown)
            measured["parent_validation_top1"] = before["top1"]
            finetuner.fit(network, run, shown, on_epoch)
            measured |= evaluate(run, shown)
    except KeyboardInterrupt:
        interrupted = True
    finish(run, model, interrupted, measured)
    return run


def find_parent(checkpoint: Path) -> tuple[Path, dict]:
    """Find a finished run, and what decided it.

    Args:
        checkpoint: a run folder, or a .keras file with the files of its run or its card beside.

    Returns:
        The .keras file, and the content of the run's recipe.json.

    Raises:
        UserError: there is no such run, it did not finish, or nothing says how it was made.
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
    if known.source.name == RECIPE and known.metrics is None:
        if (path.parent / METRICS).exists():
            raise UserError(f"nothing says whether the run {path.parent} has ended{reasons}")
        raise UserError(
            f"the run {path.parent} has no {METRICS}: it has not ended, go on with it first"
        )
    return path, known.recipe


def _missing(provenance: dict) -> str | None:
    """What a fine-tuning needs and a run does not say in a form that can be used."""
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
    """What decides the fine-tuning, as plain JSON values."""
    packages = ("tf-keras", "tensorflow-model-optimization")
    return {
        "method": method.name,
        **dataclasses.asdict(method),
        "optimizer": "adam",
        "label_smoothing": provenance["recipe"]["label_smoothing"],
        "augmentation": {"crop_padding": CROP_PADDING, "flip": True},
        "parent": parent.resolve().parent.name,
        "parent_sha256": files.sha256(parent),
        "parent_compression": provenance.get("compression"),
        "versions": {package: distributions.version(package) for package in packages},
    }


@dataclasses.dataclass
class _Finetuner:
    """What the epochs of one fine-tuning share.

    Attributes:
        method: what to do.
        recipe: of the parent, as in its recipe.json.
        split: the images, and which are held out.
        model: the checkpoint's network; each epoch gives it new weights.
    """

    method: Method
    recipe: dict
    split: Split
    model: "keras.Model"

    @property
    def steps(self) -> int:
        return len(self.split.training) // self.method.batch

    def fit(
        self,
        network: "tf_keras.Model",
        run: RunFolder,
        progress: ShowProgress,
        on_epoch: Callable[[Epoch], None],
    ) -> None:
        """Train the wrapped legacy model; give each epoch's weights to the checkpoint's network."""
        tf_keras, tfmot = load_tfmot()
        method = self.method
        network.compile(
            optimizer=tf_keras.optimizers.Adam(
                tf_keras.optimizers.schedules.CosineDecay(
                    method.learning_rate, self.steps * method.epochs
                )
            ),
            loss=tf_keras.losses.CategoricalCrossentropy(
                label_smoothing=self.recipe["label_smoothing"]
            ),
        )
        own = [tfmot.sparsity.keras.UpdatePruningStep()] if isinstance(method, Pruning) else []
        judged = self.model
        if isinstance(method, QuantizationAware):
            judged = behind_first_layers(network, self.model)
        for number in range(1, method.epochs + 1):
            started = time.monotonic()
            label = f"epoch {number}/{method.epochs} {method.name}"
            with progress(label, self.steps * method.batch) as update:
                watch = _watch_steps(update, label, method)
                history = network.fit(self._batches(number), verbose=0, callbacks=[*own, watch])
            trained = time.monotonic()
            copy_back(network, self.model)
            assessment = self.assessed(judged, progress)
            epoch = Epoch(
                epoch=number,
                stage=method.name,
                size=network.input_shape[1],
                learning_rate=float(network.optimizer.learning_rate),
                loss=history.history["loss"][-1],
                validation_loss=assessment["loss"],
                validation_top1=assessment["top1"],
                images_per_s=self.steps * method.batch / (trained - started),
                seconds=time.monotonic() - started,
            )
            run.add(epoch, self.model)
            on_epoch(epoch)

    def wrapped(self, legacy: "tf_keras.Model") -> "tf_keras.Model":
        """The legacy model with tfmot's wrappers of the method."""
        tf_keras, tfmot = load_tfmot()
        method, layers = self.method, tf_keras.layers
        if isinstance(method, QuantizationAware):
            inputs = self._batches(0).take(RANGE_BATCHES).map(lambda images, targets: images)
            return quantized(legacy, inputs)

        def wrap(layer: "tf_keras.layers.Layer") -> "tf_keras.layers.Layer":
            if type(layer) not in (layers.Conv2D, layers.Dense):
                return layer
            if isinstance(method, Pruning):
                return tfmot.sparsity.keras.prune_low_magnitude(layer, self._schedule(method))
            # k-means++: evenly spread centroids would leave most weights in one or two clusters.
            initialization = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS
            return tfmot.clustering.keras.cluster_weights(layer, method.clusters, initialization)

        return tf_keras.models.clone_model(legacy, clone_function=wrap)

    def assessed(self, judged: "keras.Model | tf_keras.Model", progress: ShowProgress) -> dict:
        """What a network's answers to the held-out images say about it: see `assess`."""
        held = self.split.validation
        with progress("held-out images", len(held)) as update:
            probabilities = predict(judged, self.split.images[held], update)
        return assess(probabilities, self.split.labels[held])

    def _schedule(self, method: Pruning) -> "tfmot.sparsity.keras.PruningSchedule":  # noqa: F821
        _, tfmot = load_tfmot()
        every = max(1, round(self.steps * method.ramp / PRUNING_STEPS))
        return tfmot.sparsity.keras.PolynomialDecay(
            initial_sparsity=0.0,
            final_sparsity=method.sparsity,
            begin_step=0,
            # Pruned last in a step that there is, with the whole sparsity.
            end_step=min(every * PRUNING_STEPS, (self.steps - 1) // every * every),
            frequency=every,
        )

    def _batches(self, epoch: int) -> "tf.data.Dataset":
        """One epoch in a random order, augmented and resized a batch at a time."""
        import tensorflow as tf

        random = np.random.default_rng((self.recipe["seed"], epoch))
        order = random.permutation(self.split.training).astype(np.int32)
        seed = random.integers(2**31, dtype=np.int32)
        with tf.device("CPU"):
            images = tf.constant(self.split.images)
            labels = tf.constant(self.split.labels)
        prepare = first_layers(self.model)

        def batch(number: "tf.Tensor", rows: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
            crops = augmented(tf.gather(images, rows), tf.stack([seed, tf.cast(number, tf.int32)]))
            return prepare(crops), tf.one_hot(tf.gather(labels, rows), len(cifar10.CLASSES))

        rows = tf.data.Dataset.from_tensor_slices(order)
        rows = rows.batch(self.method.batch, drop_remainder=True).enumerate()
        return rows.map(batch, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def augmented(images: "tf.Tensor", seed: "tf.Tensor") -> "tf.Tensor":
    """Crop each image of a batch from its reflected border, and mirror every other one.

    Args:
        images: uint8, shape (n, 32, 32, 3).
        seed: int32, shape (2,); the same gives the same draws.

    Returns:
        uint8 tensor (n, 32, 32, 3).
    """
    import tensorflow as tf

    count, pad, side = tf.shape(images)[0], CROP_PADDING, images.shape[1]
    padded = tf.pad(images, [(0, 0), (pad, pad), (pad, pad), (0, 0)], "REFLECT")
    draws = tf.random.stateless_uniform((3, count, 1), seed, 0, 2 * pad + 1, tf.int32)
    rows, columns = draws[0] + tf.range(side), draws[1] + tf.range(side)
    mirrored = tf.random.stateless_uniform((count, 1), seed + 1) < 0.5
    columns = tf.where(mirrored, columns[:, ::-1], columns)
    cropped = tf.gather(padded, rows, axis=1, batch_dims=1)
    cropped = tf.gather(cropped, columns, axis=2, batch_dims=1)
    return tf.ensure_shape(cropped, (None, side, side, images.shape[3]))


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


def _watch_steps(update: Update, label: str, method: Method) -> "tf_keras.callbacks.Callback":
    """Tell a progress bar of each step, and stop an epoch whose loss runs away.

    Args:
        update: told of the images done; the running loss goes behind the label.
        label: of the bar.
        method: what is done.

    Returns:
        For `fit`. It raises Diverged.
    """
    tf_keras, _ = load_tfmot()

    class Watch(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
            loss = float(logs["loss"])
            if not loss < EXPLODED:
                raise Diverged(
                    f"{method.name}: the loss is {loss:.3g} by batch {step + 1}, "
                    f"at learning rate {method.learning_rate:g}: take a lower one"
                )
            update((step + 1) * method.batch, label=f"{label}, loss {loss:.3f}")

    return Watch()
