"""The features that a frozen backbone computes for the training images: once, then from the cache.

`features/KEY.npy` is read through a memory map. The key is a hash of the images, of the backbone's
layers, weights and input size: a change in one of them gives another file. A file whose bytes have
changed is computed again.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.progress import ShowProgress, Update
from edgecifar.training.array_cache import cached_array
from edgecifar.training.fast_layers import with_fast_layers
from edgecifar.training.prediction import predicted_blocks

if TYPE_CHECKING:
    import keras

# Half precision halves the file, and is finer than int8, to which the features will be rounded.
DTYPE = np.float16


def cached_features(
    extractor: "keras.Model", images: np.ndarray, label: str, progress: ShowProgress
) -> np.ndarray:
    """The features of each image, from the cache or computed into it.

    Args:
        extractor: uint8 images (n, 32, 32, 3) to features (n, ...).
        images: uint8, shape (m, 32, 32, 3).
        label: what the progress bar is called.
        progress: shows a bar while they are computed.

    Returns:
        Memory-mapped float16 array of shape (m, ...).

    Raises:
        UserError: the cache cannot be written.
    """

    def blocks(update: Update) -> Iterator[np.ndarray]:
        return predicted_blocks(with_fast_layers(extractor), images, update)

    return cached_array(
        f"features/{key(extractor, images)}",
        (len(images), *extractor.output_shape[1:]),
        DTYPE,
        blocks,
        label,
        len(images),
        progress,
    )


def key(extractor: "keras.Model", images: np.ndarray) -> str:
    """A name that is unique to these images and this backbone."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    layers = [(type(layer).__name__, layer.get_config()) for layer in extractor.layers]
    digest.update(json.dumps(layers, sort_keys=True, default=str).encode())
    for weight in extractor.get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    return digest.hexdigest()[:32]
