"""Which training images are held out, and in what order an epoch takes the others."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.data import cifar10
from edgecifar.models.keras_loader import load_keras

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of a run, in memory once, divided into training and validation images.

    Attributes:
        images: uint8, shape (n, 32, 32, 3).
        labels: uint8, shape (n,).
        training: numbers of the images to train on, int32, ascending.
        validation: numbers of the images that choose the epoch, int32, ascending.
    """

    images: np.ndarray
    labels: np.ndarray
    training: np.ndarray
    validation: np.ndarray


def hold_out(data: cifar10.ImageSet, count: int, seed: int) -> Split:
    """Hold out some training images at random, equally many of each class.

    Args:
        data: n training images.
        count: how many to hold out, 1 to n - 1.
        seed: of the choice.
    """
    labels = data.labels
    order = np.random.default_rng(seed).permutation(len(labels))
    held = np.zeros(len(labels), bool)
    held[order[cifar10.balanced(labels[order], count)]] = True
    training, validation = (np.flatnonzero(part).astype(np.int32) for part in (~held, held))
    return Split(data.images(), labels, training, validation)


def in_epoch_order(rows: np.ndarray, batch: int, seed: tuple[int, int]) -> np.ndarray:
    """The images of one epoch, shuffled; those left over after the last whole batch are skipped.

    Args:
        rows: numbers of the training images, int32, shape (n,).
        batch: images a batch.
        seed: of the run, and the number of the epoch. The same seed gives the same order.

    Returns:
        int32 array of shape (n - n % batch,).
    """
    shuffled = np.random.default_rng(seed).permutation(rows)
    return shuffled[: len(rows) // batch * batch]


def own_part(order: np.ndarray, batch: int, index: int, count: int) -> np.ndarray:
    """The part of each batch that one of several processes takes.

    Args:
        order: see `in_epoch_order`.
        batch: images a batch, of all processes together; a multiple of `count`.
        index: of the process, from 0.
        count: of the processes.

    Returns:
        int32 array of len(order) / count numbers, in the same order.
    """
    return order.reshape(-1, count, batch // count)[:, index].ravel()


def feature_batches(
    features: np.ndarray, labels: np.ndarray, order: np.ndarray, batch: int
) -> "keras.utils.PyDataset":
    """Features and one-hot targets, batch after batch, read from the memory map when asked for.

    Args:
        features: float16, shape (m, ...).
        labels: uint8, shape (m,).
        order: numbers of the images, int32, whole batches of them.
        batch: images a batch.

    Returns:
        Batches of float32 features (batch, ...) and targets (batch, 10).
    """

    load_keras()
    import keras

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return len(order) // batch

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            rows = order[index * batch : (index + 1) * batch]
            return features[rows].astype(np.float32), one_hot(labels[rows])

    return Batches()


def one_hot(labels: np.ndarray) -> np.ndarray:
    """Labels of shape (n,) as float32 targets of shape (n, 10)."""
    return np.eye(len(cifar10.CLASSES), dtype=np.float32)[labels]
