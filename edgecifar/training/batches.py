"""Training images as Keras takes them: held out or not, batch after batch, augmented on the way."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.data import cifar10
from edgecifar.errors import UserError
from edgecifar.models.keras_loader import load_keras
from edgecifar.report.progress import Update
from edgecifar.training.augmentation import augment
from edgecifar.training.recipes import Augmentation

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Split:
    """Images, or what a backbone made of them, and their labels, in memory.

    Attributes:
        images: uint8, shape (n, 32, 32, 3); or float32 features, shape (n, channels).
        labels: uint8, shape (n,).
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def hold_out(data: cifar10.ImageSet, count: int, seed: int) -> tuple[Split, Split]:
    """Hold some training images out, evenly over the classes, at random.

    Args:
        data: n training images.
        count: how many to hold out, 1 to n - 1.
        seed: of the choice.

    Returns:
        The images to train on, and the images to choose the epoch by.

    Raises:
        UserError: too few or too many would be held out.
    """
    labels = data.labels
    if not 0 < count < len(labels):
        raise UserError(f"validation_images={count}: expected 1 to {len(labels) - 1}")
    order = np.random.default_rng(seed).permutation(len(labels))
    held = np.zeros(len(labels), bool)
    held[order[cifar10.balanced(labels[order], count)]] = True
    images = data.images()
    return Split(images[~held], labels[~held]), Split(images[held], labels[held])


def one_hot(labels: np.ndarray) -> np.ndarray:
    """Labels of shape (n,) as float32 targets of shape (n, 10)."""
    return np.eye(len(cifar10.CLASSES), dtype=np.float32)[labels]


def epoch_batches(
    part: Split, batch: int, augmentation: Augmentation | None, seed: tuple[int, int]
) -> "keras.utils.PyDataset":
    """One epoch in a random order; the images left over after the last whole batch are skipped.

    Args:
        part: what to train on.
        batch: images a batch.
        augmentation: of the images; None for features.
        seed: of the run, and the number of the epoch. The same seed gives the same batches,
            whichever of them is asked for first.

    Returns:
        Batches of inputs and one-hot targets, float32 (batch, 10).
    """
    order = np.random.default_rng(seed).permutation(len(part))

    class Batches(load_keras().utils.PyDataset):
        def __len__(self) -> int:
            return len(part) // batch

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            chosen = order[index * batch : (index + 1) * batch]
            inputs = part.images[chosen]
            if augmentation is not None:
                inputs = augment(inputs, augmentation, np.random.default_rng((*seed, index)))
            return inputs, one_hot(part.labels[chosen])

    return Batches()


def step_callback(update: Update, label: str, batch: int) -> "keras.callbacks.Callback":
    """Tell a progress bar of each step: the images done, and the running loss behind its label."""

    class Steps(load_keras().callbacks.Callback):
        def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
            update((step + 1) * batch, label=f"{label}, loss {logs['loss']:.3f}")

    return Steps()
