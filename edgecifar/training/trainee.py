"""What `fit` trains: the look-up and the augmentation of images, a network, and the loss.

The data set stays uint8 where the weights are. A step is given the numbers of its images, and takes
them out, augments them and classifies them in one compiled function, on every backend.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from edgecifar.data.cifar10 import CLASSES, IMAGE_SHAPE
from edgecifar.models import contract
from edgecifar.models.keras_loader import load_keras
from edgecifar.training.augmentation import distort, look_up, look_up_views, mix
from edgecifar.training.distillation import Lesson
from edgecifar.training.fast_layers import with_fast_layers
from edgecifar.training.recipes import Augmentation

if TYPE_CHECKING:
    import keras


def training_network(network: "keras.Model") -> "keras.Model":
    """Make a network ready for training: it gives logits, and its batch norm is fast.

    Args:
        network: of this project, built for the purpose: its last layer is changed.

    Returns:
        A network with the same weights, in the same order, that gives logits (n, 10).
    """
    network = with_fast_layers(network)
    network.get_layer(contract.OUTPUT).activation = load_keras().activations.linear
    return network


def image_trainee(
    network: "keras.Model",
    images: np.ndarray,
    labels: np.ndarray,
    augmentation: Augmentation,
    label_smoothing: float,
    seed: int,
    lesson: Lesson | None = None,
) -> "keras.Model":
    """Put the look-up and the augmentation of the training images before a network.

    Args:
        network: uint8 images (n, 32, 32, 3) to logits (n, 10).
        images: the data set, uint8, shape (m, 32, 32, 3).
        labels: uint8, shape (m,).
        augmentation: of the images.
        label_smoothing: share of the target spread evenly over the classes.
        seed: of the augmentation; `restart_randomness` sets it again.
        lesson: the teachers' answers; with it, only the views that they answered are drawn.

    Returns:
        A model for `fit`, which takes the numbers of images, int32 (n,), and no targets.
    """
    load_keras()
    import keras

    ops = keras.ops

    class ImageTrainee(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.random = keras.random.SeedGenerator(seed)
            pixels = images.reshape(-1, IMAGE_SHAPE[-1])
            self.pixels = keras.Variable(pixels, dtype="uint8", trainable=False, name="pixels")
            self.labels = keras.Variable(
                labels.astype(np.int32), dtype="int32", trainable=False, name="labels"
            )
            if lesson:
                self.views = keras.Variable(
                    lesson.views, dtype="int32", trainable=False, name="views"
                )
                self.answers = keras.Variable(
                    np.asarray(lesson.answers), dtype="float32", trainable=False, name="answers"
                )

        def call(self, rows: Any, training: bool | None = None) -> Any:
            rows = ops.cast(ops.reshape(rows, (-1,)), "int32")
            hot = ops.one_hot(ops.take(self.labels, rows), len(CLASSES), dtype="float32")
            targets = hot * (1 - label_smoothing) + label_smoothing / len(CLASSES)
            if lesson:
                count, (images, views, classes) = ops.shape(rows), self.answers.shape
                chosen = keras.random.randint(count, 0, views, seed=self.random)
                batch = look_up_views(self.pixels, rows, self.views, chosen)
                flat = ops.reshape(self.answers, (images * views, classes))
                taught = softened(ops.take(flat, rows * views + chosen, axis=0), lesson.temperature)
                targets = ops.concatenate([targets, taught], axis=1)
            else:
                batch = look_up(self.pixels, rows, augmentation, self.random)
            batch = distort(batch, augmentation, self.random)
            batch, targets = mix(batch, targets, augmentation, self.random)
            return self.network(batch, training=training), targets

        def compute_loss(
            self,
            x: Any = None,
            y: Any = None,
            y_pred: Any = None,
            sample_weight: Any = None,
            training: bool = True,
        ) -> Any:
            logits, targets = y_pred
            loss = cross_entropy(targets[:, : len(CLASSES)], logits)
            if lesson:
                taught = targets[:, len(CLASSES) :]
                apart = cross_entropy(taught, logits / lesson.temperature) * lesson.temperature**2
                loss = (1 - lesson.weight) * loss + lesson.weight * apart
            return loss

    def cross_entropy(targets: Any, logits: Any) -> Any:
        return ops.mean(ops.categorical_crossentropy(targets, logits, from_logits=True))

    return ImageTrainee()


def softened(probabilities: "keras.KerasTensor", temperature: float) -> "keras.KerasTensor":
    """The probabilities that the same logits give when they are divided by a temperature."""
    ops = load_keras().ops
    # Zero has no logarithm. This is below what float32 holds of a probability beside 1.
    logits = ops.log(ops.maximum(probabilities, 1e-12))
    return ops.softmax(logits / temperature, axis=-1)


def restart_randomness(model: "keras.Model", seed: int, epoch: int) -> None:
    """Set every random state in a model to one that follows from a seed and an epoch alone.

    So an epoch draws the same numbers in an uninterrupted run and in a resumed one.
    """
    for place, generator in enumerate(_generators(model)):
        state = np.random.SeedSequence((seed, epoch, place)).generate_state(2, np.uint32)
        generator.state.assign(state)


def _generators(layer: "keras.Layer") -> list["keras.random.SeedGenerator"]:
    """The random generators of a layer or model and of what it is made of, in a fixed order."""
    kind = load_keras().random.SeedGenerator
    own = [value for value in vars(layer).values() if isinstance(value, kind)]
    return own + [found for part in getattr(layer, "layers", []) for found in _generators(part)]
