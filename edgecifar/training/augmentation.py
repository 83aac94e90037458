"""Augmentation of uint8 images, a batch at a time."""

import numpy as np

from edgecifar.training.recipes import Augmentation


def augment(
    images: np.ndarray, augmentation: Augmentation, random: np.random.Generator
) -> np.ndarray:
    """Crop and flip each image of a batch on its own.

    Args:
        images: uint8, shape (n, 32, 32, 3); left as it is.
        augmentation: what to do.
        random: where the draws come from.

    Returns:
        uint8 array of shape (n, 32, 32, 3).
    """
    count, height, width, _ = images.shape
    if pad := augmentation.crop_padding:
        padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
        top, left = random.integers(0, 2 * pad + 1, size=(2, count))
        images = windows[np.arange(count), top, left].transpose(0, 2, 3, 1)
    if augmentation.flip:
        mirrored = random.random(count) < 0.5
        images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    return np.ascontiguousarray(images)
