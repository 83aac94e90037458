"""Running a model over images, a batch at a time."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.progress import Update

if TYPE_CHECKING:
    import keras

BATCH = 256


def predict(model: "keras.Model", images: np.ndarray, update: Update) -> np.ndarray:
    """Run a model over images.

    Args:
        model: takes arrays like `images`.
        images: shape (n, ...).
        update: gets the number of images done so far.

    Returns:
        The model's outputs, shape (n, ...).
    """
    return np.concatenate(list(predicted_blocks(model, images, update)))


def predicted_blocks(
    model: "keras.Model", images: np.ndarray, update: Update
) -> Iterator[np.ndarray]:
    """The same, block after block: for outputs that need not be in memory all at once."""
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        # Every batch has one shape: another shape would be compiled again, and not split over
        # devices.
        missing = BATCH - len(batch)
        whole = np.concatenate([batch, np.repeat(batch[:1], missing, axis=0)]) if missing else batch
        yield np.asarray(model.predict_on_batch(whole))[: len(batch)]
        update(start + len(batch))
