"""What a frozen backbone makes of the training images: computed once, kept in the cache.

`features/KEY.npy` is read through a memory map. The key is a hash of the images, of the backbone's
layers, weights and input size: whatever changes one of them is another file. A file that no longer
has the bytes that were written is computed again.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgecifar.progress import ShowProgress, Update
from edgecifar.training.array_cache import cached_array
from edgecifar.training.fused_batch_norm import with_fused_batch_norm
from edgecifar.training.prediction import predicted_blocks

if TYPE_CHECKING:
    import keras

# Half precision halves the file, and is finer than what int8 will make of the features.
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
        return predicted_blocks(with_fused_batch_norm(extractor), images, update)

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
    """A name that no other images and no other backbone have."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    layers = [(type(layer).__name__, layer.get_config()) for layer in extractor.layers]
    digest.update(json.dumps(layers, sort_keys=True, default=str).encode())
    for weight in extractor.get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    return digest.hexdigest()[:32]
